"""The pure parts of the soak, and its HTTP/1.1 app against its caller."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

import pytest
import soak_http
from soak_figures import Event, Failure, explanation, left_over, lives, slope, sort_failures

KILLED = Event(100.0, "app killed", "stock", True)
STOPPED = Event(50.0, "stopped gracefully", "stock", False)


def failure(started: float, ended: float, service: str = "stock", protocol: str = "tcp",
            corrupt: bool = False) -> Failure:
    return Failure("swap", service, protocol, started, ended, "reset", corrupt)


@pytest.mark.parametrize(("found", "by"), [
    (failure(99.0, 100.1), "app killed"), (failure(102.9, 103.5), "app killed"),
    (failure(98.0, 99.5), ""), (failure(103.1, 104.0), ""),
    (failure(101.5, 102.0, protocol="grpc"), ""), (failure(100.5, 101.0, protocol="grpc"), "app killed"),
    (failure(99.0, 101.0, service="echo"), ""), (failure(50.0, 50.1), ""),
    (failure(99.0, 100.1, corrupt=True), "")])
def test_an_event_explains_the_calls_it_met(found: Failure, by: str) -> None:
    assert explanation(found, [STOPPED, KILLED]) == by


def test_failures_are_counted_by_reason_and_explanation() -> None:
    counts = sort_failures([failure(99.0, 100.1), failure(99.5, 100.2), failure(10.0, 11.0)], [KILLED])
    assert counts == {("swap", "reset", "app killed"): 2, ("swap", "reset", ""): 1}


def test_the_slope_is_that_of_least_squares() -> None:
    assert slope([(0, 5), (1, 8), (2, 11)]) == pytest.approx(3)
    assert slope([(0, 1), (1, 3), (2, 2), (3, 4)]) == pytest.approx(0.8)
    assert slope([(0, 1), (1, 9)]) == 0.0
    assert slope([(4, 1), (4, 2), (4, 3)]) == 0.0


def test_only_long_lives_count_and_warming_up_does_not() -> None:
    warm = [(float(at), 1000.0 + at * 100) for at in range(60)]
    flat = [(float(at), 7000.0 + at) for at in range(60, 360)]
    found = lives({("front", 1): warm + flat, ("echo-1", 2): flat[:100], ("echo-2", 3): []}, 60.0, 180.0)
    assert [life.name for life in found] == ["front"]
    assert found[0].kib_per_minute == pytest.approx(60)
    assert found[0].later == pytest.approx(60)
    assert (found[0].first_kib, found[0].last_kib) == (7060.0, 7359.0)
    level = [(float(at), 7200.0) for at in range(200, 360)]
    (found,) = lives({("front", 1): warm + flat[:140] + level}, 60.0, 180.0)
    assert found.kib_per_minute > 20
    assert found.later == pytest.approx(0)


def test_only_what_grew_is_left_over() -> None:
    assert left_over({"fds": 10, "timers": 3}, {"fds": 12, "timers": 2, "tcp": 1}) == {"fds": (10, 12), "tcp": (0, 1)}


@pytest.fixture
def caller() -> Iterator[soak_http.Caller]:
    server = soak_http.Server(("127.0.0.1", 0), soak_http.Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    made = soak_http.Caller(f"127.0.0.1:{server.server_address[1]}", 5.0)
    yield made
    made.close()
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_the_http_app_answers_what_its_caller_expects(caller: soak_http.Caller) -> None:
    rng = random.Random(3)
    for method in (caller.get, caller.head, caller.post):
        for _ in range(8):
            assert method(rng) == ""


def test_a_wrong_answer_is_noticed(caller: soak_http.Caller) -> None:
    caller.connection.request("GET", "/100")
    assert caller.finish(size=99)
    caller.connection.request("POST", "/", b"one")
    assert caller.finish(b"other") == "the digest differs"
