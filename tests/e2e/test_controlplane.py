"""The control plane as a process of its own: the registry, its start and its end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import grpc
import pytest
from e2e_controlplane import (
    ENDPOINT,
    PATIENCE,
    PUT,
    REMOVED,
    ROOT,
    SYNCED,
    Client,
    control_planes,
    refused,
    run,
    until,
)
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from mesh.v1 import endpoint_pb2, registry_pb2, service_pb2

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def start(tmp_path):
    with control_planes(tmp_path / "data") as starter:
        yield starter


def test_a_lease_lives_by_its_heartbeats_and_ends_without_them(start):
    async def scenario(client: Client) -> None:
        kept, left = await client.register("kept", ttl=1), await client.register("left", ttl=1)
        beats = client.registry.Heartbeat()

        async def beat() -> None:
            while True:
                await beats.write(registry_pb2.HeartbeatRequest(lease_id=kept.lease_id))
                answer = await beats.read()
                assert (answer.lease_id, answer.alive) == (kept.lease_id, True)
                await asyncio.sleep(0.3)

        beating = asyncio.ensure_future(beat())
        listed = await client.endpoints()
        assert set(listed) == {"kept", "left"}
        assert listed["kept"].sidecar == "cart/kept"
        assert listed["kept"].last_heartbeat.ToNanoseconds() < 2 * 10**9

        async def gone() -> bool:
            return "left" not in await client.endpoints()

        await until(gone)
        assert set(await client.endpoints()) == {"kept"}
        beating.cancel()
        await asyncio.wait([beating])
        await beats.write(registry_pb2.HeartbeatRequest(lease_id=left.lease_id))
        assert not (await beats.read()).alive
        await client.registry.Deregister(registry_pb2.DeregisterRequest(lease_id=kept.lease_id))
        await client.registry.Deregister(registry_pb2.DeregisterRequest(lease_id=kept.lease_id))
        assert await client.endpoints() == {}

    run(start(), scenario)


def test_a_newer_registration_ends_the_earlier_lease_and_keeps_the_operators_weight(start):
    async def scenario(client: Client) -> None:
        first = await client.register("cart-0")
        await client.weights(cart_0=7)
        await client.register("cart-0", weight=3)
        beats = client.registry.Heartbeat()
        await beats.write(registry_pb2.HeartbeatRequest(lease_id=first.lease_id))
        answer = await beats.read()
        assert (answer.alive, answer.replaced) == (False, True)
        status = (await client.endpoints())["cart-0"]
        assert (status.endpoint.weight, status.weight_set) == (7, True)

    run(start(), scenario)


def test_apply_is_all_or_nothing_and_dry_runs_change_nothing(start):
    async def scenario(client: Client) -> None:
        cart = service_pb2.Service(name="cart", protocol=service_pb2.PROTOCOL_TCP)
        static = endpoint_pb2.Endpoint(service="cart", name="s", host="10.0.0.1", port=1)
        dry = await client.apply(cart, static, dry_run=True)
        assert [one.resource for one in dry.resources] == ["service/cart", "endpoint/cart/s"]
        assert await refused(client.registry.GetService(registry_pb2.GetServiceRequest(name="cart"))) == (
            grpc.StatusCode.NOT_FOUND, "service/cart does not exist")
        bad = endpoint_pb2.Endpoint(service="cart", name="t", host="10.0.0.1", port=70_000)
        code, details = await refused(client.apply(cart, static, bad))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert details.startswith("endpoints[1].port: 70000 is outside")
        assert (await client.registry.ListServices(registry_pb2.ListServicesRequest())).revision == dry.revision
        done = await client.apply(cart, static)
        assert done.revision == dry.revision + 1
        created = registry_pb2.AppliedResource.OUTCOME_CREATED
        unchanged = registry_pb2.AppliedResource.OUTCOME_UNCHANGED
        assert [one.outcome for one in done.resources] == [created, created]
        assert [one.outcome for one in (await client.apply(cart, static)).resources] == [unchanged, unchanged]
        got = await client.registry.GetService(registry_pb2.GetServiceRequest(name="cart"))
        assert (got.service.protocol, got.service.retry.max_attempts) == (service_pb2.PROTOCOL_TCP, 3)

    run(start(), scenario)


def test_wrong_requests_are_told_what_is_wrong(start):
    async def scenario(client: Client) -> None:
        registry = client.registry
        invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
        await client.register("cart-0")
        cases = [
            (client.register("Bad Name"), invalid, "endpoint.name: 'Bad Name' is not a name"),
            (client.register("x", ttl=0.5), invalid, "time_to_live: 0.5 s is outside 1 s..1 h"),
            (client.weights(cart_0=2_000_000), invalid, "2000000 is outside 0..1000000"),
            (client.weights(none_0=1), missing, "endpoint/cart/none-0 does not exist"),
            (client.weights("pay", x=1), missing, "service/pay does not exist"),
            (registry.Drain(registry_pb2.DrainRequest(service="cart", endpoint="x")), missing, "cart/x"),
            (registry.Delete(registry_pb2.DeleteRequest(service="pay")), missing, "service/pay"),
            (client.endpoints("pay"), missing, "service/pay does not exist"),
            (client.apply(endpoint_pb2.Endpoint(service="cart", name="cart-0", host="h", port=1)),
             grpc.StatusCode.FAILED_PRECONDITION, "kept by the lease of sidecar cart/cart-0"),
            (registry.Register(registry_pb2.RegisterRequest()), invalid, "endpoint.service"),
        ]
        for call, code, words in cases:
            got, details = await refused(call)
            assert (got, words in details) == (code, True), details
        raw = client.channel.unary_unary("/mesh.v1.RegistryService/Apply")
        assert (await refused(raw(b"\xff\xff\xff")))[0] is invalid
        assert (await refused(raw(b"\x0a\xff" * (3 << 20))))[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert set(await client.endpoints()) == {"cart-0"}

    run(start(), scenario)


def test_watch_shows_the_state_then_each_change(start):
    async def scenario(client: Client) -> None:
        await client.register("cart-0")
        watch = client.registry.Watch(registry_pb2.WatchRequest())
        only_pay = client.registry.Watch(registry_pb2.WatchRequest(service="pay"))
        seen = [await watch.read() for _ in range(3)]
        assert [(one.kind, one.resource) for one in seen] == [
            (PUT, "service/cart"), (PUT, "endpoint/cart/cart-0"), (SYNCED, "")]
        assert (await only_pay.read()).kind == SYNCED
        revision = await client.weights(cart_0=5)
        change = await watch.read()
        assert (change.kind, change.revision, change.endpoint.weight) == (PUT, revision, 5)
        drained = await client.registry.Drain(registry_pb2.DrainRequest(service="cart", endpoint="cart-0"))
        change = await watch.read()
        assert (change.revision, change.endpoint.health) == (drained.revision, endpoint_pb2.HEALTH_DRAINING)
        await client.registry.Delete(registry_pb2.DeleteRequest(service="cart"))
        assert [(one.kind, one.resource) for one in [await watch.read(), await watch.read()]] == [
            (REMOVED, "endpoint/cart/cart-0"), (REMOVED, "service/cart")]
        await client.register("p", "pay")
        assert [(await only_pay.read()).resource for _ in range(2)] == ["service/pay", "endpoint/pay/p"]
        watch.cancel()
        only_pay.cancel()

    run(start(), scenario)


def test_a_watcher_that_does_not_read_holds_nobody_up_and_gets_the_last_state(start):
    async def scenario(client: Client) -> None:
        static = [endpoint_pb2.Endpoint(service="cart", name=f"e{number}", host="h", port=1, metadata={
            f"k{key}": "v" * 200 for key in range(20)}) for number in range(200)]
        await client.apply(service_pb2.Service(name="cart"), *static)
        watch = client.registry.Watch(registry_pb2.WatchRequest())
        assert (await watch.read()).resource == "service/cart"
        for weight in range(2, 40):
            await asyncio.wait_for(client.weights(**{f"e{number}": weight for number in range(200)}), PATIENCE)
        last: dict[str, int] = {}
        messages = 0
        while len(last) < 200 or set(last.values()) != {39}:
            change = await asyncio.wait_for(watch.read(), PATIENCE)
            messages += 1
            if change.endpoint.name:
                last[change.endpoint.name] = change.endpoint.weight
        assert messages < 39 * 200
        watch.cancel()

    run(start(), scenario)


def test_a_stopped_control_plane_does_not_empty_the_registry(start):
    async def scenario(client: Client) -> None:
        for name in ("a", "b"):
            await client.register(name, ttl=1)
        process.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(2.5)
        process.process.send_signal(signal.SIGCONT)
        assert set(await client.endpoints()) == {"a", "b"}

        async def gone() -> bool:
            return not await client.endpoints()

        await until(gone)

    process = start()
    run(process, scenario)


def test_sigterm_ends_streams_and_exits_0_and_health_says_so(start):
    async def scenario(client: Client) -> None:
        serving = health_pb2.HealthCheckResponse.SERVING
        names = ("", "mesh.v1.RegistryService", "mesh.v1.TraceQueryService",
                 "envoy.service.discovery.v3.AggregatedDiscoveryService",
                 "opentelemetry.proto.collector.trace.v1.TraceService")
        for name in names:
            answer = await client.health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == serving
        health = client.health.Watch(health_pb2.HealthCheckRequest())
        assert (await health.read()).status == serving
        stream = client.discover()
        await stream.subscribe(ENDPOINT, "cart/*")
        await stream.taken()
        watch = client.registry.Watch(registry_pb2.WatchRequest())
        assert (await watch.read()).kind == SYNCED
        process.process.terminate()
        assert (await health.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for call in (stream.call, watch):
            code, details = await refused(call.read())
            assert code is grpc.StatusCode.UNAVAILABLE, details

    process = start()
    run(process, scenario)
    code, err = process.stop()
    assert code == 0
    assert "Traceback" not in err


def test_reflection_names_every_service(start):
    process = start()
    with grpc.insecure_channel(process.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        names = set(database.get_services())
        assert {"mesh.v1.RegistryService", "mesh.v1.TraceQueryService", "grpc.health.v1.Health",
                "envoy.service.discovery.v3.AggregatedDiscoveryService",
                "opentelemetry.proto.collector.trace.v1.TraceService"} <= names
        for name in names:
            assert database.FindFileContainingSymbol(name).service


def attempt(*flags: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-m", "controlplane.command", *flags], cwd=ROOT, capture_output=True,
                          text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stderr


def test_an_address_or_directory_in_use_is_one_clear_line_and_exit_code_2(start, tmp_path):
    process = start()
    code, err = attempt("--listen", process.address, "--data-dir", str(tmp_path / "other"))
    assert (code, err) == (2, f"mesh controlplane: --listen {process.address}: the address is in use\n")
    code, err = attempt("--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"))
    assert code == 2
    assert err == (f"mesh controlplane: --data-dir {tmp_path / 'data'}: in use by another control plane "
                   f"(pid {process.process.pid})\n")


@pytest.mark.parametrize(("flags", "words"), [
    (("--listen", "203.0.113.1:1"), "--listen 203.0.113.1:1: Cannot assign requested address"),
    (("--listen", "no-such-host.invalid:1"), "--listen no-such-host.invalid:1: "),
    (("--listen", "127.0.0.1:0", "--ready-fd", "77"), "--ready-fd 77: Bad file descriptor"),
])
def test_what_can_not_be_opened_is_one_clear_line(tmp_path, flags, words):
    code, err = attempt("--data-dir", str(tmp_path / "data"), *flags)
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_damaged_registry_is_one_clear_line_and_damaged_traces_are_set_aside(start, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "traces.sqlite").write_bytes(b"garbage" * 1000)
    process = start()
    assert (data / "traces.set-aside").exists()
    assert process.stop()[0] == 0
    (data / "registry.sqlite").write_bytes(b"garbage" * 1000)
    code, err = attempt("--listen", "127.0.0.1:0", "--data-dir", str(data))
    assert code == 1
    assert err == f"mesh controlplane: {data / 'registry.sqlite'}: file is not a database\n"


def test_the_first_line_counts_what_is_kept(start):
    async def scenario(client: Client) -> None:
        await client.register("a", ttl=60)

    process = start()
    run(process, scenario)
    assert process.process.stdout.readline().endswith(", 0 services, 0 endpoints\n")
    process.stop()
    assert start().process.stdout.readline().endswith(", 1 service, 1 endpoint\n")
