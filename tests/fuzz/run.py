"""Fuzz the codecs: `run.py [--seconds N] [--jobs N] [--save] [TARGET...]`; a table, and status 1 if anything was found.

Each target runs in a process of its own (child.py), uncompiled. What it learns stays in build/fuzz/TARGET/corpus, where
the next run goes on; all of it is then run compiled and uncompiled, and has to come to the same. A finding stays as
build/fuzz/TARGET/crash-…, and what is printed says how to run it again. `--save` checks the least of it in under
tests/corpus.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import harness
import minimise

CHILD, REPLAY = harness.HERE / "child.py", harness.HERE / "replay.py"
FINDINGS = ("crash-", "timeout-", "oom-", "leak-", "differs-")
# In libFuzzer's reports: edges and features reached, inputs it took; and how often the target ran.
PROGRESS = re.compile(rb"#\d+\s.*cov: (\d+) ft: (\d+) corp: (\d+)")
EXECUTIONS = re.compile(rb"stat::number_of_executed_units:\s*(\d+)")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(harness.ROOT)}


class Result(NamedTuple):
    name: str
    seconds: float
    executions: int
    coverage: int
    features: int
    inputs: int
    findings: list[Path]
    status: int


def fill(folder: Path, inputs: list[bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def quote(token: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in token)


def dictionary(file: Path, tokens: tuple[bytes, ...]) -> None:
    file.write_text("".join(f'"{quote(token)}"\n' for token in tokens if token))


def found(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.startswith(FINDINGS))


def digests(name: str, *options: str) -> dict[str, str]:
    """What came of each learnt input, by file name."""
    command = [sys.executable, str(REPLAY), *options, "--digests", "--learnt", name]
    said = subprocess.run(command, env=ENVIRONMENT, cwd=harness.ROOT, check=True, capture_output=True, text=True).stdout
    return dict(line.split()[1:] for line in said.splitlines())  # type: ignore[misc]


def compare(name: str) -> None:
    """An input that comes to one thing compiled and to another uncompiled is a finding."""
    compiled, plain = digests(name), digests(name, "--plain")
    assert compiled.keys() == plain.keys()
    for file in compiled:
        if compiled[file] != plain[file]:
            folder = harness.WORK / name
            (folder / f"differs-{file}").write_bytes((folder / "corpus" / file).read_bytes())


def fuzz(name: str, seconds: int) -> Result:
    folder = harness.WORK / name
    target = harness.load(name)
    fill(folder / "corpus", harness.read_corpus(name))
    fill(folder / "seeds", target.seeds())
    dictionary(folder / "dictionary", target.TOKENS)
    for old in found(folder):  # a finding is of the run that found it: what is fixed is not found again
        old.unlink()
    arguments = [f"-max_total_time={seconds}", f"-max_len={target.MAX_LEN}", f"-dict={folder / 'dictionary'}",
                 f"-artifact_prefix={folder}/", "-timeout=20", "-rss_limit_mb=3000", "-print_final_stats=1",
                 str(folder / "corpus"), str(folder / "seeds")]  # fmt: skip
    before = time.monotonic()
    command = [sys.executable, str(CHILD), name, *arguments]
    with (folder / "log").open("wb") as log:
        run = subprocess.run(command, stdout=log, stderr=log, cwd=harness.ROOT, env=ENVIRONMENT, check=False)
    took = time.monotonic() - before
    said = (folder / "log").read_bytes()
    coverage, features, inputs = [int(n) for n in PROGRESS.findall(said)[-1]] if PROGRESS.search(said) else [0, 0, 0]
    executions = int((EXECUTIONS.findall(said) or [0])[-1])
    if run.returncode == 0:
        compare(name)
    return Result(name, took, executions, coverage, features, inputs, found(folder), run.returncode)


def report(result: Result) -> bool:
    """A line of the table, and what was found; True if nothing was."""
    clean = not result.findings and result.status == 0
    rate = result.executions / max(result.seconds, 1e-9)
    said = "none" if clean else f"{len(result.findings)} (status {result.status})"
    print(f"{result.name:<16}{result.seconds:>8.0f}{result.executions:>14,}{rate:>10,.0f}{result.coverage:>10,}"
          f"{result.features:>10,}{result.inputs:>8,}  {said}", flush=True)  # fmt: skip
    if not clean:
        log = (harness.WORK / result.name / "log").read_text("utf-8", "replace")
        print(log[max(log.find(" === Uncaught"), 0) :][-8000:])
        for path in result.findings:
            file = path.relative_to(harness.ROOT)
            print(f"    again: {sys.executable} tests/fuzz/replay.py --plain {result.name} {file}", flush=True)
    return clean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(harness.TARGETS)}; all, if none")
    parser.add_argument("--seconds", type=int, default=600, help="how long each target runs")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="how many run at once")
    parser.add_argument("--save", action="store_true", help="check the least of what was learnt in")
    options = parser.parse_args()
    unknown = sorted(set(options.targets) - set(harness.TARGETS))
    if unknown:
        parser.error(f"no target {', '.join(unknown)}: there are {', '.join(harness.TARGETS)}")
    names = options.targets or harness.TARGETS
    heads = ("seconds", 8), ("executions", 14), ("a second", 10), ("edges", 10), ("features", 10), ("inputs", 8)
    print(f"{'target':<16}{''.join(head.rjust(width) for head, width in heads)}  findings", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        runs = [pool.submit(fuzz, name, options.seconds) for name in names]
        clean = [report(run.result()) for run in as_completed(runs)]
        if options.save:
            for name, (inputs, octets) in zip(names, pool.map(minimise.save, names), strict=True):
                print(f"tests/corpus/{name}.txt: {inputs} inputs, {octets:,} octets")
    sys.exit(not all(clean))


if __name__ == "__main__":
    main()
