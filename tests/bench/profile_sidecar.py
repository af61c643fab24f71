"""Where a sidecar's work goes: instructions per request, per function, and how they differ from an earlier run.

    python tests/bench/profile_sidecar.py --case grpc-8x16 --json before.json      (then change something, make build)
    python tests/bench/profile_sidecar.py --case grpc-8x16 --against before.json

What lives here: the sidecar under a profiler while the benchmark's load does a set number of requests. Instruction
counts do not depend on what else the machine does, so they tell a change of two per cent apart, which times do not.
callgrind works everywhere and knows functions, at a fiftieth of the speed; `--tool counter` reads the processor's own
counter where the machine has one (perf stat); `--tool samples` shows where time goes, kernel included (perf record).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parents[1]))

import ours  # noqa: E402
import procstat  # noqa: E402
import stage  # noqa: E402
from cases import CASES, Case  # noqa: E402
from peers import Running  # noqa: E402

PATIENCE = 300.0  # seconds for the requests of one case
PROFILED = ("grpc", "http1", "tcp")
NEEDS = {"callgrind": ("valgrind", "apt install valgrind"), "counter": ("perf", "apt install linux-perf"),
         "samples": ("perf", "apt install linux-perf")}
Functions = dict[str, float]  # function -> own instructions per request


def control(pid: int, *flags: str) -> None:
    subprocess.run(["callgrind_control", *flags, str(pid)], capture_output=True, check=True)


def readable(name: str) -> str:
    """`???:__pyx_f_4mesh_4wire_5hpack_7Decoder_decode [x.so]` -> `mesh.wire.hpack.Decoder.decode`."""
    file, _, symbol = re.sub(r"('2)?(\s*\[[^]]*\])?$", "", name.strip()).rpartition(":")
    mangled = re.match(r"__pyx_(?:f|pw|pf|tp_new|tp_dealloc)_(?=\d)", symbol)
    if not mangled:
        return f"{file.rpartition('/')[2]}:{symbol}" if file not in ("", "???") else symbol
    rest, parts = symbol[mangled.end():], []
    while found := re.match(r"\d+", rest):
        end = found.end() + int(found[0])
        if end > len(rest):
            break
        parts.append(rest[found.end():end])
        rest = rest[end:].removeprefix("_")
    return ".".join([*parts, rest])


def parse_annotated(text: str, requests: int) -> tuple[float, Functions]:
    """(instructions per request, the same by function) of what callgrind_annotate prints."""
    total, functions = 0.0, Functions()
    for line in text.splitlines():
        found = re.match(r"\s*([\d,]+) \([^)]*\)\s+(.*)", line)
        if not found:
            continue
        count = int(found[1].replace(",", "")) / requests
        if "PROGRAM TOTALS" in found[2]:
            total = count
            continue
        name = readable(found[2])
        functions[name] = functions.get(name, 0.0) + count
    return total, functions


def changes(before: Functions, after: Functions, least: float) -> list[tuple[float, str]]:
    """(difference, function) of those that changed by at least `least` instructions per request, largest first."""
    differences = [(after.get(name, 0.0) - before.get(name, 0.0), name) for name in {*before, *after}]
    return sorted((each for each in differences if abs(each[0]) >= least), key=lambda each: -abs(each[0]))


class Profiler:
    """One tool on one sidecar."""

    def __init__(self, tool: str, scratch: Path, requests: int) -> None:
        self.tool = tool
        self.scratch = scratch
        self.requests = requests
        self.out = scratch / "callgrind.out"
        if tool == "callgrind":
            ours.WRAPPER[:] = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q",
                               f"--callgrind-out-file={self.out}"]

    def run(self, bench: stage.Bench, case: Case, running: Running) -> dict[str, Any]:
        """`requests` requests of `case`; return total and functions, or the problem."""
        pid = running.processes[0].pid
        warmed = bench.measure(case, running, PATIENCE, limit=max(500, self.requests // 10), warm=0.0)
        if "problem" in warmed:
            return warmed
        if self.tool == "callgrind":
            control(pid, "-z")
            control(pid, "-i", "on")
        else:
            argv = {"counter": ["perf", "stat", "-x,", "-e", "instructions:u", "-p", str(pid)],
                    "samples": ["perf", "record", "-q", "-F", "4000", "-e", "cpu-clock", "-o",
                                str(self.scratch / "perf.data"), "-p", str(pid)]}[self.tool]
            perf = procstat.start(argv, procstat.LOAD_CORE, self.scratch / "perf.log")
        sample = bench.measure(case, running, PATIENCE, limit=self.requests, warm=0.2)
        if self.tool != "callgrind":
            perf.send_signal(signal.SIGINT)
            perf.wait(30)
        if "problem" in sample or not sample["done"]:
            return {"problem": sample.get("problem", "no request was answered")}
        result: dict[str, Any] = {"requests": sample["done"], "failed": sample["failed"]}
        if self.tool == "callgrind":
            control(pid, "-i", "off")
            result["total"], result["functions"] = self.read_callgrind(pid, sample["done"])
        elif self.tool == "counter":
            counted = (self.scratch / "perf.log").read_text().strip().splitlines()[-1].split(",")[0]
            if not counted.isdigit():
                return {"problem": "this machine has no instruction counter for perf: use --tool callgrind"}
            result["total"], result["functions"] = int(counted) / sample["done"], {}
        else:
            result["total"], result["functions"] = self.read_samples(sample["cpu_us"])
        return result

    def read_callgrind(self, pid: int, done: int) -> tuple[float, Functions]:
        known = set(self.out.parent.glob(self.out.name + ".*"))
        control(pid, "-d")
        dumps = sorted(set(self.out.parent.glob(self.out.name + ".*")) - known)
        if not dumps:
            raise RuntimeError("callgrind wrote nothing")
        text = subprocess.run(["callgrind_annotate", "--threshold=100", str(dumps[-1])], capture_output=True, text=True,
                              check=True).stdout
        return parse_annotated(text, done)

    def read_samples(self, cpu_us: float) -> tuple[float, Functions]:
        """Nanoseconds instead of instructions."""
        text = subprocess.run(["perf", "report", "-i", str(self.scratch / "perf.data"), "--stdio", "--sort",
                               "dso,symbol"], capture_output=True, text=True, check=False).stdout
        functions = {}
        for line in text.splitlines():
            found = re.match(r"\s*([\d.]+)%\s+(.*?)\s*$", line)
            if found:
                functions[re.sub(r"\s+", " ", found[2])] = float(found[1]) / 100 * cpu_us * 1000
        return cpu_us * 1000, functions


def show(key: str, found: dict[str, Any], before: dict[str, Any] | None, top: int, unit: str) -> None:
    if "problem" in found:
        print(f"{key:28}{found['problem']}")
        return
    line = f"{key:28}{found['total']:12,.0f} {unit} per request"
    if before and "total" in before:
        line += f"   before {before['total']:12,.0f}   {(found['total'] / before['total'] - 1) * 100:+6.1f} %"
    print(line + (f"   {found['failed']} failed" if found["failed"] else ""), flush=True)
    functions: Functions = found["functions"]
    if before and "total" in before:
        for difference, name in changes(before["functions"], functions, found["total"] * 0.002)[:top]:
            print(f"  {difference:+12.1f}   {functions.get(name, 0.0):10.1f}  {name}")
    else:
        for name, count in sorted(functions.items(), key=lambda each: -each[1])[:top]:
            print(f"  {count:12.1f}  {name}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", metavar="PREFIX",
                        help="cases whose key begins so; repeatable (default: a few)")
    parser.add_argument("--tracing", default="off", choices=list(ours.TRACING))
    parser.add_argument("--tool", default="callgrind", choices=list(NEEDS))
    parser.add_argument("--requests", type=int, default=5000, help="per case (default: 5000)")
    parser.add_argument("--top", type=int, default=20, help="functions shown per case (default: 20)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the counts there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="what --json kept: show the differences")
    args = parser.parse_args()
    if shutil.which(NEEDS[args.tool][0]) is None:
        sys.exit("{} is not installed ({})".format(*NEEDS[args.tool]))
    return args


def main() -> int:
    args = parse()
    prefixes = args.case or ["grpc-8x16-same", "grpc-8x16-unique", "grpc-1x32-path", "http1-32", "tcp-32", "tcp-churn"]
    exact = {case.key for case in CASES} & set(prefixes)
    chosen = [case for case in CASES if case.work in PROFILED and not case.tool and not case.rate
              and "mesh" in case.proxies
              and (case.key in exact or any(case.key.startswith(each) for each in set(prefixes) - exact))]
    if not chosen:
        sys.exit(f"no case that can be profiled begins with {', '.join(prefixes)}")
    before = json.loads(args.against.read_text())["cases"] if args.against else {}
    stage.build_tools()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="mesh-profile-", ignore_cleanup_errors=True) as directory:
        profiler = Profiler(args.tool, Path(directory), args.requests)
        bench = stage.Bench(Path(directory))
        try:
            running = bench.start("mesh" if args.tracing == "off" else f"mesh, tracing {args.tracing}")
            if isinstance(running, str):
                sys.exit(running)
            for case in chosen:
                found[case.key] = profiler.run(bench, case, running)
                show(case.key, found[case.key], before.get(case.key), args.top,
                     "ns" if args.tool == "samples" else "instructions")
        finally:
            bench.close()
    if args.json:
        args.json.write_text(json.dumps({"tool": args.tool, "tracing": args.tracing, "cases": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
