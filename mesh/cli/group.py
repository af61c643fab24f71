"""The operator's commands as a click group that imports a command only when it is called.

What lives here: the list of commands, help, and errors in one line (as JSON under `-o json`). What this must not know:
what a command does.
"""

from __future__ import annotations

import difflib
import importlib
import json
import platform
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import click

from mesh import __version__
from mesh.cli import PROGRAMS
from mesh.cli.settings import Settings, common
from mesh.errors import MeshError


class Entry(NamedTuple):
    section: str
    module: str  # "" for a program, which is called before this module is imported
    help: str


_OPERATE = "Operate"
COMMANDS: dict[str, Entry] = {
    "controlplane": Entry("Run", "", "Keep the registry, steer the sidecars, store traces."),
    "sidecar": Entry("Run", "", "Carry the traffic of one service instance."),
    "run": Entry("Run", "", "Run a command together with its sidecar."),
    "demo": Entry("Run", "", "A small shop of services on this machine, with traffic and failures."),
    "apply": Entry(_OPERATE, "mesh.cli.resources", "Create or replace services and endpoints from files."),
    "delete": Entry(_OPERATE, "mesh.cli.resources", "Remove a service, or one of its endpoints."),
    "get": Entry(_OPERATE, "mesh.cli.get", "List services, endpoints or sidecars."),
    "weight": Entry(_OPERATE, "mesh.cli.resources", "Set the weights of a service's endpoints."),
    "drain": Entry(_OPERATE, "mesh.cli.resources", "Give endpoints nothing new, or take that back."),
    "status": Entry(_OPERATE, "mesh.cli.status", "Which sidecar holds which revision, and who refused what."),
    "traces": Entry("Look inside", "mesh.cli.traces", "List traces."),
    "trace": Entry("Look inside", "mesh.cli.traces", "Draw the waterfall of one trace."),
    "simulate": Entry("Look inside", "mesh.cli.simulate", "What a policy would do: a load on a virtual clock."),
    "explain": Entry("Look inside", "mesh.cli.explain", "Why a call goes, or went, where it does."),
    "version": Entry("Look inside", "mesh.cli.group", "Print the version."),
}


class LazyGroup(click.Group):
    """Knows its commands by name; `get_command` imports the one that is wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None or not entry.module:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context,
                        args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in PROGRAMS:
            ctx.fail(f"{name} takes its own options: they stand after its name")
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"no such command: {name}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()
                                    if entry.section == section])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]},
             epilog="""\b
Examples:
  mesh controlplane
  mesh run --service cart --port 50051 --outbound stock=15003 -- python cart.py
  mesh apply -f shop.yaml
  mesh get endpoints cart
  mesh weight cart cart-0=1 cart-1=9
  mesh traces --errors
  mesh explain cart /shop.Cart/Get --from storefront
  mesh COMMAND --help""")
@common
@click.pass_context
def cli(ctx: click.Context) -> None:
    """A service mesh: sidecars that carry the traffic, one control plane that steers them."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


@click.command()
@common
@click.pass_obj
def version(settings: Settings) -> None:
    """Print the version."""
    if settings.json:
        click.echo(json.dumps({"version": __version__, "python": platform.python_version()}))
    else:
        click.echo(f"mesh {__version__} (Python {platform.python_version()})")


def invoke(arguments: Sequence[str]) -> int:
    """Run an operator's command and return the exit code; an error is one line on stderr."""
    try:
        returned: Any = cli.main(args=list(arguments), prog_name="mesh", standalone_mode=False)
        return returned if isinstance(returned, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.Abort:
        return 130
    except click.ClickException as error:
        return _fail(arguments, error.format_message(), 2)
    except MeshError as error:
        return _fail(arguments, str(error), error.exit_code)
    except UnicodeEncodeError as error:  # an argument that a message can't carry
        return _fail(arguments, f"{error.object!r} can't be encoded as {error.encoding}", 2)
    except OSError as error:
        return _fail(arguments, f"input or output failed: {error.strerror or error}", 1)


def _fail(arguments: Sequence[str], message: str, code: int) -> int:
    message = " ".join(message.split())
    if _wants_json(arguments):
        print(json.dumps({"error": message}), file=sys.stderr)
    else:
        words = [word for word in arguments if word in COMMANDS][:1]
        print(f"{' '.join(['mesh', *words])}: {message}", file=sys.stderr)
    return code


def _wants_json(arguments: Sequence[str]) -> bool:
    """Errors can come before click has read `-o json`."""
    joined = [f"{first}={second}" for first, second in pairwise(arguments)]
    return any(word in ("-ojson", "-o=json", "--output=json") for word in [*arguments, *joined])
