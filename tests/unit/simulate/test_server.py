"""Servers: their workers, and recorded ones that answer as they did at the time."""

from __future__ import annotations

from mesh.balance import Rng
from mesh.errors import CONNECT_FAILED
from mesh.simulate.server import AROUND, Answer, RecordedServer, Sample, Server, State
from mesh.simulate.times import constant


def test_a_server_is_free_while_a_worker_is() -> None:
    server = Server(constant(0.01), 2)
    assert server.free()
    server.busy = 2
    assert not server.free()
    server.workers = 0
    assert server.free()


def test_slowdown_multiplies_the_time() -> None:
    server = Server(constant(0.01))
    server.slowdown = 10.0
    assert server.answer(Rng(1), 5.0) == Answer(0.1)


def test_dead_or_alive() -> None:
    server = Server(constant(0.01))
    assert server.alive
    server.alive = False
    assert server.state is State.DEAD
    server.alive = True
    assert server.state is State.UP


def test_a_recorded_server_answers_as_it_did_at_that_time() -> None:
    """Fast and well for the first ten seconds, then refusing: a replay follows."""
    early = [Sample(at / 10, Answer(0.001 + at / 1e6)) for at in range(100)]
    late = [Sample(10 + at / 10, Answer(0.5, CONNECT_FAILED)) for at in range(100)]
    server = RecordedServer([*early, *late])
    rng = Rng(1)
    near = early[50 - AROUND // 2:50 + AROUND // 2]
    assert {server.answer(rng, 5.0) for _ in range(500)} == {sample.answer for sample in near}
    assert {server.answer(rng, now) for now in (15.0, 19.9, 500.0) for _ in range(50)} == {Answer(0.5, CONNECT_FAILED)}
    assert all(server.answer(rng, 0.0).seconds < 0.002 for _ in range(50))
    assert server.workers == 0
    server.slowdown = 2.0
    assert server.answer(rng, 15.0) == Answer(1.0, CONNECT_FAILED)


def test_fewer_answers_than_are_drawn_from() -> None:
    server = RecordedServer([Sample(1.0, Answer(0.1)), Sample(2.0, Answer(0.2))])
    assert {server.answer(Rng(seed), 1.5).seconds for seed in range(20)} == {0.1, 0.2}
