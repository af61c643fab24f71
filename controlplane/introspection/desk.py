"""The sidecars that can be asked, and the questions under way to them.

What lives here: lines (one per attached stream), who is meant by a name, waiting for an answer, what sidecars have
reported. What this must not know: grpc, what is asked. A sidecar that comes back while its old stream is still dying
has two lines: the newer one is asked.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable

from controlplane.errors import NotFound, Overloaded, RequestError
from mesh.errors import DEADLINE_EXCEEDED, FAILED_PRECONDITION
from mesh.v1 import introspection_pb2 as pb

TIMEOUT = 2.0  # seconds for an answer
MAX_WAITING = 16  # questions to one sidecar


class Unanswered(RequestError):
    """The sidecar does not answer in time."""

    status = DEADLINE_EXCEEDED


class Refused(RequestError):
    """The sidecar is gone, or can't answer this, in its own words."""

    status = FAILED_PRECONDITION


class Line:
    """One attached stream. The shell sends what `next_question` returns whenever `woken` is set."""

    def __init__(self, id_: str) -> None:
        self.id = id_
        self.woken = asyncio.Event()
        self.reports: tuple[pb.PolicyReport, ...] = ()
        self.ended = False
        self._numbers = 0
        self._out: deque[pb.SidecarQuestion] = deque()
        self._waiting: dict[int, asyncio.Future[pb.SidecarAnswer]] = {}

    async def ask(self, call: pb.HypotheticalCall, timeout: float = TIMEOUT) -> pb.Explanation:
        """Return the sidecar's explanation. Raises Unanswered, Refused or Overloaded."""
        if len(self._waiting) >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} questions wait for {self.id} already; try again")
        self._numbers += 1
        number = self._numbers
        answered: asyncio.Future[pb.SidecarAnswer] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        self._out.append(pb.SidecarQuestion(id=number, call=call))
        self.woken.set()
        try:
            async with asyncio.timeout(timeout):
                answer = await answered
        except TimeoutError:
            raise Unanswered(f"{self.id} did not answer within {timeout:g} s: it is overloaded or stopped; try again, "
                             "and see `mesh status`") from None
        finally:
            del self._waiting[number]
        if answer.refusal or not answer.HasField("explanation"):
            raise Refused(f"{self.id}: {answer.refusal or 'it has no explanation'}")
        return answer.explanation

    def next_question(self) -> pb.SidecarQuestion | None:
        """Return what to send next; nothing that nobody waits for any more."""
        while self._out:
            question = self._out.popleft()
            if question.id in self._waiting:
                return question
        self.woken.clear()
        return None

    def receive(self, answer: pb.SidecarAnswer) -> None:
        """Take an answer; one that comes too late is nobody's."""
        waiting = self._waiting.get(answer.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    def end(self) -> None:
        """The stream is over: nobody waits any longer."""
        self.ended = True
        self.woken.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Refused(f"{self.id} went away before it answered; try again"))


class Desk:
    """All lines, by sidecar."""

    def __init__(self) -> None:
        self._lines: dict[str, list[Line]] = {}

    def attach(self, id_: str) -> Line:
        """A stream has said whose it is."""
        line = Line(id_)
        self._lines.setdefault(id_, []).append(line)
        return line

    def detach(self, line: Line) -> None:
        """It has ended."""
        line.end()
        left = [other for other in self._lines.get(line.id, ()) if other is not line]
        if left:
            self._lines[line.id] = left
        else:
            self._lines.pop(line.id, None)

    def named(self, name: str) -> list[Line]:
        """Return the sidecars that `name` may mean, by id; of each the newest line."""
        found = [id_ for id_ in self._lines if fits(id_, name)]
        return [self._lines[id_][-1] for id_ in sorted(found, key=_order)]

    def all(self) -> list[Line]:
        """Return every sidecar's newest line, by id."""
        return [self._lines[id_][-1] for id_ in sorted(self._lines, key=_order)]


def fits(id_: str, name: str) -> bool:
    """Whether `name` (a service, an instance or a worker) may mean the sidecar `id_`."""
    return id_ == name or id_.startswith(f"{name}/")


def absent(name: str, seen: Iterable[tuple[str, bool]]) -> RequestError:
    """Return why nobody of this name can be asked; `seen`: ids of sidecars lately, and whether discovery has them
    connected."""
    known = {id_: connected for id_, connected in seen if fits(id_, name)}
    if any(known.values()):
        return Refused(f"{name} is connected, but takes no questions: it has just started (try again), or is of an "
                          "older version (start it anew)")
    if known:
        return Refused(f"{name} is not connected to this control plane any more: it has stopped, or can't reach it; "
                          "start it, or ask another one (`mesh get sidecars`)")
    return NotFound(f"no sidecar of {name} has been seen: `mesh get sidecars` lists those there are")


def _order(id_: str) -> tuple[str, ...]:
    service, instance, *worker = id_.split("/")
    return service, instance, *(number.rjust(4, "0") for number in worker)
