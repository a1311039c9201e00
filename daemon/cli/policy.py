"""`stoker policy`: what can be done with the policies of a config directory, without a daemon."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...client import Stoker
from .failing import Failed
from .identities import Identity, as_options
from .loaded import revision_of
from .options import (
    check_duration,
    examples,
    parse_labels,
    parse_parameters,
    print_json,
    prints,
    talks,
)
from .policy_diff import diff
from .terminal import clean, style, table

if TYPE_CHECKING:
    from ...policies.testing import Ran, Report, Untried

WIDTH = 80
_FOLDER = click.Path(path_type=Path, file_okay=False)
_COLOURS = {"true": "green", "false": "dim", "error": "red", "elsewhere": "dim"}


@click.group(
    epilog=examples(
        "stoker policy test ./config",
        "stoker policy explain ./config --pool db --ttl 2h --as-unit payments.service",
    )
)
def policy() -> None:
    """Test the policies of a config directory, explain what they decide, and compare them."""


policy.add_command(diff)


@policy.command(
    epilog=examples(
        "stoker policy test ./config",
        "stoker policy test ./config -o json",
    )
)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@prints
def test(folder: Path, output: str) -> int:
    """Run the PolicyTest documents of the config directory DIR, and say which rules they leave untried.

    A rule is tried when some case makes it true and some case makes it false. Exits with 1 when a
    case fails or the directory has errors; untried rules alone exit with 0.
    """
    from ...policies.testing import run_cases  # noqa: PLC0415 - heavy

    report = run_cases(revision_of(folder))
    if output == "json":
        print_json(_report_as_json(report))
    else:
        click.echo("\n".join(_report_as_text(report, folder)))
    return 1 if report.failed else 0


def _report_as_text(report: "Report", folder: Path) -> Iterator[str]:
    if not report.ran:
        yield f"{folder} has no case of a PolicyTest. docs/policies.md shows how to write one."
    else:
        rows = [_case_row(ran) for ran in report.ran]
        yield table(["TEST", "CASE", "VERDICT", "RULE", "RESULT"], rows, width=WIDTH)
    for ran in report.failed:
        yield ""
        yield f"{style(clean(ran.case.name), 'bold')} ({_place(ran, folder)})"
        for key, sentence in ran.wrong:
            yield from _wrapped(f"{key}: {sentence}")
    yield from _coverage(report)
    failed, passed = len(report.failed), len(report.ran) - len(report.failed)
    yield ""
    tried = report.rules - len(report.untried)
    yield f"{passed} passed, {failed} failed; {tried} of {report.rules} rules are tried both ways."


def _case_row(ran: "Ran") -> list[str | tuple[str, str]]:
    decision = ran.decision
    rule = f"{decision.policy}/{decision.rule}" if decision.policy else "-"
    result = ("FAIL", "red") if ran.wrong else ("pass", "green")
    return [ran.case.test, ran.case.name, decision.verdict.value, rule, result]


def _place(ran: "Ran", folder: Path) -> str:
    place = ran.case.document.place(ran.case.at)
    return clean(f"{folder / ran.case.document.file}:{place.line}:{place.column}")


def _coverage(report: "Report") -> Iterator[str]:
    if not report.untried:
        return
    yield ""
    rows = [[f"{one.policy}/{one.rule}", _missing(one)] for one in report.untried]
    yield table(["UNTRIED RULE", "NO CASE MAKES IT"], rows, width=WIDTH)


def _missing(one: "Untried") -> str:
    sides = [
        word for word, missing in (("true", one.never_true), ("false", one.never_false)) if missing
    ]
    return " or ".join(sides)


def _wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(
        clean(text), WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )  # fmt: skip


def _report_as_json(report: "Report") -> dict[str, Any]:
    return {
        "cases": [
            {
                "test": ran.case.test,
                "case": ran.case.name,
                "verdict": ran.decision.verdict.value,
                "policy": ran.decision.policy,
                "rule": ran.decision.rule,
                "passed": not ran.wrong,
                "wrong": [{"key": key, "message": text} for key, text in ran.wrong],
            }
            for ran in report.ran
        ],
        "untried": [
            {
                "policy": one.policy,
                "rule": one.rule,
                "neverTrue": one.never_true,
                "neverFalse": one.never_false,
            }
            for one in report.untried
        ],
        "rules": report.rules,
    }


@policy.command(
    epilog=examples(
        "stoker policy explain ./config --pool db --ttl 2h --as-unit payments.service",
        "stoker policy explain ./config --pool db --as-user ada --as-group dba --param role=admin",
        "stoker policy explain ./config --pool web --at 2030-01-05T20:00:00Z -o json",
        "stoker policy explain --live --pool web --ttl 2h",
    )
)
@click.argument("folder", metavar="[DIR]", type=_FOLDER, required=False)
@click.option(
    "--live", is_flag=True,
    help="Ask the daemon, in place of a directory: by who you are and what is in use now.",
)  # fmt: skip
@click.option(
    "--pool", "pool_name", required=True, metavar="POOL",
    help="The pool to claim from.",
)  # fmt: skip
@click.option("--ttl", callback=check_duration, metavar="DURATION", help="What the claim asks for.")
@click.option("--count", default=1, show_default=True, type=click.IntRange(1), help="How many.")
@click.option(
    "--param", "params", multiple=True, metavar="NAME=TEXT", callback=parse_parameters,
    help="A parameter; NAME:=JSON for what is no text. May be repeated.",
)  # fmt: skip
@click.option(
    "-l", "--label", "labels", multiple=True, metavar="NAME=VALUE", callback=parse_labels,
    help="A label of the claim. May be repeated.",
)  # fmt: skip
@click.option("--reason", default="", metavar="TEXT", help="The claim's reason.")
@click.option(
    "--bind", type=click.Choice(["process", "connection"]), help="What the claim would end with.",
)  # fmt: skip
@click.option("--renew", is_flag=True, help="A renewal in place of a claim.")
@click.option("--break-glass", is_flag=True, help="An emergency: without approval, if one may.")
@click.option("--at", metavar="TIME", help="When, in RFC 3339; now when left out.")
@as_options
@prints
@talks
def explain(
    folder: Path | None,
    live: bool,  # noqa: FBT001 - an option
    pool_name: str,
    output: str,
    identity: Identity,
    socket: Path | None,
    **asked: Any,
) -> int:
    """Say what the policies of the config directory DIR decide for a claim, and why.

    Without --as-… it is you who claims. Each rule is shown with its value and with the part of its
    expression that decided. Nothing is counted: limits on what is in use are told, not judged.
    With --live the daemon is asked instead, which counts. Nothing is claimed. Exits with 3 when the
    claim is denied.
    """
    if live is (folder is not None):
        raise click.UsageError("Name the config directory DIR, or ask the daemon with --live.")
    if live and identity.somebody_else:
        message = "The daemon asks the kernel who you are: --as-… is for a directory."
        raise click.UsageError(f"{message} Leave out --live, or call as that user.")
    told = _live(socket, pool_name, asked) if folder is None else None
    if told is None:
        assert folder is not None
        told = _by_directory(folder, pool_name, identity, asked)
    if output == "json":
        print_json(told)
    else:
        click.echo("\n".join(_explanation_as_text(told)))
    return 3 if told["verdict"] == "deny" else 0


def _live(socket: Path | None, pool: str, asked: dict[str, Any]) -> dict[str, Any]:
    import json  # noqa: PLC0415 - only here

    from ...client.requests import Request  # noqa: PLC0415 - only here

    for option in ("renew", "break_glass", "at", "bind"):
        if asked[option]:
            name = option.replace("_", "-")
            raise click.UsageError(f"--{name} is for a directory; leave out --live.")
    wanted = ("ttl", "count", "params", "labels", "reason")
    body = {"pool": pool, **{name: asked[name] for name in wanted if asked[name]}}
    request = Request(
        "POST",
        "/v1/explain/decisions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with Stoker(socket) as stoker:
        return dict(stoker.request(request))


def _by_directory(
    folder: Path, pool_name: str, identity: Identity, asked: dict[str, Any]
) -> dict[str, Any]:
    from ...policies.explaining import as_json, sentences  # noqa: PLC0415 - heavy
    from ...policies.explaining import explain as explained  # noqa: PLC0415 - heavy
    from ...policies.index import index_of  # noqa: PLC0415 - heavy

    revision = revision_of(folder)
    if pool_name not in revision.pools:
        from ...config.spelling import suggestion  # noqa: PLC0415 - only for a mistake

        near = suggestion(pool_name, revision.pools)
        raise Failed(f"There is no pool {pool_name!r}: {near}.", "no-such-pool", 4)
    facts = identity.facts(revision.pools[pool_name], asked)
    index = index_of(revision.policies.values(), revision.pools)
    told = explained(index.of(pool_name), facts, daemon_uid=identity.own_uid)
    return {**as_json(told), "why": list(sentences(told))}


def _explanation_as_text(told: dict[str, Any]) -> Iterator[str]:
    verdict = told["verdict"]
    colour = {"allow": "green", "approve": "yellow", "deny": "red"}[verdict]
    by = f" by {told['policy']}/{told['rule']}" if told["policy"] else ""
    yield style(clean(f"{verdict}{by}"), colour)
    for sentence in told["why"]:
        yield from _wrapped(sentence)
    for rule in told["rules"]:
        yield ""
        mode = "" if rule["mode"] == "enforce" else f" ({rule['mode']})"
        head = f"{rule['policy']}/{rule['rule']}: {rule['effect']}{mode}"
        yield f"{clean(head)}  {style(rule['value'], _COLOURS[rule['value']])}"
        for part in rule["because"]:
            yield from _wrapped(f"{part['part']} is {part['outcome']}")
            for name, value in part["read"].items():
                yield from _wrapped(f"{name} = {_short(value)}", "    ")


def _short(value: object) -> str:
    import json  # noqa: PLC0415 - only for people

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"
