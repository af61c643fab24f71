"""Active health: the checks of all endpoints of the services that this sidecar calls.

What lives here: Checker, which keeps one course of checks for each endpoint, starts what is due, at most some at a
time, and puts the verdicts where picks see them. What this must not know: how a check is made (checks), what a row of
results means (mesh.balance.course).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from mesh.balance.course import Course, State
from mesh.balance.node import Node
from mesh.dataplane.checks import CheckFailed, Subject, run_check
from mesh.dataplane.hub import Hub
from mesh.dataplane.tasks import spawn
from mesh.model.health import Check, HealthPolicy

_log = logging.getLogger(__name__)

# Checks under way at a time in one process; more wait for their turn, so that a large fleet is checked more slowly
# rather than the traffic beside it.
MAX_RUNNING = 32
_OFF = HealthPolicy()

Run = Callable[[Hub, Check, Subject, float], Awaitable[None]]
Later = Callable[[float, Callable[[], object]], Any]


class Checker:
    """`heed` is told by each cluster that its policy or its endpoints have changed.

    `allow_commands`: whether policies may have this sidecar start programs. `later` is for tests: the loop's own
    timers are used and not the hub's, which keep a sidecar without traffic awake.
    """

    def __init__(self, hub: Hub, allow_commands: bool = False, run: Run = run_check,
                 later: Later | None = None) -> None:
        self.hub = hub
        self.run = run
        self.later: Later = later or hub.loop.call_later
        self.allow_commands = allow_commands
        self.running = 0
        self._waiting: deque[_Checks] = deque()
        self._by_cluster: dict[Any, dict[Node, _Checks]] = {}
        self._closed = False

    def heed(self, cluster: Any) -> None:
        """Check what the cluster's policy says, of the nodes that it may pick, from now on. Endpoints that stay keep
        their state."""
        service = cluster.service
        policy: HealthPolicy = _OFF if service is None or self._closed else service.health
        if policy.command is not None and not self.allow_commands:
            _log.error("%s is not checked: this sidecar runs no commands (--allow-check-commands)", cluster.name)
            policy = _OFF
        checks = self._by_cluster.get(cluster)
        if policy.check is None:
            if checks is not None:
                del self._by_cluster[cluster]
                for each in checks.values():
                    each.stop()
                cluster.balancer.changed()
            return
        if checks is None:
            checks = self._by_cluster[cluster] = {}
        now = self.hub.touch()
        nodes = dict.fromkeys(cluster.balancer.concerned(now))
        for node in [node for node in checks if node not in nodes]:
            checks.pop(node).stop()
        for node in nodes:
            known = checks.get(node)
            if known is None:
                checks[node] = _Checks(self, cluster, node, policy, now)
            elif known.course.policy != policy:
                known.adopt(policy, now)
        cluster.balancer.changed()

    def course(self, cluster: Any, node: Node) -> Course | None:
        """The checks of an endpoint; None where it is not checked."""
        known = self._by_cluster.get(cluster, {}).get(node)
        return None if known is None else known.course

    def close(self) -> None:
        """Check nothing any more."""
        self._closed = True
        for cluster in list(self._by_cluster):
            self.heed(cluster)
        self._waiting.clear()

    def start(self, checks: _Checks) -> None:
        """Begin a check that is due, or have it wait."""
        if self.running >= MAX_RUNNING:
            checks.queued = True
            self._waiting.append(checks)
        else:
            self.running += 1
            checks.begin()

    def ended(self) -> None:
        """A check has ended: the next one's turn."""
        self.running -= 1
        while self._waiting and self.running < MAX_RUNNING:
            checks = self._waiting.popleft()
            if not checks.stopped:
                self.running += 1
                checks.begin()


class _Checks:
    """The checks of one endpoint."""

    def __init__(self, checker: Checker, cluster: Any, node: Node, policy: HealthPolicy, now: float) -> None:
        self.course = Course(policy, now)
        self.stopped = False
        self.queued = False
        self._checker = checker
        self._hub = checker.hub
        self._cluster = cluster
        self._node = node
        self._timer: Any = None
        self._task: asyncio.Task[None] | None = None
        self._voided = False
        node.unproven = True
        self._arm(now)

    def _arm(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._checker.later(max(0.0, self.course.due - now), self._start)

    def _start(self) -> None:
        self._timer = None
        self._checker.start(self)

    def adopt(self, policy: HealthPolicy, now: float) -> None:
        """Go on by another policy; what is under way by the old one and asked something else is void."""
        before = self.course.policy
        self.course.adopt(policy, now)
        if self._task is not None:
            self._voided = before.check != policy.check or before.port != policy.port
        elif not self.queued:
            self._arm(now)

    def stop(self) -> None:
        """No more checks, and no verdict by them."""
        self.stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._node.unproven = self._node.failing = False

    def begin(self) -> None:
        self.queued = False
        self._task = spawn(f"check {self._node.resource}", self._run())

    async def _run(self) -> None:
        hub, policy, rng = self._hub, self.course.policy, self._hub.rng
        endpoint = self._node.endpoint
        check = policy.check
        assert check is not None
        began = hub.touch()
        traceparent = f"00-{rng.next64():016x}{rng.next64():016x}-{rng.next64():016x}-00"
        reason = ""
        try:
            await self._checker.run(hub, check, Subject(endpoint.host, policy.port or endpoint.port,
                                                        self._node.resource, traceparent), policy.timeout)
        except CheckFailed as failure:
            reason = str(failure) or "failed"
        except Exception as error:  # a fault of ours must not end the checks for ever
            _log.exception("the check of %s failed", self._node.resource)
            reason = f"the check itself failed: {error!r}"
        finally:
            self._task = None
            self._checker.ended()
        if self.stopped:
            return
        now = hub.touch()
        if self._voided:
            self._voided = False
        else:
            self._take(not reason, reason, began, now)
        self._arm(now)
        hub.flush()

    def _take(self, ok: bool, reason: str, began: float, now: float) -> None:
        course, node, since = self.course, self._node, self.course.since
        before = course.state
        if course.on_result(ok, reason, now, self._hub.rng):
            node.unproven = False
            node.failing = course.state is State.FAILING
            if node.failing:
                _log.warning("%s is down by its checks: %s", node.resource, reason)
            else:
                _log.log(logging.DEBUG if before is State.UNPROVEN else logging.INFO,
                         "%s is up by its checks, after %.0f s", node.resource, now - since)
            self._cluster.verdicts_changed()
        well = ok and course.state is State.PASSING
        if well and course.policy.uneject and node.out(now) and began >= node.ejected_at:
            self._cluster.forgive(node)
