"""What a sidecar records of its decisions is what `mesh simulate` replays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_calls import Client
from e2e_mesh import Mesh, service
from e2e_processes import ROOT, eventually

pytestmark = pytest.mark.e2e


def test_recorded_and_replayed(mesh: Mesh, connect: Callable[..., Client], tmp_path: Path) -> None:
    """Sixty calls over two replicas, one of which is sick: what it was asked, the other was asked again."""
    path = tmp_path / "decisions.jsonl"
    mesh.apply(service("cart", balance={"algorithm": "ALGORITHM_ROUND_ROBIN"}, outlier={"consecutive_failures": 0},
                       retry={"idempotent_methods": ["/test.Echo/Whoami"]}))
    replicas = mesh.replicas("cart", 2)
    web = mesh.sidecar("web", "web-0", "--decisions", str(path), "--admin", "0", outbound=["cart"])
    mesh.wait_seen(web, "cart")
    with Client(replicas[0].app.address) as direct:
        direct.call("SetSick", b"1")
    client = connect(web.outbound("cart"))
    assert client.shares(60) == {"cart-1": 60}

    def lines() -> list[dict[str, object]]:
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    eventually(lambda: sum(each["outcome"] == "ok" for each in lines()) == 60, "all decisions are there")
    asked = lines()
    counts = Counter((each["endpoint"], each["outcome"], each.get("grpc_status")) for each in asked)
    assert counts["cart-1", "ok", None] == 60
    assert set(counts) == {("cart-1", "ok", None), ("cart-0", "upstream_status", 14)}
    assert Counter(each["attempt"] for each in asked)[1] == 60
    assert {each["service"] for each in asked} == {"cart"}
    done = subprocess.run([sys.executable, "-m", "mesh.cli", "simulate", "--recorded", str(path), "--callers", "1",
                           "--balance", "round_robin", "--balance", "power_of_two", "--json"],
                          capture_output=True, text=True, check=True, cwd=ROOT)
    replayed = json.loads(done.stdout)
    assert [policy["requests"] for policy in replayed["policies"]] == [60, 60]
    assert {endpoint["name"] for endpoint in replayed["scenario"]["endpoints"]} == {"cart-0", "cart-1"}
    assert all(policy["answered"] == 60 for policy in replayed["policies"])
    assert replayed["policies"][0]["retries"], "the sick one is sick in the replay, too"
