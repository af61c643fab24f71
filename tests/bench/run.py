"""CPU per request, latency, throughput and memory of our sidecar beside other proxies, on this machine.

What lives here: the command and the order of rounds. What this must not know: configuration of any proxy (peers,
ours), sockets (worker). The proxy runs on core 0, load and backends on core 1. Proxies are measured in turn, round by
round, so that a slow minute of a shared machine hits all of them. No number makes it fail.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(ROOT))

import document  # noqa: E402
import report  # noqa: E402
from cases import CASES, GROUPS, Case  # noqa: E402
from figures import Sample, Samples  # noqa: E402
from stage import Bench, build_tools  # noqa: E402

QUICK_SECONDS = 0.5
QUICK_IDLE = 2000
COMMANDS = {"control-weights": ["weights.py", "--sidecars", "{conns}", "--json", "{out}"],
            "control-push": ["push.py", "--streams", "{conns}", "--rounds", "5", "--json", "{out}"]}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="one short round of some cases, under three minutes")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per case; the median is shown (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="measured seconds per round and proxy (default: 1)")
    parser.add_argument("--case", action="append", metavar="PREFIX", help="only cases whose key begins so; repeatable")
    parser.add_argument("--proxy", action="append", metavar="NAME", help="only these rows; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw CPU per request there (.svg)")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md and its plot")
    parser.add_argument("--from-json", action="append", type=Path, metavar="FILE",
                        help="measure nothing: tables from what --json wrote; of several files the later ones win")
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    args = parser.parse_args(argv)
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("--rounds and --seconds must be positive")
    known = {name for case in CASES for name in case.proxies}
    for name in args.proxy or ():
        if name not in known:
            parser.error(f"--proxy {name}: there is {', '.join(sorted(known))}")
    for prefix in args.case or ():
        if not any(case.key.startswith(prefix) for case in CASES):
            parser.error(f"--case {prefix}: no case begins so; --list shows them")
    if args.docs and (args.case or args.proxy or args.quick) and not args.from_json:
        parser.error("--docs is of all cases: measure with --json, then merge by --from-json ALL --from-json NEW")
    return args


def choose(args: argparse.Namespace) -> list[Case]:
    chosen = [case for case in CASES if (not args.case or any(case.key.startswith(key) for key in args.case))
              and (not args.quick or args.case or case.quick)]
    if args.quick:
        chosen = [dataclasses.replace(case, conns=min(case.conns, QUICK_IDLE)) if case.work == "idle" else case
                  for case in chosen]
    return chosen


class Progress:
    """One line on stderr where that is a terminal: what is being measured and how much is left."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.begun = time.monotonic()

    def show(self, what: str) -> None:
        if sys.stderr.isatty():
            left = (time.monotonic() - self.begun) / self.done * (self.total - self.done) if self.done > 5 else 0.0
            tail = f", about {left / 60:.0f} min left" if left >= 90 else f", about {left:.0f} s left" if left else ""
            print(f"\r\033[K[{self.done}/{self.total}] {what}{tail}", end="", file=sys.stderr, flush=True)

    def step(self, what: str) -> None:
        self.show(what)
        self.done += 1

    def clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def run_command(case: Case, scratch: Path) -> Sample:
    """A case that a command of its own measures."""
    out = scratch / f"{case.key}.json"
    script, *flags = COMMANDS[case.key]
    argv = [sys.executable, str(HERE / script), *(flag.format(conns=case.conns, out=out) for flag in flags)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=ROOT,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    if done.returncode or not out.exists():
        return {"problem": (done.stderr or done.stdout).strip()[-300:] or f"{script} wrote nothing"}
    found: Sample = json.loads(out.read_text())
    return found


def rounds_of(case: Case, rounds: int) -> int:
    """Memory does not vary as times do."""
    return 1 if case.work in ("idle", "memory", "command") else rounds


def measure_case(bench: Bench, case: Case, names: list[str], rounds: int, seconds: float, progress: Progress,
                 ) -> Samples:
    samples: Samples = {name: [] for name in names}
    for _ in range(rounds_of(case, rounds)):
        for name in names:
            progress.step(f"{case.key}: {name}")
            if case.work == "command":
                sample = run_command(case, bench.scratch)
            elif name in bench.missing:
                sample = {"problem": bench.missing[name]}
            elif case.work == "memory":
                sample = {"rss_mb": bench.resident_mb(bench.running[name])}
            elif case.fresh:
                sample = bench.measure_fresh(case, name, seconds)
            else:
                sample = bench.measure(case, bench.running[name], seconds)
            samples[name].append(sample)
    return samples


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for, printed as it comes; return what --json writes."""
    chosen = choose(args)
    rounds, seconds = (1, QUICK_SECONDS) if args.quick else (args.rounds, args.seconds)
    wanted = list(dict.fromkeys(name for case in chosen for name in case.proxies
                                if case.work != "command" and (not args.proxy or name in args.proxy)))
    build_tools()
    machine = report.describe_machine()
    results: dict[str, Samples] = {}
    print(report.machine_line(machine))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", ignore_cleanup_errors=True) as directory:
        bench = Bench(Path(directory))
        try:
            bench.start_all(wanted)
            time.sleep(1.0)
            versions = {name: running.version for name, running in bench.running.items()}
            print("measured: " + ", ".join(f"{name} {version}".strip() for name, version in versions.items()))
            for line in dict.fromkeys(bench.missing.values()):
                print(f"left out: {line}")
            total = sum(rounds_of(case, rounds) * sum(name in wanted or case.work == "command" for name in case.proxies)
                        for case in chosen)
            progress = Progress(total)
            for case in chosen:
                names = [name for name in case.proxies if case.work == "command"
                         or (name in wanted and (name in bench.running or name.startswith("mesh")))]
                results[case.key] = measure_case(bench, case, names, rounds, seconds, progress)
                progress.clear()
                print("\n".join(report.case_lines(case, results[case.key], versions)), flush=True)
        finally:
            bench.close()
    print(f"\n{time.monotonic() - begun:.0f} s")
    return {"machine": machine, "versions": versions, "left_out": list(dict.fromkeys(bench.missing.values())),
            "rounds": rounds, "seconds": seconds, "cases": results}


def merge(files: list[Path]) -> dict[str, Any]:
    """What several runs found; each case from the last file that has it."""
    merged: dict[str, Any] = {}
    for path in files:
        try:
            found = json.loads(path.read_text())
            cases = {**merged.get("cases", {}), **found["cases"]}
            versions = {**merged.get("versions", {}), **found["versions"]}
        except (OSError, ValueError, KeyError, TypeError) as e:
            sys.exit(f"{path}: not a file that --json wrote: {type(e).__name__}: {e}")
        merged = {**found, "cases": cases, "versions": versions}
    return merged


def main() -> int:
    args = parse()
    if args.list:
        for case in CASES:
            print(f"{case.key:24} {GROUPS[case.group]}: {case.title}{' (quick)' if case.quick else ''}")
        return 0
    try:
        data = merge(args.from_json) if args.from_json else measure(args)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    if args.json:
        args.json.write_text(json.dumps(data, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(document.tables(data))
    if args.plot or args.docs:
        import plot

        for path in filter(None, (args.plot, document.PLOT if args.docs else None)):
            problem = plot.draw(data, path)
            if problem:
                print(f"no plot: {problem}", file=sys.stderr)
    if args.docs:
        document.PAGE.write_text(document.page(data))
    return 0


if __name__ == "__main__":
    sys.exit(main())
