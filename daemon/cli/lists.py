"""`stoker pools`, `claims` and `resources`: all of them as a table, or one in full."""

from collections.abc import Callable, Sequence

import click

from ...client import ClaimInfo, Stoker
from ...client.documents import Document, Listing, claim_info
from .options import (
    complete_claims,
    complete_pools,
    complete_resources,
    examples,
    print_json,
    prints,
    talks,
)
from .show import (
    caller_text,
    claim_text,
    colour_of,
    pool_text,
    pool_troubles,
    resource_text,
    section,
)
from .terminal import Cell, ago, table, until


@click.command(
    epilog=examples(
        "stoker pools",
        "stoker pools web",
        "stoker pools -o json",
    )
)
@click.argument("pool", required=False, shell_complete=complete_pools)
@prints
@talks
def pools(pool: str | None, output: str, socket: str | None) -> None:
    """Show the pools, or POOL in full."""
    with Stoker(socket) as stoker:
        if pool is not None:
            _one(stoker.pool(pool), output, pool_text)
            return
        found = stoker.pools()
    _many(found, output, POOL_HEADERS, pool_rows(found), "The config directory has no pools.")


POOL_HEADERS = ("POOL", "READY", "COMING", "BOUND", "WAITING", "MAX", "NOTE")


def pool_rows(found: Sequence[Document]) -> list[list[Cell]]:
    return [_pool_row(pool) for pool in found]


def _pool_row(pool: Document) -> list[Cell]:
    counts = section(pool, "counts")
    ready, least = int(pool.get("ready", 0)), int(pool.get("min", 0))
    coming = sum(int(counts.get(state, 0)) for state in ("planned", "preparing", "resetting"))
    troubles = pool_troubles(pool)
    return [
        str(pool.get("name", "")),
        (f"{ready}/{least}", "green" if ready >= least else "yellow" if ready else "red"),
        str(coming),
        str(int(counts.get("bound", 0)) + int(counts.get("finishing", 0))),
        (str(pool.get("waiting", 0)), "yellow" if pool.get("waiting") else ""),
        str(pool.get("max", "")),
        (troubles[0], "red") if troubles else "",
    ]


@click.command(
    epilog=examples(
        "stoker claims",
        "stoker claims --pool web --state bound",
        "stoker claims --all",
        "stoker claims --pending",
        "stoker claims c-x7m3k9q2w8p4z6ab -o json",
    )
)
@click.argument("claim", required=False, metavar="[ID]", shell_complete=complete_claims)
@click.option(
    "--pool", metavar="POOL", help="Only those of this pool.", shell_complete=complete_pools
)
@click.option("--state", metavar="STATE", help="Only those in this state, such as bound or ended.")
@click.option("-l", "--label", metavar="NAME=VALUE", help="Only those with this label.")
@click.option(
    "--pending", is_flag=True, help="Only those about which somebody has to decide, and who may."
)
@click.option("-a", "--all", "all_", is_flag=True, help="Also those that are over.")
@prints
@talks
def claims(  # noqa: PLR0913 - the command's options
    *,
    claim: str | None,
    pool: str | None,
    state: str | None,
    label: str | None,
    pending: bool,
    all_: bool,
    output: str,
    socket: str | None,
) -> None:
    """Show the claims that are not over, or the claim ID in full, with its outputs."""
    with Stoker(socket) as stoker:
        if claim is not None:
            info = stoker.show(claim)
            _one(info.document, output, lambda document: claim_text(claim_info(document)))
            return
        found = stoker.claims(
            pool=pool, state=state, label=label, all=all_, approval="open" if pending else None
        )
    documents = Listing[Document](info.document for info in found)
    documents.more = found.more
    if pending:
        empty = "Nobody has to decide about a claim."
        _many(documents, output, _PENDING, [_pending_row(info) for info in found], empty)
        return
    headers = ("CLAIM", "POOL", "STATE", "CALLER", "RESOURCE", "AGE", "EXPIRES", "REASON")
    _many(documents, output, headers, [_claim_row(info) for info in found], "There are no claims.")


_PENDING = ("CLAIM", "POOL", "CALLER", "TTL", "VOTES", "UNTIL", "WHAT", "REASON")


def _pending_row(info: ClaimInfo) -> list[Cell]:
    document, approval = info.document, section(info.document, "approval")
    votes = [f"{need['approved']}/{need['quorum']}" for need in approval.get("needs") or ()]
    broke = bool(approval.get("brokeGlass"))
    return [
        info.id,
        _pools_of(info),
        caller_text(document),
        str(document.get("ttl", "")),
        ", ".join(votes),
        until(approval.get("deadline")),
        ("follow-up", "red") if broke else "approval",
        str(document.get("reason") or ""),
    ]


def _claim_row(info: ClaimInfo) -> list[Cell]:
    document = info.document
    because = f" ({info.ended_because})" if info.ended_because else ""
    return [
        info.id,
        _pools_of(info),
        (info.state + because, colour_of(info.state)),
        caller_text(document),
        ", ".join(info.resources),
        ago(document.get("createdAt")),
        until(info.expires_at) if info.state == "bound" else "",
        str(document.get("reason") or info.detail),
    ]


def _pools_of(info: ClaimInfo) -> str:
    """All that it waits for, or the one that serves it."""
    several = section(info.document, "chosen").get("from")
    return ", ".join(map(str, several)) if info.waiting and several else info.pool


@click.command(
    epilog=examples(
        "stoker resources --pool web",
        "stoker resources --state quarantined",
        "stoker resources web-k3v9q2xa",
    )
)
@click.argument("resource", required=False, metavar="[ID]", shell_complete=complete_resources)
@click.option(
    "--pool", metavar="POOL", help="Only those of this pool.", shell_complete=complete_pools
)
@click.option("--state", metavar="STATE", help="Only those in this state, such as ready.")
@click.option("-l", "--label", metavar="NAME=VALUE", help="Only those with this label.")
@prints
@talks
def resources(
    *,
    resource: str | None,
    pool: str | None,
    state: str | None,
    label: str | None,
    output: str,
    socket: str | None,
) -> None:
    """Show the resources, or the resource ID in full, with its parts."""
    with Stoker(socket) as stoker:
        if resource is not None:
            _one(stoker.resource(resource), output, resource_text)
            return
        found = stoker.resources(pool=pool, state=state, label=label)
    headers = ("RESOURCE", "POOL", "STATE", "HEALTH", "AGE", "CLAIM", "REASON")
    _many(found, output, headers, [_resource_row(one) for one in found], "There are no resources.")


def _resource_row(resource: Document) -> list[Cell]:
    state, health = str(resource.get("state", "")), str(resource.get("health", ""))
    return [
        str(resource.get("id", "")),
        str(resource.get("pool", "")),
        (state + _hold(resource), colour_of(state)),
        (health, colour_of(health)),
        ago(resource.get("createdAt")),
        str(resource.get("claim", "")),
        str(resource.get("reason", "")),
    ]


def _hold(resource: Document) -> str:
    """Marks one that will be held later."""
    return " (to be held)" if section(resource, "hold") and resource.get("state") != "held" else ""


def _one(document: Document, output: str, text: Callable[[Document], str]) -> None:
    if output == "json":
        print_json(document)
    else:
        click.echo(text(document))


def _many(
    found: Listing[Document],
    output: str,
    headers: Sequence[str],
    rows: list[list[Cell]],
    nothing: str,
) -> None:
    if output == "json":
        print_json(found)
    elif rows:
        click.echo(table(headers, rows))
    else:
        click.echo(nothing, err=True)
    if found.more:
        click.echo(f"There are more than these {len(found)}: narrow it with --pool.", err=True)
