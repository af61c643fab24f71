"""What is done to the endpoints during a soak: killed, stopped, paused, weighted; the control plane killed.

What lives here: the events, seeded. What this must not know: calls. The first instance of every service is left in
peace, one instance of a service is away at a time, and everybody is back at the end.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from e2e_mesh import Mesh, Replica
from soak_figures import Event

AWAY = (1.0, 4.0)  # seconds
PAUSED = 1.5


class Faults(threading.Thread):
    """Injects an event every `interval` seconds on average until `stop`; `events` tells of all."""

    def __init__(self, mesh: Mesh, services: Mapping[str, Sequence[Replica]], stop: threading.Event, seed: int,
                 interval: float) -> None:
        super().__init__(daemon=True)
        self.mesh = mesh
        self.services = services
        self.stop = stop
        self.rng = random.Random(seed)
        self.interval = interval
        self.events: list[Event] = []
        self.problem = ""

    def run(self) -> None:
        actions: list[tuple[int, Callable[[str, Replica], None]]] = [
            (3, self.kill_app), (3, self.kill_both), (3, self.stop_gracefully), (2, self.pause_app), (3, self.weigh),
            (1, self.kill_control_plane)]
        while not self.stop.wait(self.rng.uniform(0.5, 1.5) * self.interval):
            service = self.rng.choice(list(self.services))
            replica = self.rng.choice(self.services[service][1:])
            action = self.rng.choices([action for _, action in actions], [weight for weight, _ in actions])[0]
            try:
                action(service, replica)
            except (OSError, TimeoutError, AssertionError) as error:
                self.problem = f"{action.__name__} {replica.name}: {error}"
                return

    def note(self, what: str, service: str, excuses: bool) -> None:
        self.events.append(Event(time.monotonic(), what, service, excuses))

    def away(self) -> None:
        time.sleep(self.rng.uniform(*AWAY))

    def kill_app(self, service: str, replica: Replica) -> None:
        self.note("app killed", service, True)
        replica.app.kill()
        self.away()
        replica.app.start()

    def kill_both(self, service: str, replica: Replica) -> None:
        self.note("app and sidecar killed", service, True)
        replica.kill()
        self.away()
        replica.app.start()
        replica.sidecar.start()

    def stop_gracefully(self, service: str, replica: Replica) -> None:
        """As a rolling restart does: nothing may fail of it."""
        self.note("stopped gracefully", service, False)
        replica.sidecar.stop()
        replica.app.stop()
        self.away()
        replica.app.start()
        replica.sidecar.start()

    def pause_app(self, service: str, replica: Replica) -> None:
        self.note("app paused", service, False)
        replica.app.signal(signal.SIGSTOP)
        time.sleep(PAUSED)
        replica.app.signal(signal.SIGCONT)

    def weigh(self, service: str, replica: Replica) -> None:
        self.note("weights changed", service, False)
        self.mesh.set_weights(service, **{replica.name.replace("-", "_"): self.rng.choice((0, 1, 5))})

    def kill_control_plane(self, service: str, replica: Replica) -> None:
        self.note("control plane killed", service, False)
        self.mesh.control_plane.kill()
        self.away()
        self.mesh.control_plane.start()
