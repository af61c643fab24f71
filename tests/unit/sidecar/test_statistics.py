"""What several workers say, as one."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.sidecar.statistics import total


def worker(requests: int, **endpoints: Mapping[str, object]) -> dict[str, object]:
    return {"id": "web/web-0", "spans": None, "inbound": {"http": {"requests": requests, "active": 1}},
            "clusters": [{"service": "cart", "known": True, "algorithm": "power_of_two", "budget": 10.5,
                          "endpoints": endpoints}]}


def test_counts_are_added_and_the_rest_is_said_once() -> None:
    node = {"in_flight": 2, "weight": 7, "eligible": True}
    ejected = {"in_flight": 1, "weight": 7, "eligible": False}
    assert total([worker(3, a=node), worker(4, a=ejected, b=node)]) == {
        "id": "web/web-0", "spans": None, "inbound": {"http": {"requests": 7, "active": 2}},
        "clusters": [{"service": "cart", "known": True, "algorithm": "power_of_two", "budget": 21.0, "endpoints": {
            "a": {"in_flight": 3, "weight": 7, "eligible": False}, "b": node}}]}


def test_services_are_matched_by_name_and_others_by_place() -> None:
    assert total([[{"service": "a", "n": 1}, {"service": None, "n": 2}], [{"service": "b", "n": 3}, {"service": None,
                                                                                                  "n": 4}]]) == [
        {"service": "a", "n": 1}, {"service": None, "n": 6}, {"service": "b", "n": 3}]
    assert total([[1, 2], [3]]) == [4, 2]


def test_nothing_and_one() -> None:
    assert total([]) is None
    assert total([None, None]) is None
    assert total([None, {"a": 1}]) == {"a": 1}
    assert total([worker(1)]) == worker(1)


def test_the_longest_is_that_of_all() -> None:
    assert total([{"picks": 1, "longest_pick": 0.5}, {"picks": 2, "longest_pick": 0.25}]) == {
        "picks": 3, "longest_pick": 0.5}


def test_a_latency_is_not_added_up() -> None:
    assert total([{"adaptive_limit": 4, "least_latency": 0.5}, {"adaptive_limit": 5, "least_latency": 0.25}]) == {
        "adaptive_limit": 9, "least_latency": 0.5}
