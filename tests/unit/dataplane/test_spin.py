"""When it pays to wait awake: always while it does, seldom after it did not."""

from __future__ import annotations

from mesh.dataplane.spin import Spin


def turns_between(spin: Spin) -> int:
    """How many turns go to sleep at once before the next that asks on."""
    turns = 0
    while not spin.wanted():
        turns += 1
    return turns


def test_it_goes_on_while_something_comes() -> None:
    spin = Spin(0.000_05)
    for _ in range(100):
        assert turns_between(spin) == 0
        spin.ended(True)


def test_waiting_in_vain_becomes_rare() -> None:
    spin = Spin(0.000_05)
    waits = []
    for _ in range(9):
        waits.append(turns_between(spin))
        spin.ended(False)
    assert waits == [0, 1, 3, 7, 15, 31, 63, 63, 63]


def test_one_find_ends_that() -> None:
    spin = Spin(0.000_05)
    for _ in range(8):
        turns_between(spin)
        spin.ended(False)
    assert turns_between(spin) == 63
    spin.ended(True)
    assert turns_between(spin) == 0
    assert (spin.misses, spin.skip) == (0, 0)


def test_it_is_off_without_a_window() -> None:
    spin = Spin(0.0)
    assert not any(spin.wanted() for _ in range(100))
    spin.window = 0.001
    assert spin.wanted()
