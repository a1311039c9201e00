"""The group of all commands: loads them when called, and turns every failure into an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, cast

import click

from .failing import report

COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("directories", "Write a starter config directory."),
    "validate": ("directories", "Report every error of a config directory."),
    "policy": ("policy", "Test the policies of a config directory, and explain them."),
    "plan": ("plan", "Show what a config directory would change."),
    "schema": ("directories", "Print the JSON Schema of the config documents."),
    "run": ("run", "Run the daemon."),
    "claim": ("claim", "Claim a resource, for a while or for a command."),
    "approve": ("approvals", "Approve claims of others."),
    "reject": ("approvals", "Reject claims of others."),
    "renew": ("ending", "Let a claim end later."),
    "release": ("ending", "End claims."),
    "sync": ("sync", "Look for a new configuration now."),
    "apply": ("config", "Accept a revision that is held."),
    "config": ("config", "Show, pin and roll back revisions."),
    "status": ("status", "Show how the daemon and its pools are."),
    "pools": ("lists", "Show the pools, or one of them."),
    "claims": ("lists", "Show the claims, or one of them."),
    "resources": ("lists", "Show the resources, or one of them."),
    "events": ("events", "Show what happened, and follow what happens."),
    "explain": ("explain", "Say why something is as it is."),
    "pause": ("operate", "Let pools stand still."),
    "resume": ("operate", "End a pause or a drain."),
    "drain": ("operate", "Empty pools."),
    "refresh": ("operate", "Replace what stands ready."),
    "freeze": ("operate", "Let nothing change by itself on this host."),
    "thaw": ("operate", "End a freeze."),
    "hold": ("operate", "Keep resources for inspection."),
    "unhold": ("operate", "End a hold."),
    "retire": ("operate", "Remove resources."),
    "audit": ("audit", "Prove, copy and sum up what happened."),
    "completion": ("shells", "Print the completion script of a shell."),
    "version": ("shells", "Print the version."),
}
"""Command to its module and to the line that `stoker --help` shows of it."""


class Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__package__}.{COMMANDS[cmd_name][0]}")
        return cast("click.Command", getattr(module, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"There is no command {name!r}.{_near(name)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002, FBT001, FBT002 - click's signature
        **extra: Any,
    ) -> Any:
        """Never returns: exits with 0 done, 1 failed, 2 usage, 3 denied, 4 not found, 5 unavailable."""
        given = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(
                given, prog_name or "stoker", complete_var, standalone_mode=False, **extra
            )
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read our output has enough. Python must not fail again when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        except Exception as error:  # noqa: BLE001 - the last place where it can become a sentence
            sys.exit(report(error, given))
        sys.exit(code if isinstance(code, int) else 0)


def _near(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for a mistyped command

    found = get_close_matches(name, COMMANDS, n=1)
    return f" Did you mean {found[0]!r}?" if found else ""


@click.group(
    name="stoker",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "\b\nExamples:\n"
        "  stoker init ./config                           write a starter config\n"
        "  stoker run --config ./config                   run the daemon on it\n"
        "  stoker claim web -- sh -c 'curl $STOKER_URL'   use a resource\n\n"
        "The daemon's socket is --socket, else $STOKER_SOCKET, else /run/stoker/stoker.sock for root "
        "and $XDG_RUNTIME_DIR/stoker/stoker.sock for others."
    ),
)
@click.version_option(package_name="stoker", message="%(prog)s %(version)s")
def cli() -> None:
    """Keep pools of almost-ready resources warm and hand one over in about a millisecond."""
