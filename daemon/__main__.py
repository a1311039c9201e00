"""`python -m stoker.daemon` is the `stoker` command."""

from .main import main

main()
