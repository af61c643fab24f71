# cython: language_level=3, wraparound=False, initializedcheck=False, annotation_typing=False
"""The mesh's own random numbers: seeded, so that a decision can be repeated in a test, an explanation or a replay.

What lives here: one generator (SplitMix64) and its mixing function. What this must not know: the clock, the operating
system's randomness, cryptography (nothing here is secret). The shell that owns a generator seeds it.
"""

from __future__ import annotations

# C globals in the compiled module (rng.pxd): literals this large would be Python objects amid the arithmetic.
MASK = 0xFFFFFFFFFFFFFFFF
LOW32 = 0xFFFFFFFF
GAMMA = 0x9E3779B97F4A7C15  # 2^64 / golden ratio
MIX1 = 0xBF58476D1CE4E5B9
MIX2 = 0x94D049BB133111EB


def mix64(x: int) -> int:
    """Return a 64-bit value in which every bit of `x` (0..2^64-1) has had its say.

    The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014; Stafford's
    variant 13). A bijection, the same in every process.
    """
    x = ((x ^ (x >> 30)) * MIX1) & MASK
    x = ((x ^ (x >> 27)) * MIX2) & MASK
    return x ^ (x >> 31)


class Rng:
    """SplitMix64: 64 bits of state, period 2^64, any seed is good (also 0). About 2 ns a number when compiled."""

    def __init__(self, seed: int) -> None:
        self.state = seed & 0xFFFFFFFFFFFFFFFF

    def next64(self) -> int:
        """Return a number uniform in 0..2^64-1."""
        self.state = (self.state + GAMMA) & MASK
        return mix64(self.state)

    def next32(self) -> int:
        """Return a number uniform in 0..2^32-1."""
        return self.next64() >> 32

    def uniform(self) -> float:
        """Return a number uniform in [0, 1): a multiple of 2^-53."""
        return (self.next64() >> 11) * (1.0 / 9007199254740992.0)

    def below(self, n: int) -> int:
        """Return a number uniform in 0..n-1, without bias. ValueError where `n` is 0.

        Up to 2^32 by Lemire's multiplication (Fast Random Integer Generation in an Interval, 2019), which almost never
        divides; sums of many large weights exceed that and take a remainder.
        """
        if n == 0:
            raise ValueError("below(0): there is no such number")
        if n <= LOW32:
            product = (self.next64() >> 32) * n
            low = product & LOW32
            if low < n:
                uneven = (LOW32 - n + 1) % n
                while low < uneven:
                    product = (self.next64() >> 32) * n
                    low = product & LOW32
            return product >> 32
        even = MASK - MASK % n
        product = self.next64()
        while product >= even:
            product = self.next64()
        return product % n
