"""The least of a target's inputs that reach what all of them reach, for the corpus that is checked in.

libFuzzer's own `-merge` would count how often an edge is passed; here it is the line arcs of `mesh`, whether an arc is
passed once, a few times or often, small inputs first. So the checked-in corpus stays a few hundred inputs that replay
fast.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import harness

Arc = tuple[CodeType, int, int, int]


class Arcs:
    """Which line follows which in the code of `mesh`, and about how often."""

    def __init__(self) -> None:
        self.counts: dict[tuple[CodeType, int, int], int] = {}
        self.ours: dict[CodeType, bool] = {}

    def call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        ours = self.ours.get(code)
        if ours is None:
            ours = self.ours[code] = f"{os.sep}mesh{os.sep}" in code.co_filename
        if not ours:
            return None
        last = code.co_firstlineno

        def line(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal last
            key = (code, last, frame.f_lineno)
            self.counts[key] = self.counts.get(key, 0) + 1
            last = frame.f_lineno
            return line

        return line

    def of(self, run: Any, data: bytes) -> set[Arc]:
        self.counts = {}
        sys.settrace(self.call)
        try:
            run(data)
        finally:
            sys.settrace(None)
        return {(*key, min(count.bit_length(), 4) // 2) for key, count in self.counts.items()}


def least(name: str) -> set[bytes]:
    """The inputs to keep, of all that lie in the working folder."""
    harness.use_plain_codecs()
    target = harness.load(name)
    caches, arcs = harness.Caches(), Arcs()
    folder = harness.WORK / name
    inputs = {path.read_bytes() for part in ("corpus", "seeds") for path in (folder / part).iterdir()}
    reached: set[Arc] = set()
    kept: set[bytes] = set()
    for data in sorted((data for data in inputs if len(data) <= target.MAX_LEN), key=lambda data: (len(data), data)):
        caches.reset()
        new = arcs.of(target.run, data) - reached
        if new:
            reached |= new
            kept.add(data)
    return kept


def save(name: str) -> tuple[int, int]:
    """Check in the least of a target's inputs; how many there are, and octets of the file."""
    said = subprocess.run(
        [sys.executable, __file__, name],
        check=True,
        capture_output=True,
        text=True,
        cwd=harness.ROOT,
        env={**os.environ, "PYTHONPATH": str(harness.ROOT)},
    ).stdout.split()
    return int(said[0]), int(said[1])


if __name__ == "__main__":
    assert Path(sys.argv[0]).name == "minimise.py"
    kept = least(sys.argv[1])
    print(len(kept), harness.write_corpus(sys.argv[1], kept))
