"""The operator's commands against a real control plane with real sidecars."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from e2e_mesh import Mesh, Replica
from e2e_processes import ROOT, eventually

pytestmark = pytest.mark.e2e
CALLER = """
import os, socket
host, port = os.environ["MESH_OUTBOUND_STOCK"].rsplit(":", 1)
with socket.create_connection((host, int(port)), 10) as caller:
    caller.sendall(b'{"do": "echo"}\\n' + b"x" * 100_000)
    caller.shutdown(socket.SHUT_WR)
    print(sum(map(len, iter(lambda: caller.recv(65_536), b""))))
"""
LISTENER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()
"""


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shop(NamedTuple):
    mesh: Mesh
    replicas: list[Replica]

    def run(self, *argv: str, **more: Any) -> Done:
        """`mesh` as a person has it: a process of its own."""
        done = subprocess.run([sys.executable, "-m", "mesh.cli", *argv], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "MESH_CONTROL_PLANE": self.mesh.address,
                                   "COLUMNS": "120"}, cwd=self.mesh.directory, **more)
        return Done(done.returncode, done.stdout, done.stderr)

    def json(self, *argv: str) -> Any:
        done = self.run(*argv, "-o", "json")
        assert (done.code, done.err) == (0, "")
        return json.loads(done.out)

    def weights(self) -> dict[str, int]:
        return {item["name"]: item["weight"] for item in self.json("get", "endpoints", "stock")["endpoints"]}


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    here = Shop(mesh, [])
    (mesh.directory / "shop.yaml").write_text("services:\n- {name: stock, protocol: tcp, timeout: {connect: 250ms}}\n")
    assert here.run("apply", "-f", "shop.yaml").out == "service/stock created\n"
    here.replicas.extend(mesh.replicas("stock", 2, kind="tcp", protocol="tcp"))
    return here


def test_apply_says_what_changed(shop: Shop) -> None:
    assert shop.run("apply", "-f", "shop.yaml", "--dry-run").out == "service/stock unchanged (dry run)\n"
    service = shop.json("get", "services", "stock")["services"][0]
    assert (service["protocol"], service["timeout"]["connect"]) == ("tcp", "0.25s")


def test_a_wrong_file_changes_nothing(shop: Shop) -> None:
    before = shop.json("get", "services")
    (shop.mesh.directory / "wrong.yaml").write_text("services:\n  - name: new\n  - {name: stock, protocl: tcp}\n")
    done = shop.run("apply", "-f", "wrong.yaml")
    assert done.code == 2
    assert done.err.startswith("mesh apply: wrong.yaml:3: services[1].protocl: ")
    assert done.err.count("\n") == 1
    assert shop.json("get", "services") == before


def test_weights(shop: Shop) -> None:
    assert shop.run("weight", "stock", "stock-0=1", "stock-1=9").code == 0
    assert shop.weights() == {"stock-0": 1, "stock-1": 9}
    for wrong in ("stock-9=1", "stock-0=2000000", "stock-0=x"):
        done = shop.run("weight", "stock", "stock-1=3", wrong)
        assert (done.code, done.out) == (2, "")
        assert done.err.startswith("mesh weight: ")
        assert wrong.partition("=")[0] in done.err
    assert shop.weights() == {"stock-0": 1, "stock-1": 9}
    shop.run("weight", "stock", "stock-1=1")


def test_drain_and_undo(shop: Shop) -> None:
    def health() -> list[str]:
        return [item["health"] for item in shop.json("get", "endpoints", "stock")["endpoints"]]

    assert shop.run("drain", "stock", "stock-1").code == 0
    assert health() == ["healthy", "draining"]
    assert shop.run("drain", "stock", "stock-1", "--undo").code == 0
    assert health() == ["healthy", "healthy"]
    done = shop.run("drain", "stock", "stock-7")
    assert done.code == 2
    assert "stock-7" in done.err


def test_delete(shop: Shop) -> None:
    (shop.mesh.directory / "old.json").write_text('{"kind": "Service", "name": "old"}')
    assert shop.run("apply", "-f", "old.json").code == 0
    assert shop.run("delete", "old").out == "service/old deleted\n"
    assert shop.run("delete", "old").code == 2
    assert shop.run("get", "services", "old").code == 2


def test_status(shop: Shop) -> None:
    done = shop.run("status")
    assert (done.code, done.err) == (0, "")
    assert f"Control plane {shop.mesh.address} is up" in done.out
    assert re.search(r"^stock/stock-0 +up to date ", done.out, re.MULTILINE)
    shown = shop.json("status")
    assert shown["healthy"] is True
    assert {"stock/stock-0", "stock/stock-1"} <= {item["id"] for item in shown["sidecars"]}
    assert shop.run("get", "sidecars").code == 0


def test_an_app_with_its_sidecar_and_its_trace(shop: Shop) -> None:
    done = shop.run("run", "--service", "job", "--outbound", "stock=0", "--log-level", "error", "--",
                    sys.executable, "-c", CALLER)
    assert done == (0, "100000\n", "")

    def found() -> list[Any]:
        traces: list[Any] = shop.json("traces", "--service", "job")["traces"]
        return traces

    trace = eventually(found, "the trace has arrived")[0]
    assert (trace["root_name"], trace["errors"]) == ("tcp stock", 0)
    assert trace["trace_id"][:16] in shop.run("traces").out
    drawn = shop.run("trace", trace["trace_id"][:12])
    assert drawn.code == 0
    assert drawn.out.startswith(f"Trace {trace['trace_id']}: 1 span, 1 service, ")
    assert re.search(r"^job tcp stock +█+ .* → stock/stock-[01]$", drawn.out, re.MULTILINE)
    assert shop.json("trace", trace["trace_id"])["spans"][0]["attributes"]["mesh.request.bytes"]
    assert shop.json("traces", "--service", "job", "--errors") == {"traces": []}


def test_a_service_under_run_joins_and_leaves(shop: Shop) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = shop.mesh.directory / "late.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mesh.cli", "run", "--service", "late", "--port", str(port), "--protocol", "tcp",
             "--drain-timeout", "5s", "--", sys.executable, "-c", LISTENER, str(port)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "MESH_CONTROL_PLANE": shop.mesh.address}, stdout=output,
            stderr=output, cwd=shop.mesh.directory)
    try:
        shop.mesh.wait_registered("late", {"late-0"})
        sidecar = next(int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
        inbound = shop.json("get", "endpoints", "late")["endpoints"][0]["port"]
        os.kill(sidecar, signal.SIGKILL)
        eventually(lambda: "starting it again" in log.read_text(), "the sidecar is started again")
        eventually(lambda: f"is ready: inbound 127.0.0.1:{inbound}" in log.read_text().split("starting it again")[1],
                   "it has the same port")
        shop.mesh.wait_registered("late", {"late-0"})
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        shop.mesh.wait_registered("late", set())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def test_what_the_programs_import(shop: Shop) -> None:
    program = ("import sys\nfrom mesh.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
               "print(*sorted({'click', 'rich', 'grpc', 'asyncio'} & set(sys.modules)), file=sys.stderr)")
    for argv, heavy in ((("sidecar", "--help"), "asyncio"), (("run", "--help"), ""), (("controlplane", "--help"), "")):
        done = subprocess.run([sys.executable, "-c", program, *argv], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == 0
        assert done.stderr.split() == heavy.split(), argv
        assert "usage:" in done.stdout


@pytest.mark.parametrize("argv", [
    (), ("apply",), ("delete",), ("get",), ("get", "services"), ("get", "endpoints"), ("get", "sidecars"), ("weight",),
    ("drain",), ("status",), ("traces",), ("trace",), ("run",), ("sidecar",), ("controlplane",), ("demo",)])
def test_help(shop: Shop, argv: tuple[str, ...]) -> None:
    done = shop.run(*argv, "--help")
    assert (done.code, done.err) == (0, "")
    assert "usage: mesh" in done.out.lower()


def test_version(shop: Shop) -> None:
    assert shop.run("version").out == shop.run("--version").out
    assert shop.run("version").out.startswith("mesh 0.")


def test_a_reader_that_leaves_early(shop: Shop) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, "-m", "mesh.cli", "get", "services"], stdout=writer, timeout=30,
                              stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "MESH_CONTROL_PLANE": shop.mesh.address})
    finally:
        os.close(writer)
    assert done.stderr == ""
