"""`stoker explain`: why a pool, a claim, a resource or a blueprint is as it is."""

import os
import sys
import textwrap
from collections.abc import Iterator

import click
from click.shell_completion import CompletionItem

from ...client import Document, Stoker
from .options import complete, examples, print_json, prints, talks
from .terminal import ago, clean, style, until

KINDS = ("pool", "claim", "resource", "blueprint")
NARROWEST, WIDEST = 40, 80


def _kind(text: str) -> str:
    """`pool`, also for `pools`."""
    return text.removesuffix("s") if text.removesuffix("s") in KINDS else ""


def _subject(words: tuple[str, ...]) -> tuple[str, str]:
    """Kind and name, of `pool/web`, `pools/web` or `pool web`."""
    pieces = words[0].split("/", 1) if len(words) == 1 else list(words)
    if len(pieces) != 2 or not _kind(pieces[0]) or not pieces[1]:
        given = " ".join(words)
        raise click.UsageError(
            f"{given!r} is nothing to explain. Write pool/NAME, claim/ID, resource/ID or "
            "blueprint/NAME."
        )
    return _kind(pieces[0]), pieces[1]


def _offers(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    kind, slash, _ = incomplete.partition("/")
    if not slash:
        return [CompletionItem(f"{one}/") for one in KINDS if one.startswith(kind)]
    return complete(
        ctx, incomplete, lambda stoker: [f"{kind}/{name}" for name in _names(stoker, _kind(kind))]
    )


def _names(stoker: Stoker, kind: str) -> list[str]:
    match kind:
        case "claim":
            return [claim.id for claim in stoker.claims()]
        case "resource":
            return [str(one["id"]) for one in stoker.resources()]
        case "pool":
            return [str(pool["name"]) for pool in stoker.pools()]
        case _:
            return sorted({str(pool["blueprint"]) for pool in stoker.pools()})


@click.command(
    epilog=examples(
        "stoker explain pool/web",
        "stoker explain pool web",
        "stoker explain claim/c-x7m3k9q2w8p4z6ab",
        "stoker explain resource/web-k3v9q2xa -o json",
        "stoker explain blueprint/web-sandbox",
    )
)
@click.argument("subject", nargs=-1, required=True, metavar="KIND/NAME", shell_complete=_offers)
@prints
@talks
def explain(subject: tuple[str, ...], output: str, socket: str | None) -> None:
    """Say why a pool, claim, resource or blueprint is as it is, and what comes next.

    KIND is pool, claim, resource or blueprint. A resource that is gone and a claim that has ended
    are explained too, for as long as the ledger knows of them.
    """
    kind, name = _subject(subject)
    with Stoker(socket) as stoker:
        found = stoker.explain(kind, name)
    if output == "json":
        print_json(found)
    else:
        click.echo("\n".join(text_of(found, _width())))


def _width() -> int:
    if not sys.stdout.isatty():
        return WIDEST
    columns = os.get_terminal_size(sys.stdout.fileno()).columns or WIDEST
    return max(NARROWEST, min(WIDEST, columns))


def text_of(found: Document, width: int) -> Iterator[str]:
    """The lines of an explanation, none longer than `width` characters."""
    summary = str(found.get("summary", ""))
    yield from (style(line, "bold") for line in _wrapped(summary, width))
    why = [str(one) for one in found.get("why") or () if one not in summary]
    if why:
        yield ""
        for sentence in why:
            yield from _wrapped(sentence, width, first="- ", then="  ")
    yield from _history(found.get("history") or [], width)
    yield from _next(found.get("next") or [], width)


def _history(history: list[Document], width: int) -> Iterator[str]:
    if not history:
        return
    yield ""
    yield style("What happened:", "dim")
    shown = ""
    for one in history:
        day, _, time = str(one.get("at", "")).removesuffix("Z").partition("T")
        if day != shown:
            shown = day
            yield style(f"  {day} (UTC)", "dim")
        head = f"  {time[:12]}  {ago(one.get('at')) or '0s':>6} ago  "
        text = f"{one.get('event')}: {one.get('detail')}".removesuffix(": ")
        yield from _wrapped(text, width, first=head, then=" " * len(head))


def _next(coming: list[Document], width: int) -> Iterator[str]:
    if not coming:
        return
    yield ""
    yield style("What comes next:", "dim")
    for one in coming:
        moment = str(one.get("at", ""))
        when = "at some time"
        if moment:
            soon = until(moment)
            when = f"{moment[11:19]}  {'now' if soon == 'over' else soon}"
        head = f"  {when:<17}  "
        yield from _wrapped(str(one.get("what", "")), width, first=head, then=" " * len(head))


def _wrapped(text: str, width: int, *, first: str = "", then: str = "") -> list[str]:
    """Words that are longer than a line, such as a path, are cut rather than let out of it."""
    return textwrap.wrap(
        clean(text), width, initial_indent=first, subsequent_indent=then, break_on_hyphens=False
    ) or [first.rstrip()]
