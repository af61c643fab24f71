"""The stream on which operators' questions come: opened by the sidecar, opened again for ever.

What lives here: saying who we are, passing questions to whoever can answer, reports when they change. What this must
not know: what is asked and reported (`proto/mesh/v1/introspection.proto` says it), how bytes travel.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from google.protobuf.message import DecodeError

import mesh
from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.rpc_call import Call
from mesh.dataplane.tasks import spawn
from mesh.errors import INTERNAL, UNIMPLEMENTED, MeshError, UpstreamError
from mesh.resilience.backoff import Backoff
from mesh.v1 import introspection_pb2 as pb

METHOD = "/mesh.v1.IntrospectionService/Attach"
BACKOFF = Backoff(0.1, 5.0)
OLD_CONTROL_PLANE = 60.0  # seconds until one that takes no questions is tried again
REPORT_EVERY = 1.0  # seconds between two looks at what is to be reported

_log = logging.getLogger(__name__)
Answer = Callable[[pb.HypotheticalCall], pb.Explanation]
Reports = Callable[[], Sequence[pb.PolicyReport]]


class IntrospectionClient:
    """Answers questions as `node`, `<service>/<instance>[/<worker>]`.

    `answer` is called on the loop, one question at a time; what it raises as a MeshError is the refusal. `reports`: all
    that there is to report, now.
    """

    def __init__(self, channel: Channel, node: str, answer: Answer, reports: Reports, rng: Rng, *,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._node = node
        self._answer = answer
        self._reports = reports
        self._rng = rng
        self._sleep = sleep
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, now and whenever the stream breaks."""
        self._task = spawn("introspection", self._run())

    async def close(self) -> None:
        """End the stream."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _run(self) -> None:
        failures = 0
        while True:
            opened_at = self._clock()
            old = False
            try:
                await self._session()
                reason = "the control plane ended the stream"
            except UpstreamError as exc:
                reason, old = str(exc), exc.status == UNIMPLEMENTED
            except Exception as exc:  # a fault of ours must not end it for ever
                _log.exception("introspection: the stream failed")
                reason = repr(exc)
            _log.debug("introspection: no stream: %s", reason)
            failures = 1 if self._clock() - opened_at > BACKOFF.maximum else failures + 1
            await self._sleep(OLD_CONTROL_PLANE if old else BACKOFF.delay(failures, self._rng))

    async def _session(self) -> None:
        call = await self._channel.stream(METHOD)
        reporter: asyncio.Task[None] | None = None
        try:
            hello = pb.SidecarHello(id=self._node, build=mesh.__version__)
            call.send_nowait(pb.SidecarMessage(hello=hello).SerializeToString())
            reporter = spawn("introspection reports", self._report(call))
            async for data in call:
                call.send_nowait(self._answered(data).SerializeToString())
        finally:
            if reporter is not None:
                reporter.cancel()
            call.cancel()

    def _answered(self, data: bytes) -> pb.SidecarMessage:
        try:
            question = pb.SidecarQuestion.FromString(data)
        except DecodeError as exc:
            raise UpstreamError(INTERNAL, f"{METHOD}: undecodable question: {exc}") from None
        answer = pb.SidecarAnswer(id=question.id)
        try:
            answer.explanation.CopyFrom(self._answer(question.call))
        except MeshError as exc:
            answer.refusal = str(exc) or "it can't be told"
        except Exception as exc:  # a question must not end the stream
            _log.exception("introspection: a question could not be answered")
            answer.refusal = f"internal error: {exc!r}"
        return pb.SidecarMessage(answer=answer)

    async def _report(self, call: Call) -> None:
        told = pb.PolicyReports()
        while True:
            reports = pb.PolicyReports(reports=self._reports())
            if reports != told:
                told = reports
                try:
                    call.send_nowait(pb.SidecarMessage(reports=reports).SerializeToString())
                except UpstreamError:
                    return  # the reader of the call hears of it too
            await self._sleep(REPORT_EVERY)
