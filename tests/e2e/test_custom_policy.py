"""A policy of one's own in real sidecars: shadow, live, failing, never returning, and not allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from e2e_calls import Client
from e2e_mesh import Mesh
from e2e_processes import ROOT, Sidecar, eventually

pytestmark = pytest.mark.e2e

YAML = """
services:
  - name: cart
    protocol: grpc
    outlier: {{consecutive_failures: 0}}
    balance:
      custom: {{class: Mine, file: mine.py, mode: {mode}, time_limit: 100ms}}
"""
SECOND = """
class Mine:
    def pick(self, candidates, request, now, rng):
        wanted = request.header("x-to")
        return next((each for each in candidates if each.name == (wanted or "cart-1")), None)
"""
RAISES = SECOND.replace("wanted = ", "1 // 0\n        wanted = ")
RUNS_AWAY = SECOND.replace("wanted = ", "while True: pass\n        wanted = ")


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Shop(NamedTuple):
    mesh: Mesh
    web: Sidecar
    strict: Sidecar

    def run(self, *argv: str) -> Done:
        done = subprocess.run([sys.executable, "-m", "mesh.cli", *argv], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "PYTHONPATH": str(ROOT), "MESH_CONTROL_PLANE": self.mesh.address,
                                   "COLUMNS": "160"}, cwd=self.mesh.directory)
        return Done(done.returncode, done.stdout, done.stderr)

    def apply(self, source: str, mode: str) -> None:
        (self.mesh.directory / "mine.py").write_text(f"{source}# {time.monotonic_ns()}\n")  # each time another one
        (self.mesh.directory / "cart.yaml").write_text(YAML.format(mode=mode))
        done = self.run("apply", "-f", "cart.yaml")
        assert (done.code, done.err) == (0, "")
        eventually(lambda: self.policy()["mode"] == mode and not self.policy()["picks"], f"a new one, {mode}, is there")

    def policy(self) -> dict[str, Any]:
        """What the sidecar that may run them says of its policy."""
        return self.web.cluster("cart")["custom"] or {"mode": "", "picks": 0}

    def reported(self, sidecar: str) -> dict[str, Any]:
        """What `mesh status` says of it; empty before it has come."""
        told = json.loads(self.run("status", "-o", "json").out)["policies"]
        return next((each for each in told if each["sidecar"] == sidecar), {})


@pytest.fixture(scope="module")
def shop(mesh: Mesh) -> Shop:
    mesh.replicas("cart", 3)
    web = mesh.sidecar("web", "web-0", "--allow-custom-policies", outbound=["cart"])
    strict = mesh.sidecar("strict", "strict-0", outbound=["cart"])
    for sidecar in (web, strict):
        mesh.wait_seen(sidecar, "cart")
    return Shop(mesh, web, strict)


@pytest.fixture
def client(shop: Shop, connect: Callable[..., Client]) -> Client:
    return connect(shop.web.outbound("cart"))


def test_in_shadow_it_is_asked_and_not_used(shop: Shop, client: Client) -> None:
    shop.apply(SECOND, "shadow")
    shares = client.shares(60)
    assert len(shares) == 3
    policy = shop.policy()
    assert (policy["picks"], policy["agreed"], policy["differed"]) == (60, shares["cart-1"], 60 - shares["cart-1"])
    eventually(lambda: shop.reported("web/web-0").get("picks") == 60, "the control plane knows")
    assert "Mine (shadow)" in shop.run("get", "services").out


def test_live_it_picks_without_a_restart(shop: Shop, client: Client) -> None:
    shop.apply(SECOND, "live")
    assert client.shares(20) == {"cart-1": 20}
    assert client.shares(20, [("x-to", "cart-2")]) == {"cart-2": 20}
    assert len(client.shares(60, [("x-to", "nobody")])) == 3  # no opinion
    assert shop.policy()["abstained"] == 60
    explained = json.loads(shop.run("explain", "cart", "/a", "--from", "web", "-H", "x-to=cart-0", "--json").out)
    assert (explained["picked"], explained["why"]) == ("cart/cart-0", "custom Mine")
    assert shop.policy()["picks"] == 100


def test_where_it_is_not_allowed_the_algorithm_goes_on(shop: Shop, connect: Callable[..., Client]) -> None:
    shop.apply(SECOND, "live")
    assert len(connect(shop.strict.outbound("cart")).shares(60)) == 3
    reported = eventually(lambda: shop.reported("strict/strict-0"), "the control plane knows")
    assert (reported["state"], reported["picks"]) == ("not allowed", 0)
    assert "--allow-custom-policies" in reported["last_fault"]


@pytest.mark.parametrize(("source", "kind", "faults"), [(RAISES, "exception", 10), (RUNS_AWAY, "interrupted", 1)],
                         ids=["raises", "never returns"])
def test_one_that_fails_is_stood_in_for_benched_and_reported(shop: Shop, client: Client, source: str, kind: str,
                                                             faults: int) -> None:
    shop.apply(source, "live")
    assert len(client.shares(60)) == 3  # none fails
    policy = shop.policy()
    assert (policy["state"], policy["faults"]) == ("benched", {kind: faults})
    assert "line 4: " in policy["last_fault"]
    assert shop.web.alive
    eventually(lambda: shop.reported("web/web-0").get("state") == "benched", "the control plane knows")
    assert "<policy Mine of cart>: pick" in shop.web.tail()
    shop.apply(SECOND, "live")
    assert client.shares(5) == {"cart-1": 5}


def test_what_can_not_be_run_is_not_applied(shop: Shop) -> None:
    shop.apply(SECOND, "shadow")
    (shop.mesh.directory / "mine.py").write_text("class Mine:\n    def pick(self) pass\n")
    done = shop.run("apply", "-f", "cart.yaml")
    assert done.code == 2
    assert "cart.yaml:7: services[0].balance.custom.source: line 2: expected ':'" in done.err
    (shop.mesh.directory / "mine.py").unlink()
    assert "services[0].balance.custom.file: mine.py: No such file" in shop.run("apply", "-f", "cart.yaml").err
    assert shop.policy()["mode"] == "shadow"
