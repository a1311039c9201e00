"""A config directory around one policy, and what loading says of it."""

from stoker.config.problems import Severity
from stoker.config.revision import Revision
from tests.config.catalogue import a_blueprint_with, loaded

BASE = a_blueprint_with(
    "  parameters: {role: {type: string, default: reader}, size: {type: integer}}\n"
    "  finish: [{name: one, driver: box, with: {colour: '${params.role}'}}]"
)
LINES = BASE.count("\n") + 1
"""Of what stands before a policy."""


def a_policy_with(spec: str, name: str = "team") -> str:
    return (
        f"apiVersion: stoker/v1\nkind: Policy\nmetadata: {{name: {name}}}\nspec:\n{spec.rstrip()}\n"
    )


def a_test_with(spec: str, name: str = "team") -> str:
    return a_policy_with(spec, name).replace("kind: Policy", "kind: PolicyTest")


def problems(*documents: str) -> list[str]:
    """All that is told of the files `p0.yaml`, `p1.yaml` …, beside the base."""
    result = loaded(BASE, **{f"p{at}.yaml": text for at, text in enumerate(documents)})
    return [
        f"{'warning: ' if it.severity is Severity.WARNING else ''}"
        f"{it.file}:{it.line}:{it.column}: {it.path}: {it.message}. {it.remedy}"
        for it in result.problems
    ]


def the_revision(*documents: str) -> Revision:
    result = loaded(BASE, **{f"p{at}.yaml": text for at, text in enumerate(documents)})
    assert result.revision is not None, [str(problem) for problem in result.problems]
    return result.revision
