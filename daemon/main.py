"""The `stoker` command. It imports the group alone; each command is loaded when it is called."""

import sys

from .cli.group import cli


def main() -> None:
    cli.main(args=sys.argv[1:], prog_name="stoker")


if __name__ == "__main__":
    main()
