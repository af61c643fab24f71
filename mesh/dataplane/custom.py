"""Policies of one's own at work: loaded from a Service's source, asked within their time, benched when they fail.

What lives here: OwnPolicy, one such policy for one service, and Request, a call as it sees it. What this must not know:
which endpoints there are (mesh.balance.custom_picker shows it those), protobuf. The interface of such a class, and what
trust it takes, is written down in docs/policies.md.
"""

from __future__ import annotations

import builtins
import copy
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.balance.rng import Rng
from mesh.dataplane.affinity import value_of
from mesh.dataplane.watchdog import Interrupted, Watchdog
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.wire.hpack import Head

FAULTS_IN_A_ROW = 10
BENCH = 30.0  # seconds, twice as long each time
LONGEST_BENCH = 300.0
PARDON = 1000  # good picks after which the next bench is a short one again
LOG_EVERY = 60.0  # seconds, per kind of fault
MODULES = frozenset(("__future__", "bisect", "collections", "dataclasses", "enum", "functools", "heapq", "itertools",
                     "math", "operator", "statistics", "typing", "zlib"))
# No sandbox: they keep a policy from waiting for something by mistake, not from doing so on purpose.
_WITHHELD = ("open", "exec", "eval", "compile", "input", "breakpoint", "exit", "quit", "help", "print")
EXCEPTION, NOT_A_CANDIDATE, OVER_TIME, INTERRUPTED = "exception", "not_a_candidate", "over_time", "interrupted"
RUNNING, BENCHED, BROKEN, NOT_ALLOWED = "running", "benched", "broken", "not allowed"

_log = logging.getLogger(__name__)


class Request:
    """What is picked for. `source`: hash of the caller's address, or of what `hash` names; all texts are "" where
    there are none (TCP, UDP)."""

    __slots__ = ("_head", "service", "source")

    def __init__(self, service: str, source: int, head: Head | None) -> None:
        self.service = service
        self.source = source
        self._head = head

    @property
    def method(self) -> str:
        return _text(self._head.method) if self._head is not None else ""

    @property
    def path(self) -> str:
        return _text(self._head.path) if self._head is not None else ""

    @property
    def authority(self) -> str:
        return _text(self._head.authority) if self._head is not None else ""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, named in lower case; None where it has none."""
        value = value_of(self._head, name.encode()) if self._head is not None else None
        return None if value is None else _text(value)


def _text(raw: bytes | None) -> str:
    return raw.decode("latin-1") if raw else ""


class OwnPolicy:
    """One policy at work for one service. Nothing of it raises.

    `head`: of the request that is picked for, set by the caller for the time of a pick. `faults`: by kind. `clock`
    measures picks, in seconds; `now` everywhere is the loop's.
    """

    def __init__(self, service: str, policy: CustomPolicy, rng: Rng, watchdog: Watchdog,
                 clock: Callable[[], float] = time.perf_counter) -> None:
        self.policy = policy
        self.head: Head | None = None
        self.live = policy.mode is CustomMode.LIVE
        self.fell_back = False
        self.picks = self.agreed = self.differed = self.abstained = 0
        self.faults: Counter[str] = Counter()
        self.last_fault = ""
        self.pick_seconds = self.longest_pick = 0.0
        self._service = service
        self._rng = rng
        self._watchdog = watchdog
        self._clock = clock
        self._state = RUNNING
        self._in_a_row = self._row_before = 0
        self._now = 0.0
        self._good = 0
        self._benches = 0
        self._benched_until = 0.0
        self._logged: dict[str, float] = {}
        self._file = f"<policy {policy.class_name} of {service}>"
        self._instance: Any = None
        self._on_result: Any = None
        self._load()

    def _load(self) -> None:
        try:
            self._instance = self._watchdog.call(self._make)
        except BaseException as error:  # SystemExit, too, is only a fault
            self._state = BROKEN
            self.last_fault = f"it can't be loaded: {self._where(error)}"
            _log.error("%s: %s; the algorithm picks", self._file, self.last_fault)
            return
        self._on_result = getattr(self._instance, "on_result", None)

    def _make(self) -> Any:
        space: dict[str, Any] = {"__name__": "mesh_policy", "__builtins__": _builtins()}
        exec(compile(self.policy.source, self._file, "exec", dont_inherit=True), space)
        return space[self.policy.class_name]()

    # -- from the picker

    def asked(self, now: float) -> bool:
        """Whether it is to be asked at `now`."""
        if self._state == RUNNING:
            return True
        if self._state == BENCHED and now >= self._benched_until:
            self._state = RUNNING
            self._in_a_row = FAULTS_IN_A_ROW - 1  # one more fault and it is out again
            return True
        self.fell_back = self.live
        return False

    def pick(self, candidates: Sequence[Any], key: int, now: float) -> Any:
        """Return what it picks: one of `candidates` if it is right, None where it has no opinion or a fault."""
        request = Request(self._service, key, self.head)
        self.picks += 1
        self.fell_back = self.live
        began = self._clock()
        try:
            answer = self._watchdog.call(self._instance.pick, candidates, request, now, self._rng)
        except BaseException as error:  # SystemExit, too, is only a fault
            self._took(self._clock() - began)
            self._fault_of(error, "pick", now)
            return None
        took = self._clock() - began
        self._took(took)
        if took > self.policy.time_limit:
            self._fault(OVER_TIME, f"a pick took {took * 1e3:.3g} ms, and may take {self.policy.time_limit * 1e3:g} ms",
                        now)
            return None
        if answer is None:
            self.abstained += 1
        else:
            self.fell_back = False
        self._row_before, self._in_a_row, self._now = self._in_a_row, 0, now
        self._good += 1
        if self._good >= PARDON:
            self._benches = 0
        return answer

    def refuse(self, answer: object) -> None:
        """What `pick` returned last was none of the candidates."""
        self.fell_back = self.live
        self._in_a_row = self._row_before
        self._fault(NOT_A_CANDIDATE, f"it picked {_shown(answer)}, which is none of the candidates", self._now)

    def compare(self, chosen: object, used: object) -> None:
        """In shadow: what it would have picked, and what was."""
        if chosen is used:
            self.agreed += 1
        else:
            self.differed += 1

    def on_result(self, candidate: Any, latency: float, ok: bool, now: float) -> None:
        """Tell it how an attempt ended."""
        if self._on_result is None or self._state != RUNNING:
            return
        try:
            self._watchdog.call(self._on_result, candidate, latency, ok, now)
        except BaseException as error:  # SystemExit, too, is only a fault
            self._fault_of(error, "on_result", now)

    def fork(self) -> Any:
        """Return a copy that can be asked without this one changing; None where it has no say, or can't be copied."""
        if not self.live or self._state != RUNNING:
            return None
        other = copy.copy(self)
        try:
            other._instance = self._watchdog.call(copy.deepcopy, self._instance)
        except BaseException:
            return None
        other._rng = copy.copy(self._rng)
        other._on_result = None
        other.faults, other._logged = Counter(), {}
        return other

    # -- for operators

    def state(self, now: float) -> str:
        """Return `running`, `benched` or `broken`."""
        return RUNNING if self._state == BENCHED and now >= self._benched_until else self._state

    def statistics(self, now: float) -> dict[str, Any]:
        """Return its counters. Seconds for times."""
        return {"class": self.policy.class_name, "mode": self.policy.mode.value, "state": self.state(now),
                "picks": self.picks, "agreed": self.agreed, "differed": self.differed, "abstained": self.abstained,
                "faults": dict(self.faults), "last_fault": self.last_fault, "pick_seconds": self.pick_seconds,
                "longest_pick": self.longest_pick}

    # -- faults

    def _took(self, seconds: float) -> None:
        self.pick_seconds += seconds
        self.longest_pick = max(self.longest_pick, seconds)

    def _fault_of(self, error: BaseException, method: str, now: float) -> None:
        if isinstance(error, Interrupted):
            self._in_a_row = FAULTS_IN_A_ROW
            self._fault(INTERRUPTED, f"{method} had to be interrupted: {self._where(error)}", now)
        else:
            self._fault(EXCEPTION, f"{method}: {self._where(error)}", now)

    def _fault(self, kind: str, text: str, now: float) -> None:
        self.faults[kind] += 1
        self.last_fault = text
        self._good = 0
        self._in_a_row += 1
        if self._in_a_row >= FAULTS_IN_A_ROW:
            pause = min(BENCH * 2 ** self._benches, LONGEST_BENCH)
            self._benches = min(self._benches + 1, 10)
            self._state = BENCHED
            self._benched_until = now + pause
            text = f"{text}; not asked for {pause:g} s"
        if now >= self._logged.get(kind, float("-inf")) + LOG_EVERY:
            self._logged[kind] = now
            _log.warning("%s: %s (%d such faults so far)", self._file, text, self.faults[kind])

    def _where(self, error: BaseException) -> str:
        """`line 7: ZeroDivisionError: division by zero`, the innermost line of the policy's own."""
        said = "took too long" if isinstance(error, Interrupted) else f"{type(error).__name__}: {_shown(error)}"
        if isinstance(error, SyntaxError):
            return f"line {error.lineno}: {said}"
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__, 1000)
                 if frame.filename == self._file]
        return f"line {lines[-1]}: {said}" if lines else said


class OwnPolicies:
    """Makes them for this process; with `allowed` False none runs."""

    def __init__(self, allowed: bool, seed: Callable[[], int], watchdog: Watchdog | None = None) -> None:
        self.allowed = allowed
        self._seed = seed
        self._watchdog = watchdog

    def make(self, service: str, policy: CustomPolicy) -> OwnPolicy | None:
        """Return the policy at work, None where it is off or not allowed."""
        if policy.mode is CustomMode.OFF or not self.allowed:
            return None
        if self._watchdog is None:
            self._watchdog = Watchdog()
            self._watchdog.install()
        return OwnPolicy(service, policy, Rng(self._seed()), self._watchdog)


def not_allowed(policy: CustomPolicy) -> dict[str, Any]:
    """Return the statistics of one that is not run here."""
    return {"class": policy.class_name, "mode": policy.mode.value, "state": NOT_ALLOWED, "picks": 0, "agreed": 0,
            "differed": 0, "abstained": 0, "faults": {}, "last_fault": "this sidecar runs without "
            "--allow-custom-policies", "pick_seconds": 0.0, "longest_pick": 0.0}


def _shown(value: object) -> str:
    try:
        text = " ".join(str(value).split())
    except Exception:
        return f"a {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:199]}…"


def _import(name: str, globals: Mapping[str, object] | None = None, locals: Mapping[str, object] | None = None,
            fromlist: Sequence[str] = (), level: int = 0) -> Any:
    if level or name.partition(".")[0] not in MODULES:
        raise ImportError(f"a policy can't import {name!r}, only {', '.join(sorted(MODULES - {'__future__'}))}")
    return builtins.__import__(name, globals, locals, fromlist, level)


def _builtins() -> dict[str, Any]:
    given = {name: value for name, value in vars(builtins).items() if name not in _WITHHELD}
    given["__import__"] = _import
    return given
