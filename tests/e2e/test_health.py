"""Replicas that freeze, refuse or say themselves that they are ill: seen by checks and by what happens to requests,
shown by the control plane, and used again when they are well."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest
from e2e_calls import Client
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar, eventually

pytestmark = pytest.mark.e2e
# Often enough for a test, and a timeout that no machine under load misses by accident.
OFTEN = {"interval": "0.2s", "timeout": "2s", "rise": 1, "fall": 1, "fastInterval": "0.2s", "jitter": 0.5}


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar

    def check_of(self, name: str) -> dict[str, str | None]:
        return {instance: state["check"] for instance, state in self.web.endpoints(name).items()}

    def wait_checks(self, name: str, **states: str) -> None:
        wanted = {instance.replace("_", "-"): state for instance, state in states.items()}
        eventually(lambda: self.check_of(name) == wanted, f"the checks of {name} are {wanted}", 30)

    def wait_failure(self, name: str, instance: str, why: str) -> None:
        eventually(lambda: why in str(self.web.endpoints(name)[instance]["check_failure"]),
                   f"the check of {instance} fails: {why}", 30)

    def get_endpoints(self, *arguments: str) -> Any:
        done = subprocess.run([sys.executable, "-m", "mesh.cli", "get", "endpoints", *arguments, "-o", "json",
                               "--control-plane", self.mesh.address], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def down_for(self, name: str) -> dict[str, list[str]]:
        """What the control plane shows: verdicts by endpoint."""
        return {endpoint["name"]: [each["verdict"] for each in endpoint["status"]["down_for"]
                                   if each["caller"] == "web/web-0"]
                for endpoint in self.get_endpoints(name)["endpoints"]}


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    return Shop(mesh, mesh.sidecar("web", "web-0", outbound=["ill/http1", "carts", "pay", "store/tcp", "told"]))


@contextlib.contextmanager
def stopped(process: Any) -> Iterator[None]:
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def get(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_frozen_app_is_found_by_checks_shown_by_the_control_plane_and_comes_back(shop: Shop) -> None:
    shop.mesh.apply(service("ill", "HTTP1", health={"http": {"path": "/whoami"}, **OFTEN}))
    replicas = shop.mesh.replicas("ill", 3, kind="http1", protocol="http1")
    shop.mesh.wait_seen(shop.web, "ill")
    shop.wait_checks("ill", ill_0="passing", ill_1="passing", ill_2="passing")
    with stopped(replicas[1].app):
        shop.wait_checks("ill", ill_0="passing", ill_1="failing", ill_2="passing")
        shop.wait_failure("ill", "ill-1", "no answer within 2 s")
        answers = {get(shop.web.outbound("ill"), "/whoami") for _ in range(30)}
        assert answers == {(200, b"ill-0"), (200, b"ill-2")}
        expected = {"ill-0": [], "ill-1": ["check_failed"], "ill-2": []}
        eventually(lambda: shop.down_for("ill") == expected, "the control plane shows it", 20)
        assert shop.get_endpoints("ill", "--callers")["callers"] == ["web/web-0"]
        shop.mesh.control_plane.stop()
        shop.mesh.control_plane.start()
        eventually(lambda: shop.down_for("ill") == expected, "a restarted control plane is told", 40)
    shop.wait_checks("ill", ill_0="passing", ill_1="passing", ill_2="passing")
    eventually(lambda: not any(shop.down_for("ill").values()), "the verdict is taken back", 20)
    eventually(lambda: get(shop.web.outbound("ill"), "/whoami") == (200, b"ill-1"), "it is used again", 20)


def test_what_a_grpc_server_says_of_its_own_health(shop: Shop, connect: Callable[..., Client]) -> None:
    shop.mesh.apply(service("told", health={"grpc": {"service": "test.Echo"}, **OFTEN}))
    replicas = shop.mesh.replicas("told", 2)
    shop.mesh.wait_seen(shop.web, "told")
    shop.wait_checks("told", told_0="passing", told_1="passing")
    app = connect(replicas[0].app.address)
    app.call("SetSick", b"1")
    shop.wait_checks("told", told_0="failing", told_1="passing")
    shop.wait_failure("told", "told-0", "NOT_SERVING")
    assert set(connect(shop.web.outbound("told")).shares(20)) == {"told-1"}
    app.call("SetSick", b"0")
    shop.wait_checks("told", told_0="passing", told_1="passing")
    # An app without such a service has no health that could be good.
    shop.mesh.apply(service("told", health={"grpc": {"service": "test.Other"}, **OFTEN}))
    shop.wait_checks("told", told_0="failing", told_1="failing")
    shop.wait_failure("told", "told-0", "NOT_FOUND")
    assert set(connect(shop.web.outbound("told")).shares(30)) == {"told-0", "told-1"}  # none is left: all are used


def test_a_tcp_check_sees_that_the_app_behind_a_living_sidecar_is_gone(shop: Shop) -> None:
    shop.mesh.apply(service("store", "TCP", health={"tcp": {}, **OFTEN}))
    replicas = shop.mesh.replicas("store", 2, kind="tcp", protocol="tcp")
    shop.mesh.wait_seen(shop.web, "store")
    shop.wait_checks("store", store_0="passing", store_1="passing")
    replicas[0].app.kill()
    shop.wait_checks("store", store_0="failing", store_1="passing")
    shop.wait_failure("store", "store-0", "connect")  # closed without a byte, or reset
    replicas[0].app.start()
    shop.wait_checks("store", store_0="passing", store_1="passing")


def test_a_frozen_app_is_ejected_by_its_failures_and_one_request_brings_it_back(
        shop: Shop, connect: Callable[..., Client]) -> None:
    shop.mesh.apply(service("carts", timeout={"request": "2s"}, retry={"maxAttempts": 1},
                            outlier={"consecutiveFailures": 2, "baseEjectionTime": "2s", "maxEjectionTime": "2s"}))
    replicas = shop.mesh.replicas("carts", 3)
    shop.mesh.wait_seen(shop.web, "carts")
    client = connect(shop.web.outbound("carts"))

    def call() -> str:
        try:
            return client.call("Whoami").decode()
        except grpc.RpcError:
            return ""

    def ejected() -> Any:
        call()
        return shop.web.endpoints("carts")["carts-1"]["ejected"]

    with stopped(replicas[1].app):
        why = eventually(ejected, "two calls that got no answer eject it", 90)
        assert "2 failures in a row, the last: " in why
        probed = eventually(lambda: "its probe failed" in str(ejected()), "its probes fail", 90)
        assert probed
        eventually(lambda: shop.down_for("carts")["carts-1"] == ["ejected"], "the control plane shows it", 20)
    eventually(lambda: not ejected(), "a probe brings it back", 90)
    eventually(lambda: call() == "carts-1", "it is used again", 20)
    eventually(lambda: not any(shop.down_for("carts").values()), "the verdict is taken back", 20)


def test_commands_run_only_where_the_operator_of_the_sidecar_allows_them(shop: Shop) -> None:
    policy = {"command": {"argv": [sys.executable, "-c", "import os, socket; socket.create_connection(("
                                   "os.environ['MESH_HOST'], int(os.environ['MESH_PORT']))).close()"]}, **OFTEN}
    shop.mesh.apply(service("pay", health=policy))
    replicas = shop.mesh.replicas("pay", 1)
    careless = shop.mesh.sidecar("desk", "desk-0", "--allow-check-commands", outbound=["pay"])
    shop.mesh.wait_seen(careless, "pay")

    def check() -> object:
        return {name: state["check"] for name, state in careless.endpoints("pay").items()}

    eventually(lambda: check() == {"pay-0": "passing"}, "the command runs", 30)
    refused = eventually(lambda: (status := shop.mesh.sidecar_status("web/web-0")) and list(status.refusals),
                         "the other sidecar refuses the policy", 20)
    assert [refusal.resource for refusal in refused] == ["service/pay"]
    assert "health.command: this sidecar runs no commands" in refused[0].reason
    replicas[0].sidecar.kill()
    eventually(lambda: check() == {"pay-0": "failing"}, "the command fails", 30)
    eventually(lambda: "exit status 1: " in str(careless.endpoints("pay")["pay-0"]["check_failure"]), "it says how", 30)
    shop.mesh.apply(service("pay"))
