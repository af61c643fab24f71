"""Inputs that fuzzing found worth keeping, and mutations of them: what each target promises holds, compiled or not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"
sys.path.insert(0, str(FUZZ))
import harness  # noqa: E402

MUTATED = 100  # of each target
UNCACHED = {"client_hello", "detect", "grpc", "huffman", "proxy_protocol", "tracecontext"}


@pytest.fixture(scope="module")
def plain() -> Iterator[subprocess.Popen[str]]:
    """The same, uncompiled, in a process of its own, which runs beside the tests."""
    replay = str(FUZZ / "replay.py")
    command = [sys.executable, replay, "--plain", "--digests", "--mutated", str(MUTATED), *harness.TARGETS]
    environment = {**os.environ, "PYTHONPATH": str(harness.ROOT)}
    with subprocess.Popen(command, cwd=harness.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:  # fmt: skip
        yield process
        process.kill()


@pytest.fixture(scope="module")
def compiled(plain: subprocess.Popen[str]) -> dict[str, list[str]]:
    """What came of each input, by target."""
    return {}


@pytest.mark.parametrize("name", harness.TARGETS)
def test_what_a_target_promises_holds_for_its_corpus(name: str, compiled: dict[str, list[str]]) -> None:
    target = harness.load(name)
    inputs = harness.read_corpus(name)
    assert inputs, f"tests/corpus/{name}.txt has none: make fuzz FUZZ_TARGETS={name} FUZZ_ARGS=--save"
    compiled[name] = []
    for data in inputs + harness.mutated(name, MUTATED):
        try:
            compiled[name].append(harness.digest(target.run(data)))
        except Exception:
            print(f"input: {harness.escape(data)}")
            raise


@pytest.mark.parametrize("name", harness.TARGETS)
def test_nothing_of_it_stays_in_memory(name: str) -> None:
    """No connection, stream or decoder outlives its run; and no memory block, where no cache goes on filling up."""
    target, inputs = harness.load(name), harness.read_corpus(name)

    def blocks() -> int:
        for data in inputs:
            target.run(data)
        gc.collect()
        return sys.getallocatedblocks()

    def alive() -> Counter[str]:
        types = Counter(map(type, gc.get_objects()))
        return Counter({kind.__name__: n for kind, n in types.items() if str(kind.__module__).startswith("mesh.wire.")})

    gc.collect()
    before = alive()
    counts = [blocks() for _ in range(4 if name in UNCACHED else 1)]
    assert (alive() - before).keys() <= {"Head", "Memo", "Pattern"}  # what the caches keep
    assert min(counts[1:], default=0) < counts[0] + 20, counts


@pytest.mark.slow
def test_uncompiled_codecs_make_the_same_of_it(plain: subprocess.Popen[str], compiled: dict[str, list[str]]) -> None:
    said, errors = plain.communicate(timeout=120)
    assert plain.returncode == 0, f"{said[-200:]}\n{errors}"
    told: dict[str, list[str]] = {}
    for line in said.splitlines():
        name, _, digest = line.split()
        told.setdefault(name, []).append(digest)
    for name, digests in compiled.items():
        inputs = harness.read_corpus(name) + harness.mutated(name, MUTATED)
        for data, ours, theirs in zip(inputs, digests, told[name], strict=True):
            assert ours == theirs, f"replay.py with and without --plain: {name} {harness.escape(data)}"


def test_every_target_says_first_what_it_promises() -> None:
    for name in harness.TARGETS:
        target = harness.load(name)
        assert len((target.__doc__ or "").splitlines()[0]) > 40
        assert len(target.seeds()) > 0


def test_the_corpora_stay_small() -> None:
    assert sum(path.stat().st_size for path in harness.CORPUS.iterdir()) < 3_000_000
    assert {path.stem for path in harness.CORPUS.iterdir()} == set(harness.TARGETS)


def test_any_octets_can_be_checked_in() -> None:
    for data in (b"", b"#", b"# a\nb\r\\x23", bytes(range(256)), "Zürich".encode()):
        line = harness.escape(data)
        assert line.isascii()
        assert "\n" not in line
        assert not line.startswith("#")
        assert line.encode().decode("unicode_escape").encode("latin-1") == data
