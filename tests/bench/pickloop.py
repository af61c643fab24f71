# cython: language_level=3, annotation_typing=False
"""The loop that pickers.py times: picks as the proxies make them, from compiled code."""

from __future__ import annotations

from time import process_time

from mesh.balance.picker import Picker

SPREAD = 0x9E3779B97F4A7C15  # over 64 bits, as hashes are


def seconds(picker: Picker, first: int, n: int, keys: int, tried: list | None) -> float:
    """Return the CPU time of `n` picks with `keys` different keys in turn; `first` is the number of the first pick."""
    start = process_time()
    for i in range(n):
        picker.pick(((first + i) % keys) * SPREAD, 1.0, tried)
    return process_time() - start
