"""What a row of check results says of one endpoint, and when the next check is due.

What lives here: Course, the state of the active checks of one endpoint. What this must not know: how a check is made,
sockets, the clock.
"""

from __future__ import annotations

from enum import Enum

from mesh.balance.rng import Rng
from mesh.model.health import HealthPolicy


class State(Enum):
    """`UNPROVEN`: no check has ended yet."""

    UNPROVEN = "unproven"
    PASSING = "passing"
    FAILING = "failing"


class Course:
    """The first result is the first verdict; from then on `rise` successes or `fall` failures in a row change it, as
    with HAProxy.

    `due`: instant of the next check. While the last result contradicts the verdict the next follows after
    `fast_interval` (HAProxy's fastinter). The first interval is cut short at random, so that endpoints that came
    together are not checked together for ever; each is then longer or shorter by up to `jitter`. `since`: when the
    state began; `reason`: of the last failure; `verdict_reason`: of the one that made it FAILING.
    """

    def __init__(self, policy: HealthPolicy, now: float) -> None:
        self.policy = policy
        self.state = State.UNPROVEN
        self.since = now
        self.due = now
        self.reason = ""
        self.verdict_reason = ""
        self._against = 0

    def on_result(self, ok: bool, reason: str, now: float, rng: Rng) -> bool:
        """Take the result of the check that was due; return whether that changed the state."""
        first = self.state is State.UNPROVEN
        if not ok:
            self.reason = reason
        result = State.PASSING if ok else State.FAILING
        changed = False
        if result is self.state:
            self._against = 0
        else:
            self._against += 1
            if first or self._against >= (self.policy.rise if ok else self.policy.fall):
                self.state = result
                self.since = now
                self.verdict_reason = reason
                self._against = 0
                changed = True
        wait = self.policy.between if self._against else self.policy.interval
        if first:
            wait *= rng.uniform()
        self.due = now + wait * (1.0 + self.policy.jitter * (2.0 * rng.uniform() - 1.0))
        return changed

    def adopt(self, policy: HealthPolicy, now: float) -> None:
        """Go on by another policy. Where something else is checked from now on it is due at once; the verdict stands
        until that has an end, and then goes by this one result."""
        other = policy.check != self.policy.check or policy.port != self.policy.port
        self.policy = policy
        if other:
            self.due = now
            self._against = max(policy.rise, policy.fall)
        else:
            self.due = min(self.due, now + policy.interval)
