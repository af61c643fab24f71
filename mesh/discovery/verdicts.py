"""Telling the control plane whom this sidecar sees as down: changes when they happen, and that the rest stands.

What lives here: the loop of ReportVerdicts, `proto/mesh/v1/health.proto`. What this must not know: what a verdict comes
from (`collect` says what stands now), how bytes travel.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from mesh.balance.rng import Rng
from mesh.dataplane.rpc import Channel
from mesh.dataplane.tasks import spawn
from mesh.errors import INTERNAL, UNIMPLEMENTED, UpstreamError
from mesh.model import Verdict
from mesh.resilience.backoff import Backoff
from mesh.resource.verdicts import Key, key_to_proto, verdict_to_proto
from mesh.v1 import health_pb2

METHOD = "/mesh.v1.HealthService/ReportVerdicts"
BACKOFF = Backoff(0.1, 5.0)
TIMEOUT = 5.0  # seconds for one report
GATHER = 0.2  # seconds from a change to its report, so that a burst is one report
REFRESH = 10.0  # seconds between reports while there is anything to say
MAX_VERDICTS = 1_000  # the control plane takes no more of one sidecar

_log = logging.getLogger(__name__)


class VerdictReporter:
    """Reports for `sidecar` (`<service>/<instance>`, also with `/<worker>`) what `collect` returns, as news.

    While the control plane is away it goes on trying; when it knows nothing of this sidecar (it was restarted) it is
    told all. Nothing is sent while nobody is down and nobody was.
    """

    def __init__(self, channel: Channel, sidecar: str, collect: Callable[[], Mapping[Key, Verdict]], rng: Rng, *,
                 sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._channel = channel
        self._sidecar = sidecar
        self._collect = collect
        self._rng = rng
        self._sleep = sleep
        self._news = asyncio.Event()
        self._told: dict[Key, Verdict] | None = {}  # what the control plane holds of us; None: that isn't known
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Report from now on."""
        self._task = spawn("verdicts", self._run())

    def changed(self) -> None:
        """Some verdict may have changed."""
        self._news.set()

    async def close(self, timeout: float) -> None:
        """Take back what was said, within `timeout` seconds; where that fails it is forgotten by itself."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._told != {}:
            request = health_pb2.ReportVerdictsRequest(sidecar=self._sidecar, complete=True)
            try:
                await self._channel.unary(METHOD, request.SerializeToString(), timeout)
            except UpstreamError as exc:
                _log.debug("verdicts not taken back: %s", exc)

    async def _run(self) -> None:
        failures = 0
        while True:
            await self._wait()
            self._news.clear()
            try:
                await self._report()
                failures = 0
            except UpstreamError as exc:
                self._told = None  # it may have arrived all the same
                self._news.set()
                if exc.status == UNIMPLEMENTED:
                    _log.warning("verdicts are not reported: %s", exc)
                    return
                if failures == 0:
                    _log.info("verdicts not reported: %s; trying again", exc)
                failures += 1
                await self._sleep(BACKOFF.delay(failures, self._rng))
            except Exception:  # a fault of ours must not end the reports for ever
                _log.exception("verdicts not reported")
                self._told = None
                await self._sleep(REFRESH)

    async def _wait(self) -> None:
        """Until there is news, or it is time to say that there is none."""
        if not self._news.is_set():
            waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._news.wait())]
            if self._told != {}:
                waits.append(asyncio.ensure_future(self._sleep(REFRESH)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
        if self._news.is_set():
            await self._sleep(GATHER)

    async def _report(self) -> None:
        current = dict(list(self._collect().items())[:MAX_VERDICTS])
        told = self._told
        request = health_pb2.ReportVerdictsRequest(sidecar=self._sidecar)
        if not told:
            if told is not None and not current:
                return
            request.complete = True
            request.down.extend(map(verdict_to_proto, current.values()))
        else:
            request.down.extend(verdict_to_proto(verdict) for key, verdict in current.items()
                                if told.get(key) != verdict)
            request.up.extend(key_to_proto(key) for key in told if key not in current)
        data = await self._channel.unary(METHOD, request.SerializeToString(), TIMEOUT)
        try:
            answer = health_pb2.ReportVerdictsResponse.FromString(data)
        except DecodeError as exc:
            raise UpstreamError(INTERNAL, f"undecodable answer to a report of verdicts: {exc}") from None
        if answer.unknown:
            self._told = {}
            self._news.set()
        else:
            self._told = current
