"""The distributions have the means and percentiles they are named by, and mistakes are told with their place."""

from __future__ import annotations

import pytest

from mesh.balance import Rng
from mesh.errors import InvalidResource
from mesh.simulate.times import constant, exponential, listed, lognormal, parse_service_time

N = 20_000


def drawn(text: object) -> list[float]:
    rng, times = Rng(1), parse_service_time(text, "here")
    return sorted(times(rng) for _ in range(N))


def test_a_constant_is_constant() -> None:
    assert set(drawn("constant:10ms")) == set(drawn("10ms")) == set(drawn(0.01)) == {0.01}
    assert constant(0.25).mean == 0.25


def test_exponential_times_have_their_mean_and_tail() -> None:
    """Standard error of the mean: 1/sqrt(20,000) = 0.7 %; P(t > 4.6 means) = 1 %."""
    times = drawn("exponential:10ms")
    assert sum(times) / N == pytest.approx(0.01, rel=0.035)
    assert times[int(0.99 * N)] == pytest.approx(0.04605, rel=0.1)
    assert exponential(0.01).mean == 0.01


def test_lognormal_times_have_their_median_and_99th_percentile() -> None:
    times = drawn("lognormal:5ms:80ms")
    assert times[N // 2] == pytest.approx(0.005, rel=0.05)
    assert times[int(0.99 * N)] == pytest.approx(0.08, rel=0.15)
    assert sum(times) / N == pytest.approx(lognormal(0.005, 0.08).mean, rel=0.1)
    assert set(drawn("lognormal:5ms:5ms")) == {0.005}


def test_each_of_a_list_is_drawn_as_often() -> None:
    times = drawn(["1ms", 0.003])
    assert times.count(0.001) == pytest.approx(N / 2, rel=0.05)
    assert set(times) == {0.001, 0.003}
    assert listed([0.001, 0.003]).mean == 0.002


@pytest.mark.parametrize("text", ["", "10 ms", "exponential", "exponential:1ms:2ms", "lognormal:1ms", "gamma:1ms", [],
                                  [{}], None, True, "-1ms", "0s", "2h", "lognormal:2ms:1ms", {"constant": 1}])
def test_what_is_no_service_time_is_refused_with_its_place(text: object) -> None:
    with pytest.raises(InvalidResource, match=r"^endpoints\[0\].service_time"):
        parse_service_time(text, "endpoints[0].service_time")
