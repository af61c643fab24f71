"""What the fuzzer, the replay in pytest and the sanitized run share: targets, packed corpora, uncompiled codecs.

A target is a module `fuzz_<name>.py` whose docstring says on its first line what holds for every input. It has
- `run(data)`: AssertionError, or any exception that the codec does not declare, is a finding. What it returns is a
  transcript of plain values, equal for equal input whether compiled or not, with caches cold or warm;
- `seeds()`: inputs to start from; `TOKENS`: a dictionary for the byte-level mutations; `MAX_LEN`: octets of an input;
- `mutate(data, rng, native)` if the target has a structure: one mutation, `native(data)` being libFuzzer's own.

A corpus is one text file, an input per line, printable octets as they are and the others escaped. First stand, each
below a comment that says what it was, the inputs that once found something: they are kept by hand.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORPUS = ROOT / "tests" / "corpus"
WORK = ROOT / "build" / "fuzz"
FOUND = "# What was found once; kept by hand.\n"
REACHED = "# What reaches the most; written by run.py --save.\n"
TARGETS = sorted(path.stem.removeprefix("fuzz_") for path in HERE.glob("fuzz_*.py"))


class PlainFinder:
    """Finds the .py files of `mesh`, compiled modules beside them or not."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> object:
        if not name.startswith("mesh.") or path is None:
            return None
        loader = (importlib.machinery.SourceFileLoader, importlib.machinery.SOURCE_SUFFIXES)
        return importlib.machinery.FileFinder(path[0], loader).find_spec(name)


def use_plain_codecs() -> None:
    """To be called before the first import of `mesh`: from here on its modules are loaded uncompiled."""
    at = next(i for i, finder in enumerate(sys.meta_path) if finder is importlib.machinery.PathFinder)
    sys.meta_path.insert(at, PlainFinder)  # type: ignore[arg-type]


def check_loaded(plain: bool) -> None:
    """All that is loaded of the compiled modules of `mesh` is uncompiled, or none of it is."""
    for name, module in sys.modules.items():
        file = Path(str(module.__file__)) if name.startswith("mesh.") else None
        if file is not None and (file.parent / f"{name.rpartition('.')[2]}.pxd").exists():
            assert (file.suffix == ".py") == plain, file


def load(name: str) -> Any:
    """The module of a target."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(f"fuzz_{name}")


class Caches:
    """The codecs' process-wide caches as they were after the import: a finding must not depend on earlier inputs.

    Only an uncompiled run can reach them: they are C variables otherwise.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[Any, Any]] = []
        for name, module in list(sys.modules.items()):
            if name.startswith("mesh.wire."):
                self.kept += [
                    (value, value.copy())
                    for key, value in vars(module).items()
                    if key.isupper() and isinstance(value, list | bytearray | dict)
                ]

    def reset(self) -> None:
        for value, first in self.kept:
            if isinstance(value, dict):
                value.clear()
                value.update(first)
            else:
                value[:] = first


def digest(transcript: object) -> str:
    return hashlib.sha256(repr(transcript).encode()).hexdigest()[:16]


def read_corpus(name: str) -> list[bytes]:
    """The checked-in inputs of a target."""
    file = CORPUS / f"{name}.txt"
    if not file.exists():
        return []
    lines = file.read_text("ascii").split("\n")[:-1]
    return [
        line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines if not line.startswith("#")
    ]


def mutated(name: str, count: int) -> list[bytes]:
    """Inputs that nobody has seen, made of the corpus as the fuzzer would, but not led; always the same."""
    target, rng = load(name), random.Random(name)
    pool = [*read_corpus(name), *target.seeds()]

    def native(data: bytes) -> bytes:
        octets = bytearray(data)
        for _ in range(rng.choice((1, 1, 3))):
            at = rng.randrange(len(octets) + 1)
            if rng.random() < 0.3 or at == len(octets):
                octets[at:at] = rng.choice((b"\0", rng.randbytes(1), *target.TOKENS))
            elif rng.random() < 0.2:
                del octets[at : at + rng.choice((1, 4))]
            else:
                octets[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        return bytes(octets)

    inputs = []
    for _ in range(count):
        data = rng.choice(pool)
        for _ in range(rng.choice((1, 2, 5))):
            data = target.mutate(data, rng, native) if hasattr(target, "mutate") else native(data)
        inputs.append(data[: target.MAX_LEN])
    return inputs


def write_corpus(name: str, inputs: set[bytes]) -> int:
    """Check in these inputs, sorted, behind what stands before REACHED; how many octets the file has."""
    CORPUS.mkdir(exist_ok=True)
    file = CORPUS / f"{name}.txt"
    before = file.read_text("ascii").partition(REACHED)[0] if file.exists() else FOUND
    known = set(before.split("\n"))
    lines = sorted(line for line in map(escape, inputs) if line not in known)
    text = before + REACHED + "".join(f"{line}\n" for line in lines)
    file.write_text(text, "ascii")
    return len(text)


def escape(data: bytes) -> str:
    """One line; `#` is escaped where it would begin a comment."""
    line = data.decode("latin-1").encode("unicode_escape").decode("ascii")
    return "\\x23" + line[1:] if line.startswith("#") else line
