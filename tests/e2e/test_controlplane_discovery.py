"""The control plane as a process of its own: discovery streams, and how they resume after a kill."""

from __future__ import annotations

import os
import socket

import grpc
import pytest
from e2e_controlplane import (
    DISCOVERY,
    ENDPOINT,
    SERVICE,
    Client,
    control_planes,
    refused,
    run,
    until,
)

from mesh.v1 import registry_pb2, service_pb2
from mesh.xds.v3.discovery_pb2 import Status

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def start(tmp_path):
    with control_planes(tmp_path / "data") as starter:
        yield starter


def test_a_stream_is_told_of_each_change_and_of_what_is_not_there(start):
    async def scenario(client: Client) -> None:
        await client.register("cart-0")
        stream = client.discover()
        await stream.subscribe(SERVICE, "cart", "none")
        await stream.subscribe(ENDPOINT, "cart/*", "none/*")
        services, endpoints = await stream.taken(), await stream.taken()
        assert (services["cart"].name, services["none"]) == ("cart", None)
        assert (endpoints["cart/cart-0"].port, endpoints["none/*"]) == (8080, None)
        await client.register("cart-1")
        assert set(await stream.taken()) == {"cart/cart-1"}
        revision = await client.weights(cart_0=4, cart_1=6)
        changed = await stream.taken()
        assert {name: endpoint.weight for name, endpoint in changed.items()} == {"cart/cart-0": 4, "cart/cart-1": 6}

        async def settled() -> bool:
            return (await client.sidecars())["web/web-0"].acked_revision == revision

        await until(settled)
        status = (await client.sidecars())["web/web-0"]
        assert (status.connected, status.build, status.sent_revision) == (True, "9.9", revision)
        assert list(status.subscriptions) == ["service/cart", "service/none", "endpoint/cart/*", "endpoint/none/*"]
        await client.registry.Delete(registry_pb2.DeleteRequest(service="cart"))
        assert await stream.taken() == {"cart": None}
        assert await stream.taken() == {"cart/cart-0": None, "cart/cart-1": None}
        stream.call.cancel()

        async def left() -> bool:
            return not (await client.sidecars())["web/web-0"].connected

        await until(left)

    run(start(), scenario)


def test_a_refusal_is_shown_with_its_reason_until_a_version_is_accepted(start):
    async def scenario(client: Client) -> None:
        await client.register("cart-0")
        stream = client.discover()
        await stream.subscribe(ENDPOINT, "cart/*")
        response = await stream.next()
        await stream.send(ENDPOINT, response_nonce=response.nonce,
                          error_detail=Status(code=3, message="cart/cart-0: port 8080 is taken\n"))

        async def refusals():
            return list((await client.sidecars())["web/web-0"].refusals)

        (refusal,) = await until(refusals)
        assert (refusal.resource, refusal.version, refusal.reason) == (
            "endpoint/cart/cart-0", response.resources[0].version, "port 8080 is taken")
        await client.register("cart-1")
        assert set(await stream.taken()) == {"cart/cart-1"}
        await client.weights(cart_0=2)
        assert set(await stream.taken()) == {"cart/cart-0"}

        async def none() -> bool:
            return not await refusals()

        await until(none)
        stream.call.cancel()

    run(start(), scenario)


def test_garbage_ends_its_own_stream_only(start):
    async def scenario(client: Client) -> None:
        await client.register("cart-0")
        steady = client.discover("web/steady")
        await steady.subscribe(ENDPOINT, "cart/*")
        await steady.taken()
        invalid = grpc.StatusCode.INVALID_ARGUMENT
        for fields, words in [
            ({"url": "mesh.v1.Unknown"}, "is not served"),
            ({"url": ENDPOINT, "response_nonce": "1"}, "response_nonce '1'"),
            ({"url": ENDPOINT, "resource_names_subscribe": ["../../x"]}, "'../../x' is not a name"),
        ]:
            stream = client.discover("web/noisy")
            await stream.send(**fields)
            code, details = await refused(stream.call.read())
            assert (code, words in details) == (invalid, True), details
        nameless = client.discover("")
        await nameless.subscribe(ENDPOINT, "cart/*")
        assert (await refused(nameless.call.read()))[1].startswith("node.id ''")
        for raw, code in [(b"\xff\xff", invalid), (b"\x12\xff" * (3 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED)]:
            call = client.channel.stream_stream(DISCOVERY)()
            await call.write(raw)
            assert (await refused(call.read()))[0] is code
        host, port = client_address(client)
        with socket.create_connection((host, port)) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + os.urandom(2000))
        await client.weights(cart_0=3)
        assert set(await steady.taken()) == {"cart/cart-0"}
        steady.call.cancel()

    process = start()

    def client_address(_client: Client) -> tuple[str, int]:
        host, _, port = process.address.rpartition(":")
        return host, int(port)

    run(process, scenario)


def test_what_was_acknowledged_survives_kill_9_and_a_stream_resumes_from_its_versions(start):
    held: dict[str, dict[str, str]] = {SERVICE: {}, ENDPOINT: {}}
    revisions: list[int] = []
    leases: list[str] = []

    async def before(client: Client) -> None:
        for name in ("cart-0", "cart-1", "cart-2"):
            leases.append((await client.register(name, ttl=30)).lease_id)
        await client.apply(service_pb2.Service(name="pay", protocol=service_pb2.PROTOCOL_TCP))
        stream = client.discover()
        await stream.subscribe(SERVICE, "*")
        await stream.subscribe(ENDPOINT, "*")
        for _ in range(2):
            response = await stream.next()
            held[response.type_url].update((one.name, one.version) for one in response.resources)
        stream.call.cancel()
        # Acknowledged, then killed at once.
        await client.registry.Delete(registry_pb2.DeleteRequest(service="cart", endpoint="cart-2"))
        revisions.append(await client.weights(cart_0=7))

    async def after(client: Client) -> None:
        listed = await client.registry.ListEndpoints(registry_pb2.ListEndpointsRequest())
        assert listed.revision == revisions[0]
        assert {one.endpoint.name: one.endpoint.weight for one in listed.endpoints} == {"cart-0": 7, "cart-1": 1}
        beats = client.registry.Heartbeat()
        await beats.write(registry_pb2.HeartbeatRequest(lease_id=leases[1]))
        assert (await beats.read()).alive
        stream = client.discover()
        await stream.subscribe(SERVICE, "*", have=held[SERVICE])
        await stream.subscribe(ENDPOINT, "*", have=held[ENDPOINT])
        changed = await stream.taken()
        assert changed.pop("cart/cart-2") is None
        assert {name: endpoint.weight for name, endpoint in changed.items()} == {"cart/cart-0": 7}
        assert await client.weights(cart_1=2) == revisions[0] + 1
        assert set(await stream.taken()) == {"cart/cart-1"}
        stream.call.cancel()

    process = start()
    run(process, before)
    process.kill()
    run(start(), after)


def test_nothing_is_sent_to_a_stream_that_holds_everything(start):
    held: dict[str, str] = {}

    async def before(client: Client) -> None:
        for name in ("cart-0", "cart-1"):
            await client.register(name)
        stream = client.discover()
        await stream.subscribe(ENDPOINT, "cart/*")
        held.update((one.name, one.version) for one in (await stream.next()).resources)
        stream.call.cancel()

    async def after(client: Client) -> None:
        stream = client.discover()
        await stream.subscribe(ENDPOINT, "cart/*", have=held)
        await stream.subscribe(ENDPOINT, "mark/*")
        assert await stream.taken() == {"mark/*": None}
        status = (await client.sidecars())["web/web-0"]
        assert status.acked_revision >= max(map(int, held.values()))
        stream.call.cancel()

    process = start()
    run(process, before)
    process.kill()
    run(start(), after)
