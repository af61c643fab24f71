from __future__ import annotations

from pathlib import Path

import pytest

from mesh.wire.limits import REASONS, Allowance, Limits, Settings


def burst(allowance: Allowance, now: float = 0.0, reads: int = 0, earned: int = 0) -> int:
    """How many it takes at once."""
    n = 0
    while allowance.take(now, reads, earned):
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
    assert burst(allowance, earned=3) == 3
    assert burst(allowance, earned=3) == 0
    assert burst(allowance, earned=1000) == 10


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    allowance = Allowance(2, 100)
    assert burst(allowance, now=5.0) == 2
    assert burst(allowance, now=5.0) == 0
    assert burst(allowance, now=4.0) == 0


def test_settings_are_what_the_documents_promise() -> None:
    settings = Settings()
    assert settings.max_concurrent_streams == 1000
    assert settings.initial_window == 256 * 1024
    assert settings.max_window == 4 * 1024 * 1024
    assert settings.connection_window == 1024 * 1024
    assert settings.max_connection_window == 16 * 1024 * 1024
    assert settings.max_header_list == 64 * 1024
    assert settings.connect_protocol is False


@pytest.mark.parametrize("name", ["pings", "early_resets", "continuations", "early_reset_age_s"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_bound_of_nothing_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be positive, got {value}"):
        Limits(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("initial_window", 0), ("initial_window", 2**31), ("connection_window", 65_534), ("max_frame", 16_383),
     ("max_frame", 65_537), ("header_table", -1), ("max_concurrent_streams", 0), ("max_held", 65_534),
     ("max_header_list", 0), ("list_tolerance", -1)],
)  # fmt: skip
def test_what_can_not_be_announced_is_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"{name} must be \d+ to \d+, got {value}"):
        Settings(**{name: value})


def test_every_reason_says_what_it_means() -> None:
    assert all(code == code.lower() and code.replace("_", "").isalpha() and text for code, text in REASONS.items())


def test_every_reason_is_in_the_documents() -> None:
    text = (Path(__file__).parents[3] / "docs" / "limits.md").read_text()
    assert [code for code in REASONS if f"`{code}`" not in text] == []
