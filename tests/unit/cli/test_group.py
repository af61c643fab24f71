from __future__ import annotations

import errno
import json
from collections.abc import Callable
from typing import Any

import click
import pytest

from mesh import __version__
from mesh.cli.group import COMMANDS, LazyGroup, cli

Mesh = Callable[..., Any]


def test_help_lists_every_command(mesh: Mesh) -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = mesh(*arguments)
        assert done.code == 0
        assert all(f"  {name}" in done.out for name in COMMANDS)
        assert "Examples:" in done.out


def test_every_command_is_there_and_has_examples() -> None:
    assert isinstance(cli, LazyGroup)
    context = click.Context(cli)
    for name, entry in COMMANDS.items():
        command = cli.get_command(context, name)
        assert (command is None) == (not entry.module)
        if isinstance(command, click.Group):
            assert command.epilog
            assert all(sub.epilog and "Examples:" in sub.epilog for sub in command.commands.values())
        elif command is not None and name != "version":
            assert command.epilog
            assert "Examples:" in command.epilog


def test_version(mesh: Mesh) -> None:
    assert mesh("version").out.startswith(f"mesh {__version__} (Python 3.")
    assert mesh("-o", "json", "version").json["version"] == __version__
    assert mesh("version", "-o", "json").json["version"] == __version__


@pytest.mark.parametrize(("arguments", "said"), [
    (("wieght", "cart"), "mesh: no such command: wieght; did you mean weight?"),
    (("quux",), "mesh: no such command: quux"),
    (("-o", "json", "sidecar"), 'sidecar takes its own options: they stand after its name'),
    (("--quux",), "mesh: No such option '--quux'."),
    (("weight",), "mesh weight: Missing argument 'SERVICE'."),
    (("traces", "--errros"), "mesh traces: No such option '--errros'. Did you mean '--errors'?"),
    (("traces", "--limit", "0"), "mesh traces: Invalid value for '--limit': 0 is not in the range 1<=x<=1000."),
    (("get", "pods"), "mesh get: No such command 'pods'."),
    (("status", "-o", "yaml"), "mesh status: Invalid value for '-o' / '--output': 'yaml' is not one of "),
])
def test_wrong_input_is_one_line_and_exit_code_2(mesh: Mesh, arguments: tuple[str, ...], said: str) -> None:
    done = mesh(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err.count("\n") == 1
    assert said in done.err


def test_what_cannot_be_sent_or_printed_is_one_line(mesh: Mesh, plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    done = mesh("traces", "--service", "\udcff")
    assert (done.code, done.err) == (2, "mesh traces: '\\udcff' can't be encoded as utf-8\n")

    def full(_text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("click.echo", full)
    done = mesh("traces")
    assert (done.code, done.err) == (1, "mesh traces: input or output failed: No space left on device\n")


@pytest.mark.parametrize("flags", [("-o", "json"), ("-ojson",), ("--output", "json"), ("--output=json",)])
def test_errors_are_json_where_the_output_is(mesh: Mesh, flags: tuple[str, ...]) -> None:
    done = mesh("weight", *flags, "cart", "x")
    assert done.code == 2
    assert json.loads(done.err) == {"error": "x: write ENDPOINT=WEIGHT"}
