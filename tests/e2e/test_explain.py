"""`mesh explain` against real sidecars: the pick it names is the next call's, and a past call's attempts are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from e2e_calls import Client
from e2e_mesh import Mesh, Replica, service
from e2e_processes import ROOT, Sidecar, eventually

pytestmark = pytest.mark.e2e


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    carts: list[Replica]

    def run(self, *argv: str) -> Done:
        done = subprocess.run([sys.executable, "-m", "mesh.cli", *argv], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "MESH_CONTROL_PLANE": self.mesh.address,
                                   "COLUMNS": "160"}, cwd=self.mesh.directory)
        return Done(done.returncode, done.stdout, done.stderr)

    def explain(self, *argv: str) -> dict[str, Any]:
        done = self.run("explain", *argv, "--json")
        assert (done.code, done.err) == (0, "")
        told: dict[str, Any] = json.loads(done.out)
        return told

    def past(self, trace_id: str) -> dict[str, Any]:
        """The one call of a trace once its last attempt is among its spans; empty before."""
        calls: list[dict[str, Any]] = self.explain(trace_id)["calls"]
        return calls[0] if calls and calls[0]["attempts"][-1]["retry"] is None else {}

    def explained(self, *argv: str) -> bool:
        """Whether the sidecar can be asked by now: its stream opens when it is ready already."""
        return self.run("explain", *argv).code == 0


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}, outlier={"consecutive_failures": 0},
                       retry={"idempotent_methods": ["/test.Echo/Whoami"]}))
    carts = mesh.replicas("cart", 3)
    web = mesh.sidecar("web", "web-0", outbound=["cart"])
    mesh.wait_seen(web, "cart")
    here = Shop(mesh, web, carts)
    eventually(lambda: here.explained("cart", "--from", "web"), "the sidecar takes questions")
    return here


@pytest.fixture
def client(shop: Shop, connect: Callable[..., Client]) -> Client:
    return connect(shop.web.outbound("cart"))


def test_the_pick_that_is_named_is_the_next_calls(shop: Shop, client: Client) -> None:
    client.call("Whoami")  # the very first turn is drawn at random
    seen = set()
    for _ in range(6):
        told = [shop.explain("cart", "/test.Echo/Whoami", "--from", "web/web-0")["picked"] for _ in range(2)]
        answered = client.call("Whoami").decode()
        assert told == [f"cart/{answered}"] * 2
        seen.add(answered)
    assert seen == {"cart-0", "cart-1", "cart-2"}


def test_all_is_told_of_a_call(shop: Shop, client: Client) -> None:
    told = shop.explain("cart", "/test.Echo/Whoami", "--from", "web", "-H", "user=7")
    assert (told["sidecar"], told["listener"], told["address"]) == (
        "web/web-0", "outbound cart", shop.web.outbound("cart"))
    assert told["why"] == "round_robin"
    assert {each["name"]: each["state"] for each in told["endpoints"]} == dict.fromkeys(("cart-0", "cart-1", "cart-2"))
    assert sum(each["share"] for each in told["endpoints"]) == pytest.approx(1.0)
    assert all(each["again"] for each in told["retries"])  # declared idempotent
    assert int(told["service_version"]) > 0
    done = shop.run("explain", "cart", "/test.Echo/Other", "--from", "web")
    assert "not again, the app may have run it, and it is not declared idempotent" in done.out
    assert "Asked web/web-0.\n" in done.out


def test_a_past_call_is_told_attempt_by_attempt(shop: Shop, client: Client) -> None:
    shop.carts[2].app.kill()
    try:
        told: dict[str, Any] = {}
        for _ in range(3):  # in turn, so one of three goes to the one whose app is gone
            trace_id = os.urandom(16).hex()
            client.call("Whoami", metadata=[("traceparent", f"00-{trace_id}-{os.urandom(8).hex()}-01")])
            shop.mesh.trace(trace_id, 2)
            told = eventually(lambda: shop.past(trace_id), "all attempts have come")  # noqa: B023
            if len(told["attempts"]) > 1:
                break
        first, second = told["attempts"]
        assert (told["caller"], told["service"], told["listener"]) == ("web/web-0", "cart", "outbound cart")
        assert (told["failure"], told["name"]) == (None, "test.Echo/Whoami")
        assert (first["endpoint"], first["failure"]) == ("cart/cart-2", "not_delivered")
        assert first["retry"] == "not delivered"
        assert 99 <= first["retry_budget"] < 110  # 10 a second over 10 s, a fifth of the few calls, less this one
        assert first["candidates"] == second["candidates"] == 3
        assert second["endpoint"] in ("cart/cart-0", "cart/cart-1")
        assert second["pick"] == "round_robin"
        assert told["version"] == shop.explain("cart", "--from", "web")["service_version"]
        assert "not_delivered" in shop.run("explain", trace_id).out
    finally:
        shop.carts[2].app.start()


def test_several_instances_of_a_caller(shop: Shop) -> None:
    other = shop.mesh.sidecar("web", "web-1", outbound=["cart"])
    eventually(lambda: shop.explained("cart", "--from", "web/web-1"), "the second one takes questions")
    told = shop.explain("cart", "--from", "web")
    assert (told["sidecar"], told["others"]) == ("web/web-0", ["web/web-1"])
    assert shop.explain("cart", "--from", "web/web-1")["address"] == other.outbound("cart")
    assert other.stop() == 0
    eventually(lambda: not shop.explained("cart", "--from", "web/web-1"), "the control plane has noticed")
    done = shop.run("explain", "cart", "--from", "web/web-1")
    assert done.code == 2
    assert done.err == ("mesh explain: web/web-1 is not connected to this control plane any more: it has stopped, "
                        "or can't reach it; start it, or ask another one (`mesh get sidecars`)\n")


def test_what_can_not_be_told_says_what_to_do(shop: Shop) -> None:
    assert "it has no port for calls to stock" in shop.run("explain", "stock", "--from", "web").err
    assert "no sidecar of shop has been seen" in shop.run("explain", "cart", "--from", "shop").err
    assert "call.path: 'x' is no path" in shop.run("explain", "cart", "x", "--from", "web").err


def test_it_is_answered_after_a_restart_of_the_control_plane(shop: Shop) -> None:
    assert shop.mesh.control_plane.stop() == 0
    assert "no control plane at" in shop.run("explain", "cart", "--from", "web").err
    shop.mesh.control_plane.start()
    eventually(lambda: shop.explained("cart", "--from", "web"), "the sidecar takes questions again", 20.0)
