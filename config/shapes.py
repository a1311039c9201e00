"""What an expression may read, as far as it is known before anything runs.

The checker describes `params`, `parts`, `self` and the rest as an `Environment`; the expressions
are then checked against it at load. Immutable and free of I/O.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from .catalogue import OutputFacts, ValueType


@dataclass(frozen=True, slots=True)
class Shape:
    """The type of a value and, for a map, its members.

    `members` None means that any member may be there. `open` with members means that these are
    known and others may exist too.
    """

    type: ValueType = ValueType.DYN
    members: Mapping[str, "Shape"] | None = None
    open: bool = False

    @classmethod
    def of(cls, facts: OutputFacts, keys: Iterable[str] | None = None) -> Self:
        """The shape of a driver's output; `keys` are those that `facts.keys_from` lists."""
        if facts.type is not ValueType.MAP or facts.keys_from is None or keys is None:
            return cls(facts.type)
        return cls(ValueType.MAP, dict.fromkeys(keys, ANY))

    @classmethod
    def of_outputs(
        cls,
        outputs: Mapping[str, OutputFacts],
        keys: Mapping[str, Iterable[str]] | None = None,
        *,
        open: bool = False,  # noqa: A002 - the word of the field
    ) -> Self:
        """`parts.NAME` or `self`. `keys` maps an output's name to the keys of its map, where known."""
        known = keys or {}
        members = {name: Shape.of(facts, known.get(name)) for name, facts in outputs.items()}
        return cls(ValueType.MAP, members, open)

    @classmethod
    def object(cls, members: Mapping[str, "Shape"]) -> Self:
        """A map with exactly these members."""
        return cls(ValueType.MAP, dict(members))

    def member(self, name: str) -> "Shape | None":
        """The shape of a member, or None when it is known that there is none."""
        if self.members is None:
            return ANY if self.type in (ValueType.MAP, ValueType.DYN) else None
        found = self.members.get(name)
        return ANY if found is None and self.open else found


ANY = Shape()
STRING = Shape(ValueType.STRING)
INT = Shape(ValueType.INT)
DOUBLE = Shape(ValueType.DOUBLE)
BOOL = Shape(ValueType.BOOL)
LIST = Shape(ValueType.LIST)
MAP = Shape(ValueType.MAP)
TIMESTAMP = Shape(ValueType.TIMESTAMP)
DURATION = Shape(ValueType.DURATION)


@dataclass(frozen=True, slots=True)
class Environment:
    """The names that an expression may start from."""

    roots: Mapping[str, Shape] = field(default_factory=dict[str, Shape])
    elsewhere: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names that exist but not here, with the sentence to say (`claim` in a `prepare` part)."""

    def with_root(self, name: str, shape: Shape) -> "Environment":
        """The same with one name more, or with one replaced."""
        elsewhere = {other: why for other, why in self.elsewhere.items() if other != name}
        return Environment({**self.roots, name: shape}, elsewhere)
