"""A repository, and what follows it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from stoker.config.loading import LoadResult
from stoker.config.repositories.access import Access
from stoker.config.repositories.clone import Clone
from stoker.config.repositories.following import Follower, Look, Rules
from stoker.config.repositories.programs import Programs
from stoker.config.repositories.urls import parse_location
from stoker.config.revision import Revision
from tests.config.catalogue import CATALOGUE, a_blueprint_with
from tests.fixtures.repositories import Repository

GOOD = a_blueprint_with("  {}")


def resized(largest: int) -> str:
    return GOOD.replace("max: 3", f"max: {largest}")


@dataclass
class Following:
    """A follower that applies whatever it is given, as the daemon does."""

    follower: Follower
    clone: Clone
    serving: Revision | None = None

    def look(self, *, again: bool = False) -> Look:
        look = self.follower.look(self.serving, again=again)
        if look.result is not None and look.result.revision is not None:
            self.serving = look.result.revision
        return look

    def result(self) -> LoadResult:
        result = self.look().result
        assert result is not None, "nothing new was found"
        return result

    def applied(self) -> str:
        """The commit that serves after a look, which must have found a good one."""
        result = self.result()
        assert result.revision is not None, result.problems
        return result.revision.commit

    def refused(self) -> str:
        """What a look is told about what it found."""
        result = self.result()
        assert result.revision is None
        return "\n".join(str(problem) for problem in result.problems)


Follow = Callable[..., Following]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "remote")


@pytest.fixture
def follow(tmp_path: Path, repository: Repository) -> Follow:
    def begin(
        url: str = "",
        *,
        access: Access | None = None,
        rules: Rules | None = None,
        folder: str = "copy",
        serving: Revision | None = None,
    ) -> Following:
        location = parse_location(url or f"{repository.url}?ref=main")
        programs = Programs()
        clone = Clone(tmp_path / folder, location, access or Access(), programs)
        follower = Follower(clone, programs, CATALOGUE, rules or Rules())
        return Following(follower, clone, serving)

    return begin
