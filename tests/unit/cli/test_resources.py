from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from mesh.cli.resources import parse_weights
from mesh.errors import InvalidConfig
from mesh.resource.files import MAX_BYTES
from mesh.v1 import endpoint_pb2, registry_pb2

Mesh = Callable[..., Any]
SHOP = "services:\n  - name: cart\nendpoints:\n  - {service: cart, name: cart-0, host: 127.0.0.1, port: 50051}\n"


def applied(request: Any) -> Any:
    outcomes = registry_pb2.AppliedResource
    return registry_pb2.ApplyResponse(revision=7, resources=[
        *(outcomes(resource=f"service/{each.name}", outcome=outcomes.OUTCOME_CREATED) for each in request.services),
        *(outcomes(resource=f"endpoint/{each.service}/{each.name}", outcome=outcomes.OUTCOME_UNCHANGED)
          for each in request.endpoints)])


def test_apply(mesh: Mesh, plane: Any, tmp_path: Path) -> None:
    plane.answers["Apply"] = applied
    (tmp_path / "shop.yaml").write_text(SHOP)
    (tmp_path / "more.json").write_text(json.dumps({"kind": "Service", "name": "stock", "protocol": "tcp"}))
    done = mesh("apply", "-f", str(tmp_path / "shop.yaml"), "-f", str(tmp_path / "more.json"))
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == ["service/cart created", "service/stock created", "endpoint/cart/cart-0 unchanged"]
    assert [service.name for service in plane.asked[0].services] == ["cart", "stock"]
    assert not plane.asked[0].dry_run


def test_apply_dry_run_as_json(mesh: Mesh, plane: Any, tmp_path: Path) -> None:
    plane.answers["Apply"] = applied
    (tmp_path / "shop.yaml").write_text(SHOP)
    done = mesh("apply", "-f", str(tmp_path / "shop.yaml"), "--dry-run", "-o", "json")
    assert done.json == {"revision": 7, "dry_run": True, "resources": [
        {"resource": "service/cart", "outcome": "created"},
        {"resource": "endpoint/cart/cart-0", "outcome": "unchanged"}]}
    assert plane.asked[0].dry_run


def test_apply_standard_input(mesh: Mesh, plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plane.answers["Apply"] = applied
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(SHOP.encode())))
    assert mesh("apply", "-f", "-").out.startswith("service/cart created")


@pytest.mark.parametrize(("text", "said"), [
    ("services:\n  - name: cart\n    retry: {max_attempts: 99}\n", "shop.yaml:3: services[0].retry.max_attempts: 99"),
    ("services: [\n", "shop.yaml:2: not YAML"),
    ("", "shop.yaml: holds no resource"),
])
def test_apply_of_a_wrong_file_asks_nobody(mesh: Mesh, plane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           text: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(text)
    done = mesh("apply", "-f", "shop.yaml")
    assert done.code == 2
    assert done.err.startswith(f"mesh apply: {said}")
    assert done.err.count("\n") == 1
    assert plane.asked == []


def test_apply_refuses_a_resource_in_two_files(mesh: Mesh, plane: Any, tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(SHOP)
    two.write_text(SHOP)
    done = mesh("apply", "-f", str(one), "-f", str(two))
    assert (done.code, done.err) == (2, f"mesh apply: {two}: service/cart is in {one} as well\n")
    assert mesh("apply").code == mesh("apply", "-f", "nowhere.yaml").code == 2


def test_apply_reads_no_endless_input(mesh: Mesh, plane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b" " * (MAX_BYTES + 4096))))
    assert mesh("apply", "-f", "-").err == f"mesh apply: standard input: larger than {MAX_BYTES:,} bytes\n"
    assert sys.stdin.buffer.tell() == MAX_BYTES + 1
    monkeypatch.setattr(sys, "stdin", None)
    assert mesh("apply", "-f", "-").err == "mesh apply: standard input: closed\n"


@pytest.mark.parametrize(("refused", "said"), [
    ("endpoints[1].service: service/x does not exist", "b.yaml: endpoint/x/x-0.service: service/x does not exist"),
    ("services[0]: is full", "a.yaml: service/cart: is full"),
    ("the registry is full", "the registry is full"),
])
def test_what_the_registry_refuses_is_named_by_its_file(mesh: Mesh, plane: Any, refuse: Any, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch, refused: str,
                                                        said: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(SHOP)
    Path("b.yaml").write_text("endpoints:\n  - {service: x, name: x-0, host: 127.0.0.1, port: 1}\n")
    plane.answers["Apply"] = refuse(grpc.StatusCode.NOT_FOUND, refused)
    done = mesh("apply", "-f", "a.yaml", "-f", "b.yaml")
    assert (done.code, done.err) == (2, f"mesh apply: {said}\n")


def test_delete(mesh: Mesh, plane: Any) -> None:
    plane.answers["Delete"] = registry_pb2.DeleteResponse(revision=8)
    assert mesh("delete", "cart").out == "service/cart deleted\n"
    assert mesh("delete", "cart", "cart-0").out == "endpoint/cart/cart-0 deleted\n"
    assert mesh("delete", "cart", "-o", "json").json == {"revision": 8, "deleted": "service/cart"}
    assert [request.endpoint for request in plane.asked] == ["", "cart-0", ""]
    assert mesh("delete", "Cart").err.startswith("mesh delete: SERVICE: 'Cart' is not a name")
    assert mesh("delete", "cart", "Cart").err.startswith("mesh delete: ENDPOINT: 'Cart' is not a name")


def test_weight(mesh: Mesh, plane: Any) -> None:
    plane.answers["SetWeights"] = registry_pb2.SetWeightsResponse(revision=9)
    assert mesh("weight", "cart", "cart-0=1", "cart-1=0").out == "cart: cart-0=1 cart-1=0 (revision 9)\n"
    assert dict(plane.asked[0].weights) == {"cart-0": 1, "cart-1": 0}
    assert mesh("weight", "cart", "cart-0=5", "-o", "json").json == {
        "revision": 9, "service": "cart", "weights": {"cart-0": 5}}


@pytest.mark.parametrize(("arguments", "said"), [
    (("cart-0",), "cart-0: write ENDPOINT=WEIGHT"),
    (("a=1", "a=2"), "a=2: a is given twice"),
    (("a=-1",), "a=-1: '-1' is not a weight, 0..1000000"),
    (("a=1000001",), "a=1000001: '1000001' is not a weight, 0..1000000"),
    (("a=" + "9" * 5000,), "is not a weight"),
    (("a=1.5",), "a=1.5: '1.5' is not a weight"),
    (("a=١",), "is not a weight"),
    (("=1",), "=1: '' is not a name"),
    (("cart/cart-0=1",), "cart/cart-0=1: 'cart/cart-0' is not a name"),
])
def test_wrong_weights_are_named(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        parse_weights(arguments)
    assert said in str(caught.value)


def test_drain(mesh: Mesh, plane: Any) -> None:
    plane.answers["Drain"] = registry_pb2.DrainResponse(revision=4)
    plane.answers["ListEndpoints"] = registry_pb2.ListEndpointsResponse(endpoints=[
        registry_pb2.EndpointStatus(endpoint=endpoint_pb2.Endpoint(name=name)) for name in ("cart-0", "cart-1")])
    assert mesh("drain", "cart", "cart-0", "cart-1").out == ("endpoint/cart/cart-0 draining (revision 4)\n"
                                                             "endpoint/cart/cart-1 draining (revision 4)\n")
    assert mesh("drain", "cart", "cart-0", "--undo").out == "endpoint/cart/cart-0 healthy (revision 4)\n"
    assert [request.undo for request in plane.asked[1:]] == [False, False, True]
    assert mesh("drain", "cart", "cart-0", "-o", "json").json == {
        "revision": 4, "service": "cart", "endpoints": ["cart-0"], "draining": True}
    assert mesh("drain", "cart", "cart-0", "CART").code == 2
    assert len(plane.asked) == 5
    done = mesh("drain", "cart", "cart-0", "cart-9")
    assert (done.code, done.err) == (2, "mesh drain: endpoint/cart/cart-9 does not exist\n")
    assert isinstance(plane.asked[-1], registry_pb2.ListEndpointsRequest), "cart-0 must not be drained"
