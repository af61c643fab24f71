"""A scenario's document, and what its events do."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from mesh.errors import InvalidResource
from mesh.model import Algorithm, BalancePolicy, Health, OutlierPolicy, Service
from mesh.simulate.scenario import scenario_from_document
from mesh.simulate.server import State

GOOD: dict[str, Any] = {
    "name": "cart", "duration": "4s", "warmup": "500ms", "seed": 7, "callers": 2, "rate": 200, "idempotent": False,
    "keys": 10,
    "endpoints": [
        {"name": "fast", "count": 2, "service_time": "exponential:10ms", "workers": 8, "weight": 3},
        {"name": "slow", "service_time": ["10ms", 0.02], "locality": {"zone": "b"}, "priority": 1},
    ],
    "events": [{"at": "1s", "endpoint": "fast-0", "state": "dead"}, {"at": 2, "rate": 400}],
}
POLICY = Service("any", balance=BalancePolicy(Algorithm.ROUND_ROBIN), outlier=OutlierPolicy(consecutive_failures=0))


def document(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def test_a_document_is_read() -> None:
    scenario = scenario_from_document(GOOD)
    assert (scenario.name, scenario.duration, scenario.warmup, scenario.seed) == ("cart", 4.0, 0.5, 7)
    assert [backend.endpoint.name for backend in scenario.backends] == ["fast-0", "fast-1", "slow"]
    assert [backend.workers for backend in scenario.backends] == [8, 8, 1]
    assert scenario.backends[0].endpoint.weight == 3
    assert (scenario.backends[2].endpoint.locality.zone, scenario.backends[2].endpoint.priority) == ("b", 1)
    assert len({backend.endpoint.port for backend in scenario.backends}) == 3
    assert scenario.events[0].state is State.DEAD
    assert scenario.expected() == 200 * 2 + 400 * 2
    assert scenario.simulation(POLICY).method == b"POST"
    assert scenario.simulation(POLICY).service.name == "cart"


@pytest.mark.parametrize(("changes", "field"), [
    ({"endpoints": None}, "endpoints"), ({"endpoints": []}, "endpoints"), ({"endpoints": {}}, "endpoints"),
    ({"endpoints": [{"name": "a"}]}, "endpoints[0].service_time"),
    ({"endpoints": [{"service_time": "1ms"}]}, "endpoints[0].name"),
    ({"endpoints": [{"name": "a", "service_time": "1ms", "count": 0.5}]}, "endpoints[0].count"),
    ({"endpoints": [{"name": "a", "service_time": "1ms", "count": -1}]}, "endpoints[0].count"),
    ({"endpoints": [{"name": "a", "service_time": "1ms", "workers": -1}]}, "endpoints[0].workers"),
    ({"endpoints": [{"name": "a", "service_time": "1ms", "wieght": 1}]}, "endpoints[0].wieght"),
    ({"endpoints": [{"name": "a", "service_time": "1ms", "weight": -1}]}, "endpoints[0].weight"),
    ({"endpoints": [{"name": "A!", "service_time": "1ms"}]}, "endpoints[0].name"),
    ({"endpoints": [{"name": "a", "service_time": "1 minute"}]}, "endpoints[0].service_time"),
    ({"endpoints": [{"name": "a", "service_time": "1ms"}, {"name": "a", "service_time": "1ms"}]}, "endpoints[1].name"),
    ({"duration": "0s"}, "duration"), ({"warmup": "5s"}, "warmup"), ({"callers": 0}, "callers"), ({"rate": 0}, "rate"),
    ({"rate": "many"}, "rate"), ({"seed": True}, "seed"), ({"idempotent": "yes"}, "idempotent"),
    ({"name": "A b"}, "name"),
    ({"rate": 10_000_000, "duration": "1h"}, "rate"), ({"keys": 0}, "keys"), ({"dutarion": "1s"}, "dutarion"),
    ({"events": [{"endpoint": "slow", "state": "dead"}]}, "events[0].at"),
    ({"events": [{"at": 1}]}, "events[0]"), ({"events": [{"at": 1, "state": "dead"}]}, "events[0].endpoint"),
    ({"events": [{"at": 1, "endpoint": "slwo", "state": "dead"}]}, "events[0].endpoint"),
    ({"events": [{"at": 1, "endpoint": "slow", "state": "sick"}]}, "events[0].state"),
    ({"events": [{"at": 1, "endpoint": "slow", "health": "sick"}]}, "events[0].health"),
    ({"events": [{"at": 1, "endpoint": "slow", "slowdown": 0}]}, "events[0].slowdown"),
])
def test_what_is_wrong_is_refused_with_its_path(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidResource) as raised:
        scenario_from_document(document(**changes))
    assert raised.value.field == field


def test_no_mapping_is_no_scenario() -> None:
    with pytest.raises(InvalidResource, match="expected a mapping"):
        scenario_from_document([GOOD])


def test_a_near_miss_is_suggested() -> None:
    with pytest.raises(InvalidResource, match="did you mean slow"):
        scenario_from_document(document(events=[{"at": 1, "endpoint": "slwo", "state": "dead"}]))


def test_events_happen_at_their_time() -> None:
    made = scenario_from_document(document(
        idempotent=True, events=[
            {"at": "1s", "endpoint": "fast-0", "state": "dead"}, {"at": "2s", "endpoint": "fast-0", "state": "up"},
            {"at": "1s", "endpoint": "fast-1", "slowdown": 4}, {"at": "1s", "endpoint": "fast-1", "weight": 9},
            {"at": "2s", "endpoint": "fast-1", "health": "draining"},
            {"at": "3s", "endpoint": "fast-0", "listed": False}, {"at": "3s", "rate": 1}])).simulation(POLICY)
    made.run(0.99)
    assert made.servers["fast-0"].alive
    made.run(1.01)
    assert (made.servers["fast-0"].alive, made.servers["fast-1"].slowdown) == (False, 4.0)
    nodes = made.callers[0].nodes.by_name
    assert nodes["fast-1"].full_weight == 9
    made.run(2.5)
    assert made.servers["fast-0"].alive
    assert nodes["fast-1"].endpoint.health is Health.DRAINING
    assert nodes["fast-1"].full_weight == 9
    made.run(3.01)
    assert set(made.callers[1].nodes.by_name) == {"fast-1", "slow"}
    before = len(made.result.outcomes)
    made.run(4.0)
    assert len(made.result.outcomes) - before < 20
