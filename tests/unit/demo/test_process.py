"""Real processes: ready lines, failures with their log, trees killed whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.demo.process import Process, ProcessFailed, descendants, free_ports

# A parent that starts a child, says so and waits.
TREE = """
import json, os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
os.write(int(sys.argv[1]), json.dumps({"event": "ready", "child": child.pid}).encode() + b"\\n")
child.wait()
"""


def process(tmp_path: Path, program: str) -> Process:
    return Process("thing", [sys.executable, "-c", program, "{ready-fd}"], os.environ, tmp_path / "log")


@contextlib.contextmanager
def ending(pid: int) -> Iterator[Callable[[], bool]]:
    """Watch a process; what is yielded waits for its end (5 s at most) and says whether it came."""
    watched = os.pidfd_open(pid)
    try:
        yield lambda: bool(select.select([watched], [], [], 5.0)[0])
    finally:
        os.close(watched)


def test_free_ports_are_distinct() -> None:
    assert len(set(free_ports(20))) == 20


def test_descendants_parents_first(tmp_path: Path) -> None:
    for pid, parent, name in ((10, 1, "a"), (11, 10, "b) S 99"), (12, 11, "c"), (13, 1, "d")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} ({name}) S {parent} 0 0")
    assert descendants(10, tmp_path) == [10, 11, 12]
    assert descendants(13, tmp_path) == [13]
    assert descendants(99, tmp_path) == []


@pytest.mark.slow
def test_a_killed_tree_leaves_nobody(tmp_path: Path) -> None:
    async def check() -> None:
        one = process(tmp_path, TREE)
        await one.start(20)
        assert one.running
        with ending(one.ready["child"]) as ended:
            assert await one.kill() == 2
            assert not one.running
            assert ended()
        await one.stop(1)

    asyncio.run(check())


@pytest.mark.slow
def test_stop_ends_also_what_ignores_it(tmp_path: Path) -> None:
    async def check() -> None:
        one = process(tmp_path, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TREE)
        await one.start(20)
        with ending(one.ready["child"]) as ended:
            await one.stop(0.05)
            assert not one.running
            assert ended()

    asyncio.run(check())


@pytest.mark.slow
@pytest.mark.parametrize(("program", "message"), [
    ("print('no such luck'); raise SystemExit(3)", "ended before it was ready"),
    ("print('still thinking', flush=True); input()", "ended before it was ready"),
    ("import signal; print('still thinking', flush=True); signal.pause()", "was not ready after"),
])
def test_a_process_that_is_not_ready_shows_its_log(tmp_path: Path, program: str, message: str) -> None:
    async def check() -> None:
        one = process(tmp_path, program)
        try:
            with pytest.raises(ProcessFailed, match=message):
                await one.start(0.5)
        finally:
            await one.stop(0.05)

    asyncio.run(check())
