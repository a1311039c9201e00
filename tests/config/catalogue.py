"""A small catalogue of drivers for the tests of the config room, and ways to write documents."""

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from stoker.config.catalogue import Catalogue, DriverFacts, OutputFacts, ValueType
from stoker.config.loading import LoadResult, load
from stoker.config.problems import Problem
from stoker.config.revision import Revision


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class BoxSettings(Strict):
    colour: str = "red"
    size: int = Field(default=1, ge=1)
    lid: bool = False
    labels: dict[str, str] = {}
    pause: Annotated[float, BeforeValidator(lambda it: 1.0 if it == "1s" else it)] = 0.0
    shape: str | list[str] = "round"


class ServerSettings(Strict):
    command: list[str]
    cwd: str = "/"
    ports: list[str] = []

    @model_validator(mode="after")
    def starts_at_the_root(self) -> "ServerSettings":
        if not self.cwd.startswith("/"):
            raise ValueError("cwd must be absolute")
        return self


class CloudPartSettings(Strict):
    reset: bool = False


class CloudSettings(Strict):
    region: str
    reset: bool = False


PORTS = OutputFacts(ValueType.MAP, keys_from="ports")

CATALOGUE: Catalogue = {
    "box": DriverFacts("box", BoxSettings, {"path": OutputFacts(ValueType.STRING)}),
    "server": DriverFacts(
        "server",
        ServerSettings,
        {"pid": OutputFacts(ValueType.INT), "ports": PORTS},
        allotted={"ports": PORTS},
    ),
    "secret": DriverFacts("secret", Strict, {"value": OutputFacts(ValueType.STRING, secret=True)}),
    "cloud": DriverFacts(
        "cloud",
        CloudPartSettings,
        {},
        provider_settings=CloudSettings,
        open_outputs=True,
        reset_setting="reset",
    ),
}

POOL = """
apiVersion: stoker/v1
kind: Pool
metadata: {name: boxes}
spec:
  blueprint: box
  size: {min: 1, max: 3}
"""

BLUEPRINT = """
apiVersion: stoker/v1
kind: Blueprint
metadata: {name: box}
spec:
"""


def loaded(text: str, **more: str) -> LoadResult:
    return load({"a.yaml": text, **more}, CATALOGUE, "test")


def a_blueprint_with(spec: str) -> str:
    """A whole config whose blueprint has this spec (indented by two)."""
    return f"{BLUEPRINT.lstrip()}{spec}\n---{POOL}"


def told(result: LoadResult) -> list[str]:
    assert result.revision is None, "it should have been refused"
    return [str(problem) for problem in result.problems]


def the_problem(text: str) -> Problem:
    """The only one."""
    result = loaded(text)
    assert len(result.problems) == 1, [str(problem) for problem in result.problems]
    return result.problems[0]


def the_revision(text: str) -> Revision:
    result = loaded(text)
    assert result.revision is not None, [str(problem) for problem in result.problems]
    return result.revision
