"""`mesh simulate`: its arguments, its table and its JSON, and every command of docs/simulate.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.cli import simulate as module

ROOT = Path(__file__).parents[3]
QUICK = ("--duration", "2s", "--rate", "200")
SCENARIO = """\
name: cart
duration: 2s
rate: 200
endpoints:
  - {name: e, count: 3, service_time: "exponential:5ms", workers: 4}
events:
  - {at: 1s, endpoint: e-1, state: dead}
"""
POLICIES = """\
services:
  - {name: cart, balance: {algorithm: round_robin}}
  - {name: stock, retry: {max_attempts: 1}}
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.yaml").write_text(SCENARIO)
    (tmp_path / "policies.yaml").write_text(POLICIES)
    (tmp_path / "one.yaml").write_text("kind: Service\nname: other\nretry: {max_attempts: 1}\n")
    return tmp_path


def test_two_side_by_side(mesh: Callable[..., object]) -> None:
    done = mesh("simulate", *QUICK, "--balance", "round_robin", "--balance", "peak_ewma", "--fault", "e-0=10x@0s")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "200 requests/s for 2s from 4 callers to 4 endpoints; seed 1"
    assert lines[2].split() == ["round_robin", "peak_ewma", "FACTOR"]
    rows = {line[:22].strip(): line[22:].split() for line in lines[3:]}
    assert set(rows) >= {"requests", "answered", "p50", "p99", "mean", "retries", "imbalance", "calls to e-0"}
    assert rows["p99"][2:] == [rows["p99"][2], "x"]
    assert int(rows["calls to e-0"][1]) < int(rows["calls to e-0"][0])


def test_json_of_one(mesh: Callable[..., object]) -> None:
    for flag in (("--json",), ("-o", "json")):
        done = mesh("simulate", *QUICK, *flag)
        assert done.code == 0
        assert done.json["scenario"]["rate"] == 200
        (one,) = done.json["policies"]
        assert one["name"] == "power_of_two"
        assert one["answered"] == one["requests"] > 100
        assert 0 < one["latency_seconds"]["p50"] < one["latency_seconds"]["p99"]
        assert sum(one["attempts"].values()) == pytest.approx(one["requests"], abs=5)


def test_a_file_and_policies_of_files(files: Path, mesh: Callable[..., object]) -> None:
    files_of = ("--policy", "policies.yaml", "--policy", "one.yaml", "--policy", "one.yaml")
    done = mesh("simulate", "shop.yaml", *files_of, "--json")
    assert done.code == 0, done.err
    names = [each["name"] for each in done.json["policies"]]
    assert names == ["policies", "one", "one (2)"]
    retrying, once, _ = done.json["policies"]
    assert retrying["failed"] == {}
    assert once["failed"].keys() >= {"upstream_connect_failed"}
    chosen = mesh("simulate", "shop.yaml", "--policy", "policies.yaml", "--service", "stock", "--json")
    assert chosen.json["policies"][0]["failed"].keys() >= {"upstream_connect_failed"}


def test_what_is_not_simulated_is_said(files: Path, mesh: Callable[..., object]) -> None:
    (files / "one.yaml").write_text("kind: Service\nname: other\nlimits: {max_requests: 1}\n")
    done = mesh("simulate", *QUICK, "--policy", "one.yaml")
    assert (done.code, done.err) == (0, "note: the limits in one.yaml are not simulated\n")


def test_recorded(files: Path, mesh: Callable[..., object]) -> None:
    (files / "d.jsonl").write_text("".join(json.dumps(
        {"time": at / 100, "service": "cart", "endpoint": f"e-{at % 3}", "latency": 0.01, "outcome": "ok"}) + "\n"
        for at in range(300)))
    done = mesh("simulate", "--recorded", "d.jsonl", "--balance", "round_robin")
    assert done.code == 0, done.err
    assert done.out.startswith("300 recorded requests for 2.99s from 4 callers to 3 endpoints; seed 1\n")


@pytest.mark.parametrize(("arguments", "message"), [
    (["--balance", "best"], "--balance best: none of round_robin"),
    (["--rate", "0"], "--rate: 0 is outside"),
    (["--duration", "soon"], "--duration soon:"),
    (["--endpoints", "0"], "--endpoints 0: who is to be called?"),
    (["--service-time", "1 week"], "--service-time: '1 week' is no duration"),
    (["--workers", "-1"], "--workers: -1 is outside"),
    (["--fault", "e-0"], "--fault e-0: write ENDPOINT=WHAT@FROM"),
    (["--fault", "e-0=sick@1s"], "--fault e-0=sick@1s: 'sick' is none of dead"),
    (["--fault", "e-9=dead@1s"], "--fault e-9=dead@1s: there is no endpoint e-9"),
    (["--fault", "e-0=dead@2s-1s"], "--fault e-0=dead@2s-1s: it ends before it begins"),
    (["--plot", "x.pdf"], "--plot x.pdf: write a .png or .svg"),
    (["none.yaml"], "none.yaml: No such file"),
    (["--recorded", "none"], "none: No such file"),
    (["shop.yaml", "--endpoints", "3"], "--endpoints: endpoints are those of shop.yaml"),
    (["shop.yaml", "--recorded", "x"], "--recorded: the scenario is given already"),
    (["bad.yaml"], "bad.yaml:2: endpoints[0].service_time: is missing"),
    (["shop.yaml", "--policy", "shop.yaml"], "shop.yaml:1: name: unknown field"),
    (["--policy", "policies.yaml"], "policies.yaml: has cart, stock, none of them service; say which with --service"),
    (["shop.yaml", "--warmup", "9s"], "--warmup: 9 is outside 0..2"),
])
def test_what_is_wrong_is_told_with_its_place(files: Path, mesh: Callable[..., object], arguments: list[str],
                                              message: str) -> None:
    (files / "bad.yaml").write_text("endpoints:\n  - {name: e}\n")
    done = mesh("simulate", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"mesh simulate: {message}"), done.err
    assert done.out == ""


def test_without_matplotlib_the_remedy_is_told_before_anything_runs(
        mesh: Callable[..., object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "mesh.cli.simulate_plot", raising=False)
    monkeypatch.setattr(module, "play", None)
    done = mesh("simulate", "--plot", "x.png")
    assert done.code == 2
    assert "matplotlib is not installed. Remedy: pip install 'mesh-sidecar[simulate]'" in done.err


def test_progress_on_a_terminal_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUIET", -1.0)
    progress = module._Progress(2)
    progress.part(0, "a")(0.5)
    progress.clear()
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    progress.part(1, "b")(0.5)
    progress.clear()
    assert " 75%  b" in capsys.readouterr().err


def commands() -> list[str]:
    lines = (ROOT / "docs" / "simulate.md").read_text().splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ mesh simulate")]


def test_there_are_commands_in_the_document() -> None:
    assert len(commands()) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_document_works(command: str, mesh: Callable[..., object], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "simulate.md").read_text()
    for name, content in re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL):
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    done = mesh(*shlex.split(command)[1:])
    assert done.code == 0, done.err


@pytest.mark.slow
def test_neither_the_sidecar_nor_the_other_commands_import_it() -> None:
    code = ("import sys; import mesh.sidecar.app, mesh.sidecar.sidecar, mesh.cli.group; "
            "print([name for name in sys.modules if name.split('.')[0] in ('matplotlib', 'numpy') "
            "or name.startswith(('mesh.simulate', 'mesh.cli.simulate'))])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
