"""One look at a repository without following it: what `stoker plan --against` compares with.

Blocks on git. Nothing is kept: the copy lies in a temporary folder.
"""

import tempfile
from pathlib import Path

from ..catalogue import Catalogue
from ..loading import LoadResult
from .access import Access
from .clone import Clone
from .following import Follower, Rules
from .programs import Programs
from .urls import Location


def read_once(location: Location, access: Access, catalogue: Catalogue) -> LoadResult:
    """What the ref names now. Raises `Unavailable` when the repository does not answer."""
    programs = Programs()
    try:
        with tempfile.TemporaryDirectory(prefix="stoker-plan-") as folder:
            clone = Clone(Path(folder), location, access, programs)
            look = Follower(clone, programs, catalogue, Rules()).look(None)
    finally:
        programs.stop()
    assert look.result is not None, "it was not judged before"
    return look.result
