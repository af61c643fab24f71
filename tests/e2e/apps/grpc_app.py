"""A stock grpcio server whose behaviour the caller chooses: the app behind a sidecar in the end-to-end tests.

What lives here: generic handlers for `/test.Echo/<Method>`, bytes in and out, no generated code. What this must not
know: the mesh. One JSON line `{"port": N}` goes to --ready-fd once it serves. Each call that names an id appends
`<name> <id>` to the ledger file before anything else happens, so that what ran twice shows even when the process died.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
import grpc.aio
from google.protobuf import any_pb2, wrappers_pb2
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

Context = grpc.aio.ServicerContext


class App:
    """The methods; `counts` is what `Stats` returns."""

    def __init__(self, name: str, ledger: str, sick: bool) -> None:
        self.name = name
        self.ledger = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if ledger else -1
        self.sick = sick
        self.counts: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.next: grpc.aio.Channel | None = None
        self.hands_on: set[str] = set()
        self.health = health.aio.HealthServicer()

    def write_ledger(self, request: bytes) -> None:
        if self.ledger >= 0 and request:
            os.write(self.ledger, self.name.encode() + b" " + request + b"\n")

    # -- unary

    async def echo(self, request: bytes, context: Context) -> bytes:
        return request

    async def whoami(self, request: bytes, context: Context) -> bytes:
        """The instance's name; UNAVAILABLE while sick. The request is an id for the ledger."""
        self.write_ledger(request)
        if self.sick:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.name} is sick")
        return self.name.encode()

    async def set_sick(self, request: bytes, context: Context) -> bytes:
        self.sick = request == b"1"
        await self.say_health()
        return b""

    async def say_health(self) -> None:
        """What the standard health service answers for `test.Echo`."""
        status = health_pb2.HealthCheckResponse
        await self.health.set("test.Echo", status.NOT_SERVING if self.sick else status.SERVING)

    async def sleep(self, request: bytes, context: Context) -> bytes:
        """Answer never; counts who cancelled."""
        self.write_ledger(request)
        self.counts["sleeping"] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.counts["cancelled"] += 1
            raise
        finally:
            self.counts["sleeping"] -= 1
        return b""

    async def pause(self, request: bytes, context: Context) -> bytes:
        """Answer with the name after the seconds that the request says (`0.5 id`)."""
        seconds, _, request_id = request.partition(b" ")
        self.write_ledger(request_id)
        await asyncio.sleep(float(seconds))
        return self.name.encode()

    async def barrier(self, request: bytes, context: Context) -> bytes:
        """Answer when as many calls as the request says are here at one time."""
        self.counts["at barrier"] += 1
        if self.counts["at barrier"] == int(request):
            self.gate.set()
        await self.gate.wait()
        return b"through"

    async def fail(self, request: bytes, context: Context) -> bytes:
        """`{"code": N, "message": text, "details": text, "id": text}`; details make it a google.rpc.Status, `trailing`
        are pairs of metadata."""
        want = json.loads(request)
        self.write_ledger(want.get("id", "").encode())
        context.set_trailing_metadata(tuple((key, value) for key, value in want.get("trailing", ())))
        if "details" in want:
            detail = any_pb2.Any()
            detail.Pack(wrappers_pb2.StringValue(value=want["details"]))
            await context.abort_with_status(rpc_status.to_status(
                status_pb2.Status(code=want["code"], message=want["message"], details=[detail])))
        code = next(code for code in grpc.StatusCode if code.value[0] == want["code"])
        await context.abort(code, want["message"])
        return b""

    async def set_next(self, request: bytes, context: Context) -> bytes:
        """`{"target": HOST:PORT, "hands_on": [keys]}`: where `Forward` goes, and the metadata that it passes on."""
        want = json.loads(request)
        self.hands_on = set(want["hands_on"])
        if self.next is not None:
            await self.next.close()
        self.next = grpc.aio.insecure_channel(want["target"], [("grpc.enable_retries", 0)])
        return b""

    async def forward(self, request: bytes, context: Context) -> bytes:
        """Call `Forward` of the next one, and fail as it does; the last one always fails."""
        if self.next is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{self.name} fails")
        given = [(key, value) for key, value in context.invocation_metadata() or () if key in self.hands_on]
        try:
            answer: bytes = await self.next.unary_unary("/test.Echo/Forward")(request, metadata=given, timeout=30)
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "")
        return answer

    async def remaining(self, request: bytes, context: Context) -> bytes:
        left = context.time_remaining()
        return b"none" if left is None or left > 1e8 else repr(left).encode()

    async def metadata(self, request: bytes, context: Context) -> bytes:
        """All metadata as JSON (values in base64); keys `echo-*` come back as initial and as trailing metadata."""
        given = [(key, value) for key, value in context.invocation_metadata() or ()]
        echoed = [(key, value) for key, value in given if key.startswith("echo-")]
        await context.send_initial_metadata(tuple(echoed))
        context.set_trailing_metadata(tuple(echoed))
        raw = [(key, value if isinstance(value, bytes) else value.encode()) for key, value in given]
        return json.dumps([[key, base64.b64encode(value).decode()] for key, value in raw]).encode()

    async def die(self, request: bytes, context: Context) -> bytes:
        self.write_ledger(request)
        os._exit(9)

    async def stats(self, request: bytes, context: Context) -> bytes:
        return json.dumps(dict(self.counts)).encode()

    # -- streams

    async def count(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """`{"n": messages, "size": bytes, "fail_after": N}`: numbered messages; the code then is DATA_LOSS."""
        want = json.loads(request)
        for i in range(want["n"]):
            if i == want.get("fail_after", -1):
                await context.abort(grpc.StatusCode.DATA_LOSS, f"lost after {i}")
            yield i.to_bytes(8, "big").ljust(want.get("size", 8), b".")

    async def endless(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        """Messages of 1 KiB as fast as they are taken, until cancelled."""
        self.counts["endless"] += 1
        try:
            while True:
                self.counts["endless sent"] += 1
                yield bytes(1024)
                await asyncio.sleep(0)
        finally:
            self.counts["endless"] -= 1

    async def collect(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        digest, messages, size = hashlib.sha256(), 0, 0
        async for request in requests:
            digest.update(request)
            messages += 1
            size += len(request)
        return json.dumps({"messages": messages, "bytes": size, "sha256": digest.hexdigest(),
                           "name": self.name}).encode()

    async def reject(self, requests: AsyncIterator[bytes], context: Context) -> bytes:
        """RESOURCE_EXHAUSTED after the first message, however many follow."""
        async for _ in requests:
            break
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "one is enough")
        return b""

    async def chat(self, requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == b"die":
                os._exit(9)
            yield request

    def handler(self) -> grpc.GenericRpcHandler:
        unary: list[Callable[[bytes, Context], Awaitable[bytes]]] = [
            self.echo, self.whoami, self.set_sick, self.sleep, self.pause, self.barrier, self.fail, self.remaining,
            self.metadata, self.die, self.stats, self.set_next, self.forward]
        methods = {self.method(f): grpc.unary_unary_rpc_method_handler(self.counted(f)) for f in unary}
        methods["Count"] = grpc.unary_stream_rpc_method_handler(self.count)
        methods["Endless"] = grpc.unary_stream_rpc_method_handler(self.endless)
        methods["Collect"] = grpc.stream_unary_rpc_method_handler(self.collect)
        methods["Reject"] = grpc.stream_unary_rpc_method_handler(self.reject)
        methods["Chat"] = grpc.stream_stream_rpc_method_handler(self.chat)
        return grpc.method_handlers_generic_handler("test.Echo", methods)

    @staticmethod
    def method(function: Callable[..., object]) -> str:
        return "".join(word.capitalize() for word in function.__name__.split("_"))

    def counted(self, function: Callable[[bytes, Context], Awaitable[bytes]]) -> object:
        name = self.method(function)

        async def call(request: bytes, context: Context) -> bytes:
            self.counts[name] += 1
            return await function(request, context)

        return call


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="app")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--ledger", default="")
    parser.add_argument("--sick", action="store_true")
    parser.add_argument("--ready-fd", type=int, required=True)
    args = parser.parse_args()
    app = App(args.name, args.ledger, args.sick)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
                                      ("grpc.max_metadata_size", 65_536), ("grpc.absolute_max_metadata_size", 131_072),
                                      ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((app.handler(),))
    health_pb2_grpc.add_HealthServicer_to_server(app.health, server)
    await app.say_health()
    port = server.add_insecure_port(f"127.0.0.1:{args.port}")
    await server.start()
    with os.fdopen(args.ready_fd, "w") as ready:
        ready.write(json.dumps({"port": port}) + "\n")
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
