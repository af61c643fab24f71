"""The compiled modules built with AddressSanitizer and UndefinedBehaviorSanitizer; tests and corpora run on them.

`sanitize.py [PYTEST ARGUMENTS]`; without arguments the unit tests of everything that is compiled. `--build`: no tests.
The tree is copied to build/sanitized and built there, so that the modules in place stay what they are. The status is
not 0 for whatever the sanitizers or the tests say.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from subprocess import PIPE, STDOUT

import harness

ROOT = harness.ROOT
TREE = ROOT / "build" / "sanitized"
TESTS = (("wire",), ("dataplane", "balance", "resilience", "telemetry"))  # at the same time
CHECKS = "-fsanitize=address,undefined"
# CPython is built so that signed overflow wraps; our code has to be right without. Asserts of Python's own macros are
# on (is this a list?), and freelists off: an object that is taken from one is no use after free to anybody.
FLAGS = (
    f"-O0 -g1 -fno-omit-frame-pointer {CHECKS} -fno-sanitize-recover=all -fno-wrapv -UNDEBUG -DCYTHON_USE_FREELISTS=0"
)
# CPython keeps what it made until the process ends: its leaks are no news. For ours see test_corpus.py.
ASAN = "detect_leaks=0:detect_stack_use_after_return=1:strict_string_checks=1:allocator_may_return_null=1"
UBSAN = "print_stacktrace=1:halt_on_error=1"


def listed() -> list[str]:
    """The files of the tree, and what Cython made of them last."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    names = [name for name in names if name and (ROOT / name).is_file()]
    made = [name.removesuffix(".pxd") + ".c" for name in names if name.endswith(".pxd")]
    return names + [name for name in made if (ROOT / name).is_file()]


def copy() -> None:
    """Make the copy equal to the tree; what is unchanged keeps its time, so that it isn't built again."""
    wanted = set(listed())
    for name in wanted:
        source, target = ROOT / name, TREE / name
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for folder in ("mesh", "controlplane", "tests"):
        for path in (TREE / folder).rglob("*"):
            if path.suffix in (".py", ".pxd", ".txt") and str(path.relative_to(TREE)) not in wanted:
                path.unlink()


def build() -> None:
    flags = {"MESH_CFLAGS": FLAGS, "LDFLAGS": CHECKS, "PYTHONPATH": str(TREE)}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=TREE, env={**os.environ, **flags}, check=True)


def library(name: str) -> str:
    """Where the compiler keeps one of its libraries."""
    compiler = os.environ.get("CC", "gcc")
    return subprocess.run(
        [compiler, f"-print-file-name={name}"], check=True, capture_output=True, text=True
    ).stdout.strip()


def environment() -> dict[str, str]:
    # The C++ library too: what it throws (in grpcio) passes through the sanitizer, which finds it only if it is there.
    preloaded = f"{library('libasan.so')} {library('libstdc++.so.6')}"
    return {**os.environ, "PYTHONPATH": str(TREE), "PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1",
            "LD_PRELOAD": preloaded, "ASAN_OPTIONS": ASAN, "UBSAN_OPTIONS": UBSAN}  # fmt: skip


def check_loaded() -> None:
    code = "import mesh.wire.h2, pathlib; assert pathlib.Path(mesh.wire.h2.__file__).is_relative_to(pathlib.Path.cwd())"
    subprocess.run([sys.executable, "-c", code], cwd=TREE, env=environment(), check=True)


def pytest(arguments: list[str]) -> int:
    # What the sanitizers say goes past Python; pytest must not capture and lose it.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys", *arguments]
    said = subprocess.run(command, cwd=TREE, env=environment(), check=False, stdout=PIPE, stderr=STDOUT, text=True)
    print(f"{' '.join(arguments)}\n{said.stdout}", flush=True)
    return said.returncode


def replay_learnt() -> int:
    """What the fuzzer has learnt here and isn't checked in."""
    learnt = [name for name in harness.TARGETS if (harness.WORK / name / "corpus").is_dir()]
    if not learnt:
        return 0
    # From here, where build/fuzz is; the modules are still those of the copy.
    command = [sys.executable, str(harness.HERE / "replay.py"), "--digests", "--learnt", *learnt]
    replay = subprocess.run(command, cwd=TREE, env=environment(), check=False, stdout=PIPE)
    print(f"{len(replay.stdout.splitlines()):,} inputs that the fuzzer learnt here: status {replay.returncode}")
    return replay.returncode


def main() -> None:
    copy()
    build()
    if sys.argv[1:] == ["--build"]:
        return
    check_loaded()
    groups = [sys.argv[1:]] if sys.argv[1:] else [[f"tests/unit/{name}" for name in group] for group in TESTS]
    with ThreadPoolExecutor(len(groups)) as pool:
        failed = any(list(pool.map(pytest, groups)))
    sys.exit(failed or replay_learnt() != 0)


if __name__ == "__main__":
    main()
