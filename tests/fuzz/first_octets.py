"""What holds for every codec that judges how a connection begins: its verdict is a function of the octets alone."""

from __future__ import annotations

from collections.abc import Callable


def settled(judge: Callable[[bytes], object], octets: bytes, undecided: object) -> tuple[object, int]:
    """The verdict on `octets` and after how many it stood: undecided before, the same ever after.

    Every length is tried where that is quick, else those around the one where it changes.
    """
    final = judge(octets)
    low, high = 0, len(octets)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if judge(octets[:middle]) == undecided else (low, middle)
    tried = range(len(octets) + 1) if len(octets) < 250 else {*range(0, len(octets), 1500), *range(low - 1, low + 3)}
    for n in tried:
        if 0 <= n <= len(octets):
            verdict = judge(octets[:n])
            assert verdict == (final if n >= low else undecided), f"{verdict} after {n} octets, {final} after {low}"
    return final, low
