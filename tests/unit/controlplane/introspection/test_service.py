"""The service without its server: what a question may hold, and what streams do to it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controlplane.errors import InvalidRequest, NotFound, ShuttingDown
from controlplane.introspection.service import MAX_ANSWER, IntrospectionService, check_call
from controlplane.status import Sidecars
from mesh.errors import InvalidResource
from mesh.v1 import introspection_pb2 as pb


class Peer:
    """A sidecar at the other end of a stream: a stand-in for grpc's context."""

    def __init__(self, *messages: Any) -> None:
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: asyncio.Queue[pb.SidecarQuestion] = asyncio.Queue()
        for message in messages:
            self.say(message)

    def say(self, message: Any) -> None:
        self.inbox.put_nowait(message.SerializeToString() if hasattr(message, "SerializeToString") else message)

    def hang_up(self) -> None:
        self.inbox.put_nowait(object())  # as grpc's EOF: no bytes

    async def read(self) -> Any:
        return await self.inbox.get()

    async def write(self, raw: bytes) -> None:
        self.sent.put_nowait(pb.SidecarQuestion.FromString(raw))


def hello(id_: str = "web/web-0") -> pb.SidecarMessage:
    return pb.SidecarMessage(hello=pb.SidecarHello(id=id_))


def run(scenario: Any) -> None:
    async def main() -> None:
        async with asyncio.timeout(10):
            await scenario(IntrospectionService(Sidecars()))

    asyncio.run(main())


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_question_goes_to_the_sidecar_and_back() -> None:
    async def scenario(service: IntrospectionService) -> None:
        peers = [Peer(hello("web/web-0")), Peer(hello("web/web-1"))]
        streams = [asyncio.ensure_future(service.attach(peer)) for peer in peers]  # type: ignore[arg-type]
        await settle()
        request = pb.ExplainRequest(caller="web", call=pb.HypotheticalCall(service="cart", path="/a"))
        asked = asyncio.ensure_future(service.explain(request))
        question = await peers[0].sent.get()
        assert question.call == request.call
        found = pb.Explanation(picked="cart/cart-0")
        peers[0].say(pb.SidecarMessage(answer=pb.SidecarAnswer(id=question.id, explanation=found)))
        response = await asked
        assert (response.sidecar, list(response.others)) == ("web/web-0", ["web/web-1"])
        assert response.explanation == found
        for peer in peers:
            peer.hang_up()
        await asyncio.gather(*streams)
        with pytest.raises(NotFound):
            await service.explain(request)

    run(scenario)


def test_reports_stand_while_the_sidecar_is_attached() -> None:
    async def scenario(service: IntrospectionService) -> None:
        peer = Peer(hello())
        stream = asyncio.ensure_future(service.attach(peer))  # type: ignore[arg-type]
        reports = [pb.PolicyReport(service="cart", picks=3), pb.PolicyReport(service="stock")]
        peer.say(pb.SidecarMessage(reports=pb.PolicyReports(reports=reports)))
        await settle()
        listed = await service.list_policies(pb.ListPoliciesRequest())
        assert [(each.sidecar, list(each.reports)) for each in listed.sidecars] == [("web/web-0", reports)]
        only = await service.list_policies(pb.ListPoliciesRequest(service="cart"))
        assert [list(each.reports) for each in only.sidecars] == [reports[:1]]
        assert not (await service.list_policies(pb.ListPoliciesRequest(service="none"))).sidecars
        peer.hang_up()
        await stream
        assert not (await service.list_policies(pb.ListPoliciesRequest())).sidecars

    run(scenario)


@pytest.mark.parametrize("first", [
    pb.SidecarMessage(answer=pb.SidecarAnswer(id=1)), hello("web"), hello("Web/x"), b"\xff\xff", b"",
    b"\x00" * (MAX_ANSWER + 1)])
def test_a_stream_begins_with_who_it_is(first: Any) -> None:
    async def scenario(service: IntrospectionService) -> None:
        with pytest.raises(InvalidRequest):
            await service.attach(Peer(first))  # type: ignore[arg-type]

    run(scenario)


def test_one_that_breaks_the_rules_later_is_let_go() -> None:
    async def scenario(service: IntrospectionService) -> None:
        await service.attach(Peer(hello(), hello()))  # type: ignore[arg-type]
        peer = Peer()
        peer.hang_up()
        await service.attach(peer)  # type: ignore[arg-type]

    run(scenario)


def test_the_end_of_the_control_plane_ends_streams() -> None:
    async def scenario(service: IntrospectionService) -> None:
        stream = asyncio.ensure_future(service.attach(Peer(hello())))  # type: ignore[arg-type]
        await settle()
        service.close()
        with pytest.raises(ShuttingDown):
            await stream

    run(scenario)


@pytest.mark.parametrize(("field", "call"), [
    ("call.service", {"service": "No"}), ("call.path", {"path": "a"}), ("call.path", {"path": "/a b"}),
    ("call.path", {"path": "/" + "a" * 8192}), ("call.method", {"method": "GE T"}),
    ("call.method", {"method": "A" * 33}),
    ("call.headers[0]", {"headers": [pb.CallHeader(name="X-User")]}),
    ("call.headers[1]", {"headers": [pb.CallHeader(name="a"), pb.CallHeader(name="b", value="\r")]}),
    ("call.headers", {"headers": [pb.CallHeader(name="a", value="x" * 5000)] * 2}),
    ("call.headers", {"headers": [pb.CallHeader(name="a")] * 65}), ("call.source", {"source": "localhost"})])
def test_what_no_call_can_be_is_refused_with_its_field(field: str, call: dict[str, Any]) -> None:
    with pytest.raises(InvalidResource) as caught:
        check_call(pb.HypotheticalCall(**{"service": "cart", **call}))
    assert caught.value.field == field


def test_what_a_call_can_be_is_taken() -> None:
    check_call(pb.HypotheticalCall(service="cart", path="/shop.Cart/Get?x=1", method="PUT", source="::1",
                                   headers=[pb.CallHeader(name="x-user", value="7 \t8")]))


@pytest.mark.parametrize("caller", ["", "web/", "web/a/0", "WEB", "a/b/c/d"])
def test_callers_have_names(caller: str) -> None:
    async def scenario(service: IntrospectionService) -> None:
        with pytest.raises(InvalidResource, match=r"^caller: "):
            await service.explain(pb.ExplainRequest(caller=caller, call=pb.HypotheticalCall(service="cart")))

    run(scenario)
