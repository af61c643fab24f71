from __future__ import annotations

from mesh.wire.limits import Allowance, Settings


def burst(allowance: Allowance, now: float = 0.0, reads: int = 0) -> int:
    """How many it takes at once."""
    n = 0
    while allowance.take(now, reads):
        n += 1
    return n


def test_a_burst_then_the_rate() -> None:
    allowance = Allowance(10, 5)
    assert burst(allowance) == 10
    assert burst(allowance, now=1.0) == 5
    assert burst(allowance, now=1.1) == 0
    assert burst(allowance, now=1.25) == 1
    assert burst(allowance, now=1000.0) == 10


def test_reads_bring_nothing_where_there_is_a_clock() -> None:
    allowance = Allowance(10, 5)
    assert burst(allowance, now=1.0) == 10
    assert burst(allowance, now=1.0, reads=1000) == 0


def test_every_read_brings_one_where_there_is_no_clock() -> None:
    allowance = Allowance(10, 5)
    assert burst(allowance) == 10
    for read in range(1, 1000):
        assert burst(allowance, reads=read) == 1
    assert burst(allowance, reads=10_000) == 10


def test_work_earns_more_up_to_the_bound() -> None:
    allowance = Allowance(10, 0)
    burst(allowance)
    allowance.give(3)
    assert burst(allowance) == 3
    allowance.give(1000)
    assert burst(allowance) == 10


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    allowance = Allowance(2, 100)
    assert burst(allowance, now=5.0) == 2
    assert burst(allowance, now=5.0) == 0
    assert burst(allowance, now=4.0) == 0


def test_settings_are_what_the_documents_promise() -> None:
    settings = Settings()
    assert settings.max_concurrent_streams == 1000
    assert settings.initial_window == 256 * 1024
    assert settings.connection_window == 4 * 1024 * 1024
    assert settings.max_header_list == 64 * 1024
    assert settings.connect_protocol is False
