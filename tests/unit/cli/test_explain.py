"""`mesh explain` for a call that nobody makes: the question that is sent, and what a person is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from mesh.model import Algorithm, BalancePolicy, Endpoint, HashKey, HashPolicy, Health, Locality, Service
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.resource.convert import endpoint_to_proto, service_to_proto
from mesh.v1 import introspection_pb2 as pb

Mesh = Callable[..., Any]
CALL = ("explain", "cart", "/shop.Cart/Add", "--from", "storefront", "-H", "User=7")


def answer(**fields: Any) -> pb.ExplainResponse:
    found = pb.Explanation(
        listener="outbound cart", address="127.0.0.1:15001", service=service_to_proto(Service("cart")),
        service_version="17", endpoints_version="19", picked="cart/cart-0", why="power_of_two",
        chance="chance has a say", score="calls in flight per weight", method="POST", retry_budget=98.2,
        retries=[pb.ExplainedRetry(failure="the connection is refused", again=True, why="not sent"),
                 pb.ExplainedRetry(failure="the connection breaks", again=False, why="the app may have run it")],
        levels=[pb.ExplainedLevel(name="same zone", load=1, up=0.5, candidates=1),
                pb.ExplainedLevel(name="far", up=1, panic=True)],
        endpoints=[
            pb.ExplainedEndpoint(endpoint=endpoint_to_proto(Endpoint("cart", "cart-0", "::1", 80, 3,
                                                                     Locality("", "a"))),
                                 level="same zone", in_flight=2, latency=0.0125, score=0.6667, share=0.75, ramp=0.5),
            pb.ExplainedEndpoint(endpoint=endpoint_to_proto(Endpoint("cart", "cart-1", "10.0.0.1", 80,
                                                                     health=Health.DRAINING)),
                                 state="draining", note="3 failures in a row", ramp=1)], omitted=7)
    for name, value in fields.items():
        getattr(found, name).MergeFrom(value) if hasattr(value, "DESCRIPTOR") else setattr(found, name, value)
    return pb.ExplainResponse(sidecar="storefront/a", others=["storefront/b"], explanation=found)


def test_a_person_is_shown_all_of_it(mesh: Mesh, plane: Any) -> None:
    plane.answers["Explain"] = answer()
    done = mesh(*CALL)
    assert (done.code, done.err) == (0, "")
    question = plane.asked[0]
    assert (question.caller, question.call.service, question.call.path) == ("storefront", "cart", "/shop.Cart/Add")
    assert [(header.name, header.value) for header in question.call.headers] == [("user", "7")]
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines == [
        "Asked storefront/a; it could also have been storefront/b.",
        "Call cart: POST /shop.Cart/Add, user: 7",
        "Listener outbound cart, 127.0.0.1:15001",
        "Service cart, grpc, version 17; endpoints of version 19",
        "Balancing power_of_two",
        "Levels same zone: 100% of the calls, 50% of it usable; far: 0% of the calls, 100% of it usable, panic",
        "",
        "ENDPOINT ADDRESS HEALTH ZONE LEVEL WEIGHT IN FLIGHT LATENCY SCORE SHARE STATE",
        "→ cart-0 [::1]:80 healthy a same zone 3 (50% so far) 2 12.5ms 0.6667 75.0% picked",
        "cart-1 10.0.0.1:80 draining - - 1 0 - - 0.0% draining; 3 failures in a row",
        "... and 7 more",
        "",
        "Picked cart/cart-0: power_of_two (chance has a say)",
        "Score calls in flight per weight",
        "Retries at most 3 attempts; the budget allows 98.2 now (20% + 10/s over 10s)",
        "the connection is refused: again, not sent",
        "the connection breaks: not again, the app may have run it",
        "Timeouts connect 1s, request none",
    ]


def test_json_has_the_same(mesh: Mesh, plane: Any) -> None:
    plane.answers["Explain"] = answer()
    told = mesh(*CALL, "--json").json
    assert told == mesh(*CALL, "-o", "json").json
    assert (told["sidecar"], told["others"], told["picked"]) == ("storefront/a", ["storefront/b"], "cart/cart-0")
    assert told["service"]["balance"]["algorithm"] == "power_of_two"
    assert told["call"] == {"service": "cart", "path": "/shop.Cart/Add", "method": "POST", "headers": {"user": "7"}}
    first, second = told["endpoints"]
    assert (first["latency_s"], first["share"], first["state"]) == (0.0125, 0.75, None)
    assert (second["latency_s"], second["score"]) == (None, None)
    assert (second["state"], second["health"]) == ("draining", "draining")
    assert told["levels"][1] == {"name": "far", "load": 0.0, "up": 1.0, "candidates": 0, "panic": True}
    assert told["reason"] is None


def test_a_call_that_would_wait(mesh: Mesh, plane: Any) -> None:
    plane.answers["Explain"] = answer(crowded="9 requests are in flight")
    assert "Waits      9 requests are in flight\n" in mesh(*CALL).out
    assert mesh(*CALL, "--json").json["crowded"] == "9 requests are in flight"


def test_a_call_that_would_fail(mesh: Mesh, plane: Any) -> None:
    found = answer()
    found.explanation.picked, found.explanation.reason = "", "no_healthy_upstream"
    plane.answers["Explain"] = found
    assert "Fails      no_healthy_upstream: no endpoint can be picked" in mesh(*CALL).out


def test_hashes_refusals_and_own_policies_are_shown(mesh: Mesh, plane: Any) -> None:
    found = answer()
    found.explanation.key = "header user (hash 00)"
    found.explanation.refused.append("cart version 20: no")
    balance = BalancePolicy(Algorithm.MAGLEV, hash=HashPolicy(HashKey.HEADER, "user"), custom=CustomPolicy(
        "Mine", "class Mine:\n    def pick(self, c, r, n, g): pass\n", CustomMode.SHADOW))
    found.explanation.service.CopyFrom(service_to_proto(Service("cart", balance=balance)))
    del found.explanation.levels[:]
    plane.answers["Explain"] = found
    out = mesh(*CALL).out
    assert "Key        header user (hash 00)\n" in out
    assert "Refused    cart version 20: no\n" in out
    assert "Balancing  maglev, hash key=header name=user" in out
    assert "custom class=Mine mode=shadow" in out
    assert "def pick" not in out
    assert "Levels" not in out


@pytest.mark.parametrize(("arguments", "said"), [
    (("cart",), "cart: a call to a service needs --from CALLER; a past one is named by its trace id"),
    (("cafe", "/x"), "needs --from CALLER"), (("4bf9", "-H", "a=b"), "needs --from CALLER"),
    (("cart", "--from", "web", "-H", "user"), "-H user: write KEY=VALUE")])
def test_wrong_arguments(mesh: Mesh, arguments: tuple[str, ...], said: str) -> None:
    done = mesh("explain", *arguments)
    assert done.code == 2
    assert said in done.err


def test_what_the_control_plane_says_is_passed_on(mesh: Mesh, plane: Any, refuse: Any) -> None:
    codes = grpc.StatusCode
    for code, exit_code in ((codes.FAILED_PRECONDITION, 2), (codes.NOT_FOUND, 2), (codes.DEADLINE_EXCEEDED, 1)):
        plane.answers["Explain"] = refuse(code, "storefront/a is not there: do this")
        done = mesh(*CALL)
        assert (done.code, done.err) == (exit_code, "mesh explain: storefront/a is not there: do this\n")
