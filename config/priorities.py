"""Who goes first in a pool's queue: the expressions of `queue.priorities`, compiled and checked.

They are evaluated by `pools.standing`, for claims that have to wait and for no others.
"""

from collections.abc import Iterator
from functools import lru_cache

from .catalogue import ValueType
from .documents import Document
from .expressions import Expression, ExpressionError, compile_expression
from .manifests import Pool
from .problems import Problem
from .revision import Priority
from .shapes import INT, MAP, STRING, Environment, Shape

_CALLER = Shape.object({"uid": INT, "gid": INT, "user": STRING, "exe": STRING, "unit": STRING})
_CLAIM = Shape.object({"labels": MAP, "reason": STRING, "ttl": STRING})
_NOT_YET = "the claim has no resource yet; a priority reads caller and claim"
ENVIRONMENT = Environment(
    {"caller": _CALLER, "claim": _CLAIM},
    {
        **dict.fromkeys(("resource", "parts", "self"), _NOT_YET),
        "params": "a parameter says how to finish a resource, not who goes first; use claim.labels",
        "request": "here it is called claim",
    },
)


def compile_priorities(
    document: Document, pool: Pool
) -> tuple[tuple[Priority, ...], list[Problem]]:
    """Those that compile, in the order of the document, and what is wrong with the others."""
    problems = list(_doubles(document, pool))
    compiled: list[Priority] = []
    for index, rule in enumerate(pool.spec.queue.priorities):
        try:
            when = _compile(rule.when)
        except ExpressionError as error:
            path = ("spec", "queue", "priorities", index, "when")
            problems.append(
                document.problem(path, error.message, error.remedy, offset=error.offset)
            )
        else:
            compiled.append(Priority(rule.name, when, rule.priority))
    return tuple(compiled), problems


@lru_cache(maxsize=4096)
def _compile(source: str) -> Expression:
    """Kept, because CEL compiles slowly and every load compiles every pool. Raises ExpressionError."""
    return compile_expression(source, ENVIRONMENT, ValueType.BOOL)


def _doubles(document: Document, pool: Pool) -> Iterator[Problem]:
    """The name tells which priority a claim has, so it stands for one."""
    seen: dict[str, int] = {}
    for index, rule in enumerate(pool.spec.queue.priorities):
        before = seen.setdefault(rule.name, index)
        if before != index:
            line = document.place(("spec", "queue", "priorities", before, "name")).line
            yield document.problem(
                ("spec", "queue", "priorities", index, "name"),
                f"there is another priority '{rule.name}' in line {line}",
                "give one of them another name",
            )
