# cython: language_level=3, annotation_typing=False
"""The loops that pickers.py times: picks as the proxies make them, from compiled code."""

from __future__ import annotations

from time import process_time

from mesh.balance.balancer import Balancer

SPREAD = 0x9E3779B97F4A7C15  # over 64 bits, as hashes are


def seconds(balancer: Balancer, first: int, n: int, keys: int, tried: list | None) -> float:
    """Return the CPU time of `n` picks with `keys` different keys in turn; `first` is the number of the first pick."""
    start = process_time()
    for i in range(n):
        balancer.pick(((first + i) % keys) * SPREAD, 1.0, tried)
    return process_time() - start


def whole_calls(balancer: Balancer, first: int, n: int, keys: int, tried: list | None) -> float:
    """As `seconds`, with the books of each call kept: it begins, ends after ten others and is reported."""
    running = [balancer.pick((first + i) * SPREAD, 1.0, tried) for i in range(10)]
    for node in running:
        node.begin()
    start = process_time()
    for i in range(n):
        node = balancer.pick(((first + i) % keys) * SPREAD, 1.0 + i * 0.001, tried)
        node.begin()
        ended = running[i % 10]
        running[i % 10] = node
        ended.end()
        balancer.on_result(ended, 0.03, True, 1.0 + i * 0.001)
    taken = process_time() - start
    for node in running:
        node.end()
    return taken
