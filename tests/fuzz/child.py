"""One target under libFuzzer, its codecs uncompiled and instrumented: `child.py NAME [libFuzzer's arguments]`.

Started by run.py. Nothing but `mesh` is instrumented: the oracles' coverage would only lead astray.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys

import atheris
import harness


def main() -> None:
    name = sys.argv[1]
    harness.use_plain_codecs()
    instrumented = atheris.instrument_imports(include=["mesh"])
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere), instrumented:  # it names every module
        target = harness.load(name)
    harness.check_loaded(plain=True)
    caches = harness.Caches()

    def one(data: bytes) -> None:
        caches.reset()
        target.run(data)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)

        def native(part: bytes) -> bytes:
            return bytes(atheris.Mutate(part, max(len(part) + 64, 1)))

        for _ in range(rng.choice((1, 1, 2, 4))):
            data = target.mutate(data, rng, native)
        return data[:most]

    structured = {"custom_mutator": mutate} if hasattr(target, "mutate") else {}
    atheris.Setup([sys.argv[0], *sys.argv[2:]], one, **structured)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
