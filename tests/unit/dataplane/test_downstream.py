"""Connections of callers: one exchange per stream, whatever the order of things."""

from __future__ import annotations

from h2_world import GRPC, OK, answered, run, until, world
from test_exchange import cart, echo

from mesh import errors
from mesh.model import Algorithm, BalancePolicy, Endpoint, Service


def test_streams_of_one_connection_are_independent() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            client = await w.client()
            calls = [client.request(GRPC) for _ in range(4)]
            await until(lambda: len(w.upstreams[0].calls) == 4)
            calls[1].cancel()
            for index in (3, 0, 2):
                w.upstreams[0].calls[index].answer(b"%d" % index)
            for index in (3, 0, 2):
                assert (await answered(calls[index])).body == b"%d" % index

    run(main)


def test_data_for_an_answered_stream_gives_its_credit_back() -> None:
    """A caller that goes on uploading after the answer must not use the connection's window up."""
    async def main() -> None:
        async with world(lambda call: call.send_headers([*OK, ("grpc-status", "0")], end=True), service=cart()) as w:
            client = await w.client()
            for _ in range(100):
                call = client.request(GRPC, end=False)
                await until(lambda call=call: call.ended)
                if call.reset is None:
                    call.send(bytes(min(16_000, client.conn.local_flow_control_window(call.id))))
            last = client.request(GRPC)
            await answered(last)
            assert client.conn.outbound_flow_control_window > 60_000

    run(main)


def test_a_malformed_request_costs_its_stream_only() -> None:
    async def main() -> None:
        async with world(echo, service=cart()) as w:
            client = await w.client()
            client.conn.config.validate_outbound_headers = False
            client.conn.config.normalize_outbound_headers = False
            bad = client.request([*GRPC, ("connection", "close")])
            good = client.request(GRPC)
            await answered(bad)
            await answered(good)
            assert bad.reset == 1
            assert good.trailers == {"grpc-status": "0"}
            assert len(w.upstreams[0].calls) == 1

    run(main)


def test_the_callers_address_is_the_hash_key() -> None:
    async def main() -> None:
        service = Service("cart", balance=BalancePolicy(Algorithm.SOURCE_IP_HASH))
        async with world(echo, echo, service=None) as w:
            w.cluster.update_service(service)
            w.cluster.update_endpoints([Endpoint("cart", name, "127.0.0.1", upstream.port)
                                        for name, upstream in zip("ab", w.upstreams, strict=True)])
            for _ in range(3):
                client = await w.client()
                await answered(client.request(GRPC))
                await answered(client.request(GRPC))
            assert sorted(len(upstream.calls) for upstream in w.upstreams) == [0, 6]

    run(main)


def test_ending_a_connection_answers_everything_on_it() -> None:
    async def main() -> None:
        async with world(None, service=cart()) as w:
            client = await w.client()
            calls = [client.request(GRPC) for _ in range(3)]
            await until(lambda: len(w.upstreams[0].calls) == 3)
            [handler] = w.acceptor.connections
            handler.fail_all(errors.DRAIN_DEADLINE)
            for call in calls:
                await answered(call)
                assert call.headers["mesh-reason"] == "drain_deadline"
            await until(lambda: client.lost)

    run(main)
