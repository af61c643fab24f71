"""Which sidecar sees which endpoint as down: what they report, for as long as they repeat it.

What lives here: the table and its bounds. What this must not know: grpc, protobuf, clocks (`now` is handed in, in any
seconds that only grow). Nothing of it is kept on disk: after a restart sidecars tell it anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from mesh.errors import InvalidResource
from mesh.model import Verdict, VerdictKind

TIME_TO_LIVE = 30.0  # seconds; sidecars say every 10 s that their verdicts stand
MAX_VERDICTS = 1_000  # of one sidecar
MAX_SIDECARS = 20_000  # that have any; who was silent longest goes first

Key = tuple[str, VerdictKind]


class Verdicts:
    """By sidecar, `<service>/<instance>` or `<service>/<instance>/<worker>`."""

    def __init__(self) -> None:
        self._by_sidecar: OrderedDict[str, tuple[float, dict[Key, Verdict]]] = OrderedDict()  # last heard last

    def report(self, sidecar: str, complete: bool, down: Iterable[Verdict], up: Iterable[Key], now: float) -> bool:
        """Take a report. False: it is news of a sidecar of which nothing is known, and nothing was taken.

        Raises InvalidResource where it would have too many; then nothing has changed.
        """
        self.expire(now)
        known = self._by_sidecar.get(sidecar)
        if known is None and not complete:
            return False
        held: dict[Key, Verdict] = {} if complete or known is None else dict(known[1])
        for key in up:
            held.pop(key, None)
        for verdict in down:
            held[verdict.endpoint, verdict.kind] = verdict
        if len(held) > MAX_VERDICTS:
            raise InvalidResource("down", f"{len(held):,} verdicts of one sidecar, at most {MAX_VERDICTS:,}")
        self._by_sidecar.pop(sidecar, None)
        if held:
            self._by_sidecar[sidecar] = now, held
            if len(self._by_sidecar) > MAX_SIDECARS:
                self._by_sidecar.popitem(last=False)
        return True

    def list(self, service: str, now: float) -> list[tuple[str, Verdict]]:
        """Return who sees whom as down, in `service` or everywhere (""): by endpoint, then by sidecar."""
        self.expire(now)
        prefix = f"{service}/" if service else ""
        found = [(sidecar, verdict) for sidecar, (_, held) in self._by_sidecar.items() for verdict in held.values()
                 if verdict.endpoint.startswith(prefix)]
        return sorted(found, key=lambda seen: (seen[1].endpoint, seen[0], seen[1].kind.value))

    def expire(self, now: float) -> None:
        """Forget the sidecars that have been silent for too long."""
        while self._by_sidecar and next(iter(self._by_sidecar.values()))[0] <= now - TIME_TO_LIVE:
            self._by_sidecar.popitem(last=False)
