"""What fails in the modules beside the tests is shown with its values, too."""

import pytest

pytest.register_assert_rewrite(
    *(
        f"tests.crash.{name}"
        for name in ("callers", "evidence", "playing", "plots", "policed_plots", "simulated")
    )
)
