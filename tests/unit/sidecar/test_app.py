"""The program's edges: wrong input ends with one line and 2. What it does when it runs is in tests/e2e."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from mesh.sidecar.app import describe_outbound, main


@pytest.mark.parametrize(("flags", "said"), [
    ([], "--service: missing"),
    (["--service", "Not A Name"], "--service Not A Name: "),
    (["--service", "web", "--outbound", "cart=99999"], "--outbound cart=99999: port"),
    (["--service", "web", "--drain-timeout", "soon"], "--drain-timeout soon: "),
    (["--service", "web", "--config", "/nowhere/x.yaml"], "/nowhere/x.yaml"),
])
def test_wrong_input_is_one_line_and_2(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_wrong_telemetry_variables_are_refused(monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    assert main(["--service", "web"]) == 2
    assert "OTEL_TRACES_SAMPLER" in capsys.readouterr().err


def test_a_closed_ready_descriptor_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.close(writing)
    assert main(["--service", "web", "--ready-fd", str(writing)]) == 2
    assert capsys.readouterr().err == f"mesh sidecar: --ready-fd {writing}: bad file descriptor\n"


def test_the_ready_line_names_every_outbound_port() -> None:
    assert describe_outbound({}, None) == "none"
    assert describe_outbound({"cart": "127.0.0.1:1"}, None) == "cart=127.0.0.1:1"
    assert describe_outbound({"cart": "127.0.0.1:1"}, "127.0.0.1:2") == "cart=127.0.0.1:1, shared 127.0.0.1:2"


@pytest.mark.slow
def test_a_taken_port_is_one_line_and_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run([sys.executable, "-m", "mesh.cli", "sidecar", "--service", "web", "--outbound",
                               f"cart={port}"], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == f"mesh sidecar: --outbound cart=127.0.0.1:{port}: address already in use\n"
