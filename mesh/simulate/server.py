"""What answers at an endpoint of a simulated service.

What lives here: a server with its workers, its queue and what is wrong with it. What this must not know: who calls it,
by which policy, and when anything happens (the engine does).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from mesh.balance import Rng
from mesh.errors import CONNECT_FAILED, RESET, UPSTREAM_STATUS, Reason

if TYPE_CHECKING:
    from mesh.simulate.times import Draw

# gRPC's UNAVAILABLE, which 503 counts as.
UNAVAILABLE = 14
# How many answers around an instant a replay draws from: enough to be a distribution, few enough to follow a change.
AROUND = 16


class State(Enum):
    """What is wrong with a server."""

    UP = "up"
    DEAD = "dead"  # connections are refused, and what it had is lost
    SILENT = "silent"  # it takes everything and answers nothing, as a process that was stopped
    FAILING = "failing"  # it answers 503 (UNAVAILABLE) at once
    RESETTING = "resetting"  # it resets what it is sent


class Answer(NamedTuple):
    """How a call ends, `seconds` after a worker took it; `reason` None: well. `grpc_status` -1, `http_status` 0: no
    status came."""

    seconds: float
    reason: Reason | None = None
    grpc_status: int = -1
    http_status: int = 0


# What a caller gets at once of a server in this state.
REFUSALS = {
    State.DEAD: Answer(0.0, CONNECT_FAILED),
    State.FAILING: Answer(0.0, UPSTREAM_STATUS, UNAVAILABLE, 503),
    State.RESETTING: Answer(0.0, RESET),
}


class Server:
    """`slowdown` multiplies its times; that and `state` may be changed in the middle of a run, best by
    `Simulation.put`, which also sees to the calls it has. `workers` 0: as many as there are calls.

    `answered` counts what it has served, `longest` the most calls it had at a time.
    """

    def __init__(self, service_time: Draw, workers: int = 1) -> None:
        self.service_time = service_time
        self.workers = workers
        self.slowdown = 1.0
        self.state = State.UP
        self.busy = 0
        self.waiting: deque[Any] = deque()
        self.working: dict[Any, None] = {}  # ordered, so that a run can be repeated
        self.held: list[Any] = []  # done, but not told while it is silent
        self.answered = 0
        self.longest = 0

    @property
    def alive(self) -> bool:
        return self.state is not State.DEAD

    @alive.setter
    def alive(self, alive: bool) -> None:
        self.state = State.UP if alive else State.DEAD

    def free(self) -> bool:
        """Whether a worker has nothing to do."""
        return self.workers == 0 or self.busy < self.workers

    def answer(self, rng: Rng, now: float) -> Answer:
        """Decide how the call ends that a worker takes at `now`."""
        return Answer(self.service_time(rng) * self.slowdown)


class Sample(NamedTuple):
    """One recorded attempt: when it was sent (seconds since the recording began), and how it ended."""

    at: float
    answer: Answer


class RecordedServer(Server):
    """Answers as it was recorded: with one of the AROUND answers nearest in time, failures included.

    What was recorded has the waiting of then in it, so it has as many workers as there are calls.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        """`samples` in the order of their times, at least one."""
        Server.__init__(self, lambda rng: 0.0, 0)
        self.samples = samples
        self.times = [sample.at for sample in samples]

    def answer(self, rng: Rng, now: float) -> Answer:
        last = len(self.samples)
        first = max(0, min(bisect_left(self.times, now) - AROUND // 2, last - AROUND))
        found = self.samples[first + rng.below(min(AROUND, last - first))].answer
        return found._replace(seconds=found.seconds * self.slowdown)
