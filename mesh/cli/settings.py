"""What every operator's command is told: which control plane, which output, how long to wait.

What lives here: the options that all commands share. What this must not know: gRPC, what is asked or printed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from mesh.errors import InvalidConfig
from mesh.sidecar.config import DEFAULT_CONTROL_PLANE, Address, parse_addresses
from mesh.sidecar.config_values import duration

F = TypeVar("F", bound=Callable[..., Any])

MAX_TIMEOUT = 600.0


@dataclass
class Settings:
    """Filled in by the options, before or after the command's name; the later one wins. `timeout` in seconds."""

    control_plane: str | None = None
    output: str = "table"
    timeout: float = 5.0

    @property
    def json(self) -> bool:
        return self.output == "json"

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The control plane's replicas; InvalidConfig names the flag or the variable that is wrong."""
        if self.control_plane is not None:
            return parse_addresses(f"--control-plane {self.control_plane}", self.control_plane)
        variable = os.environ.get("MESH_CONTROL_PLANE", "")
        if variable:
            return parse_addresses(f"MESH_CONTROL_PLANE={variable}", variable)
        return (DEFAULT_CONTROL_PLANE,)


def _store(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    settings = ctx.ensure_object(Settings)
    if value is None:
        return
    if param.name == "timeout":
        try:
            value = duration(value)
        except ValueError as error:
            raise InvalidConfig(f"--timeout {value}: {error}") from None
        if not 0.001 <= value <= MAX_TIMEOUT:
            raise InvalidConfig(f"--timeout {value:g}s: outside 1ms..10m")
    setattr(settings, str(param.name), value)


def common(command: F) -> F:
    """Add the options that all commands share."""
    for option in (
        click.option("--timeout", metavar="DURATION", callback=_store, expose_value=False,
                     help="How long to wait for an answer (default: 5s)."),
        click.option("-o", "--output", type=click.Choice(["table", "json"]), callback=_store, expose_value=False,
                     help="Tables for people (default) or JSON for programs."),
        click.option("--control-plane", metavar="HOST:PORT", callback=_store, expose_value=False,
                     help=f"Where the control plane is [MESH_CONTROL_PLANE] (default: {DEFAULT_CONTROL_PLANE})."),
    ):
        command = option(command)
    return command
