"""`stoker events`: the audit as lines, and as it happens."""

import json
from typing import Any

import click

from ...client import Document, Stoker
from ..event_subjects import revision_told
from .options import complete_claims, complete_pools, complete_resources, examples, prints, talks
from .show import section
from .terminal import clean, style

_VOTES = ("claim.voted", "claim.break-glass-reviewed")


@click.command(
    epilog=examples(
        "stoker events",
        "stoker events -f --pool web",
        "stoker events --claim c-x7m3k9q2w8p4z6ab",
        "stoker events -f -o json | jq .kind",
    )
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option("--since", type=click.IntRange(0), metavar="NUMBER", help="Only after this event.")
@click.option(
    "--kind", metavar="PREFIX", help="Only kinds that begin so, such as claim. or resource."
)
@click.option(
    "--pool", metavar="POOL", help="Only those of this pool.", shell_complete=complete_pools
)
@click.option(
    "--claim", metavar="ID", help="Only those of this claim.", shell_complete=complete_claims
)
@click.option(
    "--resource",
    metavar="ID",
    help="Only those of this resource.",
    shell_complete=complete_resources,
)
@click.option("--request", metavar="ID", help="Only those of the request with this id.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 10_000), metavar="COUNT", help="At most so many."
)
@prints
@talks
def events(
    *, follow: bool, since: int | None, output: str, socket: str | None, **filters: Any
) -> int:
    """Show what happened, oldest first; with -f, also what happens from now on."""
    limit = filters.pop("limit")
    with Stoker(socket) as stoker:
        try:
            if follow and since is None and limit:
                # The newest ones first, then on from there without a gap.
                for event in stoker.events(limit=limit, **filters):
                    click.echo(_line(event, output))
                    since = int(event["seq"])
            bound = {} if follow else {"limit": limit}
            for event in stoker.events(follow=follow, since=since, **bound, **filters):
                click.echo(_line(event, output))
        except KeyboardInterrupt:
            return 130
    return 0


def _line(event: Document, output: str) -> str:
    """JSON is one object a line, so that a stream of it can be read."""
    if output == "json":
        return json.dumps(event, ensure_ascii=False)
    time = str(event.get("at", "")).replace("T", " ").removesuffix("Z")
    subject = event.get("claim") or event.get("resource") or event.get("pool") or "-"
    if event.get("claim") and event.get("resource"):
        subject = f"{event['claim']} {event['resource']}"
    if subject == "-" and str(event.get("kind")).startswith("config."):
        subject = revision_told(str(event["kind"]), event.get("data") or {}) or "-"
    if subject == "-" and event.get("kind") == "access.denied":
        subject = _who(section(event, "data")) or "-"
    reason = clean(_vote(event) + str(event.get("reason", "")))
    return (
        f"{style(time, 'dim')}  {event.get('kind')!s:<20}  {clean(str(subject))}  {reason}".rstrip()
    )


def _vote(event: Document) -> str:
    """`approve by ada: `, for what somebody says about a claim."""
    data = section(event, "data")
    if event.get("kind") not in _VOTES:
        return ""
    carried = f", by the webhook {data['carriedBy']}" if data.get("carriedBy") else ""
    why = ": " if event.get("reason") else ""
    return f"{data['vote']} by {_who(section(data, 'by'))}{carried}{why}"


def _who(data: Document) -> str:
    uid = f"uid {data['uid']}" if "uid" in data else ""
    return str(data.get("user") or data.get("subject") or uid or data.get("address") or "")
