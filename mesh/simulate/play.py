"""A scenario run from its beginning to its end under one policy.

What lives here: the order of a run, and the counts of what came after the warm-up. What this must not know: how results
are shown.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.model import Service
from mesh.simulate.report import Summary, summarise
from mesh.simulate.scenario import Scenario

# After the last request has come, how long those under way are waited for, in virtual seconds.
PATIENCE = 60.0
# How many parts a run has, after each of which `progress` is told.
PARTS = 200


def play(scenario: Scenario, policy: Service, progress: Callable[[float], None] = lambda done: None) -> Summary:
    """Run it; `progress` is told now and then which part (0..1) of it is done."""
    simulation = scenario.simulation(policy)
    result = simulation.run(scenario.warmup)
    attempts, retries, ejections = result.attempts.copy(), result.retries.copy(), result.ejections.copy()
    for server in simulation.servers.values():
        server.longest = 0
    for part in range(1, PARTS + 1):
        simulation.run(max(simulation.now, scenario.duration * part / PARTS))
        progress(part / PARTS)
    simulation.end(PATIENCE)
    result.attempts -= attempts
    result.retries -= retries
    result.ejections -= ejections
    return summarise(scenario, result, {name: server.longest for name, server in simulation.servers.items()})
