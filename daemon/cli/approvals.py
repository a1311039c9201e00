"""`stoker approve` and `stoker reject`: what others say about a claim."""

import sys

import click

from ...client import ClaimInfo, Stoker, StokerError
from .failing import report
from .options import (
    AnyCommand,
    complete_claims,
    examples,
    print_json,
    prints,
    talks,
)
from .show import section
from .terminal import clean


def _says_why(command: AnyCommand) -> AnyCommand:
    return click.option("--reason", metavar="TEXT", help="Why; the claimant and the audit see it.")(
        command
    )


_claims = click.argument(
    "claims", nargs=-1, required=True, metavar="ID...", shell_complete=complete_claims
)


@click.command(
    epilog=examples(
        "stoker claims --pending",
        'stoker approve c-x7m3k9q2w8p4z6ab --reason "agreed, OPS-123"',
    )
)
@_claims
@_says_why
@prints
@talks
def approve(claims: tuple[str, ...], reason: str | None, output: str, socket: str | None) -> int:
    """Approve the claims ID, which wait for that or did without in an emergency.

    Who may, the policy says that asks for the approval; nobody approves a claim of their own. A vote cannot
    be taken back, and saying the same again is harmless.

    Exit codes: 0 done, 1 decided already, 3 you may not, 4 no such claim, 5 the daemon does not answer.
    """
    return _each(claims, "approve", reason, output, socket)


@click.command(
    epilog=examples(
        'stoker reject c-x7m3k9q2w8p4z6ab --reason "use the copy instead"',
    )
)
@_claims
@_says_why
@prints
@talks
def reject(claims: tuple[str, ...], reason: str | None, output: str, socket: str | None) -> int:
    """Reject the claims ID, which wait for an approval or did without in an emergency.

    One rejection refuses the claim. One that did without goes on: release it, if it should not.

    Exit codes: 0 done, 1 decided already, 3 you may not, 4 no such claim, 5 the daemon does not answer.
    """
    return _each(claims, "reject", reason, output, socket)


def _each(
    claims: tuple[str, ...], word: str, reason: str | None, output: str, socket: str | None
) -> int:
    code = 0
    with Stoker(socket) as stoker:
        for claim in claims:
            try:
                info = stoker.decide(claim, word, reason=reason)
            except StokerError as error:
                code = report(error, sys.argv[1:])
                continue
            if output == "json":
                print_json(info.document)
            else:
                click.echo(f"{claim} {_outcome(info)}")
    return code


def _outcome(info: ClaimInfo) -> str:
    approval = section(info.document, "approval")
    outcome = str(approval.get("outcome", ""))
    if outcome != "waiting":
        why = clean(str(approval.get("detail", "")))
        return f"{outcome}: {why}" if why else outcome
    missing = [
        f"{need['quorum'] - need['approved']} more for the policy {need['policy']}"
        for need in approval.get("needs") or ()
        if need["quorum"] > need["approved"]
    ]
    return f"waits for {', '.join(missing)}"
