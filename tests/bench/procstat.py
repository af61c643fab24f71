"""What a process cost: CPU time of all its threads, resident memory, and how a process is started on one core.

What lives here: reading /proc and starting pinned children. What this must not know: what the process does.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

PROXY_CORE, LOAD_CORE = 0, 1


def cpu_ns(pid: int) -> int:
    """Run time of all threads that `pid` has, in ns (first number of /proc/PID/task/TID/schedstat)."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:  # the thread ended meanwhile
            continue
    return total


def rss_kib(pid: int) -> int:
    """Resident memory of `pid` in KiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def core_for(core: int) -> set[int]:
    """`core` where this machine (or the cgroup) has it, otherwise any."""
    have = os.sched_getaffinity(0)
    return {core} if core in have else have


def start(argv: list[str], core: int, log: Path, pass_fds: tuple[int, ...] = (),
          env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `argv` on `core` with its output in `log`. It dies with this process's cleanup, not by itself."""
    cores = core_for(core)
    options: dict[str, Any] = {"env": {**os.environ, **env}} if env else {}
    with log.open("ab") as out:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=pass_fds,
                                preexec_fn=lambda: os.sched_setaffinity(0, cores), **options)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
