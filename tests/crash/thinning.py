"""Which of many cuts are played: all of them with STOKER_TEST_EVERY_CUT=1, which takes some minutes more."""

import os

EVERY_CUT = os.environ.get("STOKER_TEST_EVERY_CUT") == "1"


def stride(usual: int) -> int:
    """One of so many cuts is played."""
    return 1 if EVERY_CUT else usual
