"""The settings of the process driver: what a blueprint says under `with`."""

from signal import Signals
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from ...config.json_types import JsonObject
from .procfs import MARKS
from .settings import ByteCount, Duration, Settings

DEFAULT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "HOME")
"""What a process inherits from the daemon's environment; all else must be named."""


def _word(value: object) -> object:
    """A lone expression keeps its type, so a port arrives here as a number."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _text(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not hold a NUL character")
    return value


def _variable(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError("the name of a variable is not empty and holds neither = nor NUL")
    if name in MARKS:
        raise ValueError(f"{name} is the driver's own; choose another name")
    return name


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError("must be an absolute path")
    return path


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("names a port twice")
    return names


def _signal(value: object) -> object:
    return value.removeprefix("SIG") if isinstance(value, str) else value


def _mask(value: object) -> object:
    if (
        isinstance(value, str)
        and value.isdigit()
        and len(value) <= 4
        and not set(value) & {"8", "9"}
    ):
        return value
    raise ValueError('a mask is octal digits in quotes, such as "0027"')


Text = Annotated[str, AfterValidator(_text)]
Word = Annotated[Text, BeforeValidator(_word)]
Variable = Annotated[str, AfterValidator(_variable)]
PortName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Group(Settings):
    model_config = ConfigDict(alias_generator=to_camel)


class Limits(_Group):
    """Limits that the kernel holds the process to, each process of it by itself."""

    open_files: Count | None = None
    processes: Count | None = None
    """Of the user as a whole, as the kernel counts them."""
    file_size: ByteCount | None = None
    cpu_seconds: Count | None = None
    memory: ByteCount | None = None
    """Address space, which is more than what is really used."""
    core_size: ByteCount | Literal[0] | None = None


class LogSettings(_Group):
    max_size: ByteCount = 10 * 2**20
    keep: Annotated[int, Field(ge=0, le=100)] = 3


class StopSettings(_Group):
    """How it is asked to end, and how long it may take before it is killed."""

    signal: Annotated[
        Literal["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "KILL"], BeforeValidator(_signal)
    ] = "TERM"
    grace: Duration = 10.0

    @property
    def number(self) -> Signals:
        return Signals[f"SIG{self.signal}"]


class ProcessSettings(_Group):
    command: Annotated[list[Word], Field(min_length=1)]
    """The program and its arguments. No shell reads it."""
    cwd: Annotated[Text, AfterValidator(_absolute)] = "/"
    env: dict[Variable, Word] = Field(default_factory=dict[str, str])
    inherit_env: list[Variable] = Field(default=list(DEFAULT_ENVIRONMENT))
    ports: Annotated[list[PortName], Field(max_length=32), AfterValidator(_distinct)] = Field(
        default_factory=list[str]
    )
    limits: Limits = Field(default_factory=Limits)
    logs: LogSettings = Field(default_factory=LogSettings)
    stop: StopSettings = Field(default_factory=StopSettings)
    umask: Annotated[str, BeforeValidator(_mask)] = "0022"
    user: Text | None = None
    """Run as this user, with its groups. The daemon must be root for that."""


def ending_of(handle: JsonObject) -> StopSettings:
    """How a part is ended, from its handle: the settings themselves are not kept.

    The handle of a creation that was refused may hold what is no setting; then as by default.
    """
    try:
        return StopSettings.model_validate(handle.get("stop") or {})
    except ValidationError:
        return StopSettings()


def logs_of(handle: JsonObject) -> LogSettings:
    """How large a part's logs may grow, in the same way."""
    try:
        return LogSettings.model_validate(handle.get("logs") or {})
    except ValidationError:
        return LogSettings()
