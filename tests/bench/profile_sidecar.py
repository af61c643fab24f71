"""Where a sidecar's time goes: instructions per request by callgrind, or samples by perf.

What lives here: the sidecar under a profiler while the benchmark's load runs one case. Instruction counts do not depend
on what else the machine does, so they tell a change of two per cent apart, which times do not. callgrind runs the
sidecar some fifty times slower.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ours
import procstat
import run
from cases import CASES


def callgrind(pid: int, out: Path, top: int, done: int) -> None:
    """Print instructions per request, then the functions with the most of their own and the most in all."""
    subprocess.run(["callgrind_control", "-i", "off", str(pid)], capture_output=True, check=True)
    subprocess.run(["callgrind_control", "-d", str(pid)], capture_output=True, check=True)
    dumps = sorted(out.parent.glob(out.name + ".*"))
    if not dumps:
        sys.exit("callgrind wrote nothing")
    for title, inclusive in (("own instructions", "no"), ("instructions with callees", "yes")):
        text = subprocess.run(["callgrind_annotate", f"--inclusive={inclusive}", "--threshold=100", str(dumps[-1])],
                              capture_output=True, text=True, check=True).stdout
        rows = []
        for line in text.splitlines():
            found = re.match(r"\s*([\d,]+) \([^)]*\)\s+(.*)", line)
            if found:
                rows.append((int(found[1].replace(",", "")) / done, found[2]))
        if inclusive == "no":
            print(f"\n{rows[0][0]:.0f} instructions per request")
        print(f"\n{title} per request")
        for count, name in rows[1:top + 1]:
            where = re.sub(r"\?\?\?:|__pyx_[a-z]+_|\[.*/|\]|'2", " ", name)
            print(f"  {count:9.1f}  {where.strip()}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--case", default="grpc-8x16-literal", choices=[case.key for case in CASES])
    parser.add_argument("--tracing", default="off", choices=list(ours.TRACING))
    parser.add_argument("--tool", default="callgrind", choices=["callgrind", "perf"])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--top", type=int, default=50)
    args = parser.parse_args()
    needed = "valgrind" if args.tool == "callgrind" else "perf"
    if shutil.which(needed) is None:
        sys.exit(f"{needed} is not installed (apt install {'valgrind' if needed == 'valgrind' else 'linux-perf'})")
    run.build_tools()
    case = next(case for case in CASES if case.key == args.case)
    with tempfile.TemporaryDirectory(prefix="mesh-profile-", ignore_cleanup_errors=True) as directory:
        scratch = Path(directory)
        out = scratch / "callgrind.out"
        if args.tool == "callgrind":
            ours.WRAPPER[:] = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q",
                               f"--callgrind-out-file={out}"]
        bench = run.Bench(scratch)
        try:
            mesh = ours.Mesh(bench.site)
            bench.processes.append(mesh.process)
            bench.add(mesh.single(args.tracing))
            if bench.missing:
                sys.exit(bench.missing[0])
            running = next(iter(bench.running.values()))
            pid = running.processes[0].pid
            bench.measure(case, running, args.seconds / 2)  # fill every cache first
            if args.tool == "perf":
                data = str(scratch / "perf.data")
                perf = procstat.start(["perf", "record", "-F", "4000", "-e", "cpu-clock", "-o", data, "-p", str(pid),
                                       "--", "sleep", str(args.seconds)], procstat.LOAD_CORE, scratch / "perf.log")
                result = bench.measure(case, running, args.seconds)
                perf.wait()
                print(f"{result['cpu_us']:.2f} µs of CPU per request")
                for key in ("dso", "dso,symbol"):
                    text = subprocess.run(["perf", "report", "-i", data, "--stdio", "--sort", key], capture_output=True,
                                          text=True, check=False).stdout
                    rows = [line.rstrip(" -") for line in text.splitlines() if line.strip() and line[0] != "#"]
                    print("\n" + "\n".join(rows[:args.top]))
            else:
                subprocess.run(["callgrind_control", "-i", "on", str(pid)], capture_output=True, check=True)
                result = bench.measure(case, running, args.seconds, warm=0.0)
                print(f"{case.title}: {result['done']} requests, {result['failed']} failures")
                callgrind(pid, out, args.top, result["done"] or 1)
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
