"""Rng against the published sequence of SplitMix64, its bounds, and that it is even."""

from __future__ import annotations

import pytest

from mesh.balance.rng import Rng, mix64


def test_published_sequence():
    # First outputs for the seed 1234567, as in the reference implementation's test vector.
    rng = Rng(1234567)
    assert [rng.next64() for _ in range(5)] == [6457827717110365317, 3203168211198807973, 9817491932198370423,
                                                4593380528125082431, 16408922859458223821]


def test_same_seed_same_numbers_and_no_bad_seed():
    assert [Rng(7).next64() for _ in range(3)] == [Rng(7).next64() for _ in range(3)]
    zero = Rng(0)
    assert len({zero.next64() for _ in range(1000)}) == 1000
    assert Rng(2**64 + 5).next64() == Rng(5).next64()
    assert Rng(-1).next64() == Rng(2**64 - 1).next64()


def test_next32_is_the_high_half():
    a, b = Rng(3), Rng(3)
    assert [a.next32() for _ in range(100)] == [b.next64() >> 32 for _ in range(100)]


def test_uniform_is_in_0_1_and_even():
    rng = Rng(1)
    numbers = [rng.uniform() for _ in range(20_000)]
    assert all(0.0 <= number < 1.0 for number in numbers)
    # Standard deviation of the mean: sqrt(1/12/20000) = 0.002; five of them.
    assert abs(sum(numbers) / len(numbers) - 0.5) < 0.0102


@pytest.mark.parametrize("n", [1, 2, 3, 7, 1000, 2**31 + 1, 2**32 - 1, 2**32, 2**32 + 1, 10**10, 2**63 + 1, 2**64 - 1])
def test_below_is_in_range_and_reaches_both_ends(n: int):
    rng = Rng(n)
    numbers = [rng.below(n) for _ in range(4000)]
    assert all(0 <= number < n for number in numbers)
    if n <= 7:
        assert set(numbers) == set(range(n))
    else:  # P(none of 4000 in the first or last hundredth) = 2 * 0.99^4000 < 1e-17
        assert min(numbers) < n / 100
        assert max(numbers) >= n - n / 100


def test_below_is_even():
    rng = Rng(11)
    counts = [0] * 6
    for _ in range(60_000):
        counts[rng.below(6)] += 1
    # Binomial: sigma = sqrt(60000 * 1/6 * 5/6) = 91; five of them.
    assert all(abs(count - 10_000) < 456 for count in counts)


def test_below_0_is_refused():
    with pytest.raises(ValueError, match="below"):
        Rng(1).below(0)


def test_mix64_is_a_bijection_on_a_sample():
    assert len({mix64(x) for x in range(50_000)}) == 50_000
    assert mix64(0) == 0
