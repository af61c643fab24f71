from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from mesh.cli import status
from mesh.v1 import introspection_pb2, registry_pb2

Mesh = Callable[..., Any]


def sidecar(name: str, sent: int = 5, acked: int = 5, connected: bool = True, refuses: str = "") -> Any:
    item = registry_pb2.SidecarStatus(id=name, connected=connected, sent_revision=sent, acked_revision=acked, build="1")
    item.last_ack.FromSeconds(int(time.time()) - 61)
    if refuses:
        item.refusals.add(resource="service/stock", version="4", reason=refuses).at.FromSeconds(int(time.time()) - 7)
    return item


def listed(*items: Any) -> Any:
    return registry_pb2.ListSidecarsResponse(sidecars=items, revision=5)


def test_all_is_well(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListSidecars"] = listed(sidecar("cart/cart-0"), sidecar("cart/cart-1", 3, 3),
                                           sidecar("web/web-0", 5, 4, connected=False))
    done = mesh("status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == f"Control plane {plane.address} is up, revision 5; 2 sidecars connected."
    assert lines[2].split() == ["SIDECAR", "STATE", "HOLDS", "SENT", "LAST", "ANSWER", "REFUSES", "BUILD"]
    assert lines[3].startswith("cart/cart-0  up to date  5      5     1m ")
    assert lines[5].startswith("web/web-0    gone")
    assert mesh("status", "-o", "json").json["healthy"] is True


def test_no_sidecars(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListSidecars"] = listed()
    assert mesh("status").out == f"Control plane {plane.address} is up, revision 5; 0 sidecars connected.\n"


def test_a_refusal_is_shown_with_its_reason(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListSidecars"] = listed(sidecar("cart/cart-0", refuses="protocol 9 is unknown"))
    done = mesh("status")
    assert done.code == 1
    assert "cart/cart-0  refusing" in done.out
    lines = done.out.splitlines()
    assert lines[-3] == "Refused, the version before stays in force:"
    assert lines[-1].startswith("cart/cart-0  service/stock  4        ")
    assert lines[-1].endswith("s ago  protocol 9 is unknown")
    shown = mesh("status", "-o", "json")
    assert shown.code == 1
    assert shown.json["healthy"] is False
    assert shown.json["sidecars"][0]["refusals"][0]["reason"] == "protocol 9 is unknown"


def test_a_refusal_of_one_that_has_left_is_no_reason_to_worry(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListSidecars"] = listed(sidecar("cart/cart-0", connected=False, refuses="protocol 9 is unknown"))
    assert mesh("status").code == 0


def test_one_that_catches_up_is_waited_for(mesh: Mesh, plane: Any) -> None:
    answers = [listed(sidecar("cart/cart-0", 6, 5)), listed(sidecar("cart/cart-0", 6, 6))]
    plane.answers["ListSidecars"] = lambda _: answers.pop(0)
    assert mesh("status").code == 0
    assert answers == []


def test_one_that_stays_behind(mesh: Mesh, plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "GRACE", 0.01)
    plane.answers["ListSidecars"] = listed(sidecar("cart/cart-0", 6, 5))
    done = mesh("status")
    assert done.code == 1
    assert "cart/cart-0  behind  5      6" in done.out
    assert mesh("status", "-o", "json").json["sidecars"][0]["behind"] is True


def test_no_control_plane_as_json(mesh: Mesh) -> None:
    done = mesh("status", "-o", "json", "--control-plane", "127.0.0.1:1")
    assert done.code == 1
    assert done.json["healthy"] is False
    assert done.json["control_plane"]["reachable"] is False
    assert "no control plane at 127.0.0.1:1" in done.json["control_plane"]["error"]


def test_policies_of_ones_own_are_shown(mesh: Mesh, plane: Any) -> None:
    plane.answers["ListSidecars"] = listed(sidecar("web/web-0"))
    shadow = introspection_pb2.PolicyReport(service="cart", class_name="Mine", mode="shadow", state="running",
                                            picks=200, agreed=90, differed=110, pick_seconds=0.002, longest_pick=0.0001)
    broken = introspection_pb2.PolicyReport(service="stock", class_name="Own", mode="live", state="benched",
                                            picks=10, faults={"exception": 9, "over_time": 1},
                                            last_fault="pick: line 3: KeyError")
    plane.answers["ListPolicies"] = introspection_pb2.ListPoliciesResponse(sidecars=[
        introspection_pb2.SidecarPolicies(sidecar="web/web-0", reports=[shadow, broken])])
    done = mesh("status")
    assert done.code == 0  # the algorithm stands in for it: nothing fails
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[-4:] == [
        "Policies of one's own:",
        "SIDECAR SERVICE CLASS MODE STATE PICKS AGREED MEAN LONGEST FAULTS LAST FAULT",
        "web/web-0 cart Mine shadow running 200 45.0% 10us 100us - -",
        "web/web-0 stock Own live benched 10 - 0us 0us 10 pick: line 3: KeyError"]
    told = mesh("status", "-o", "json").json["policies"]
    assert [(each["sidecar"], each["class"], each["state"]) for each in told] == [
        ("web/web-0", "Mine", "running"), ("web/web-0", "Own", "benched")]
    assert told[1]["faults"] == {"exception": 9, "over_time": 1}
