"""Real processes: trees killed whole, failures with their log."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.demo.process import Process, ProcessFailed, descendants, free_ports
from mesh.demo.shop import wait_until

# A parent that starts a child, writes the child's id to the file named, and waits.
TREE = """
import os, pathlib, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "input()", "youngest"], stdin=subprocess.PIPE)
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(str(child.pid))
path.with_suffix(".new").rename(path)
child.wait()
"""


def process(tmp_path: Path, program: str) -> Process:
    return Process("thing", [sys.executable, "-c", program, str(tmp_path / "child")], os.environ, tmp_path / "log")


async def child_of(tmp_path: Path) -> int:
    async def told() -> bool:
        return (tmp_path / "child").exists()

    await wait_until("the child is there", told, 20)
    return int((tmp_path / "child").read_text())


@contextlib.contextmanager
def ending(pid: int) -> Iterator[Callable[[], bool]]:
    """Watch a process; what is yielded waits for its end (5 s at most) and says whether it came."""
    watched = os.pidfd_open(pid)
    try:
        yield lambda: bool(select.select([watched], [], [], 5.0)[0])
    finally:
        os.close(watched)


def test_free_ports_are_distinct_and_not_the_kernels_to_give() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_too_few_free_ports_are_named(tmp_path: Path) -> None:
    (tmp_path / "range").write_text("10002\t60999\n")
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # taken by somebody else, which is as good
            taken.bind(("127.0.0.1", 10_000))
        with pytest.raises(ProcessFailed, match=r"2 free ports are needed in 10000\.\.10001, and [01] are free"):
            free_ports(2, tmp_path / "range")


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
        await one.start()
        child = await child_of(tmp_path)
        assert one.running
        assert one.part("youngest") == child
        with pytest.raises(ProcessFailed, match="no process called eldest"):
            one.part("eldest")
        with ending(child) as ended:
            assert await one.kill() == 2
            assert not one.running
            assert ended()
        await one.stop(1)

    asyncio.run(check())


@pytest.mark.slow
def test_stop_ends_also_what_ignores_it(tmp_path: Path) -> None:
    async def check() -> None:
        one = process(tmp_path, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + TREE)
        await one.start()
        with ending(await child_of(tmp_path)) as ended:
            await one.stop(0.05)
            assert not one.running
            assert ended()

    asyncio.run(check())


@pytest.mark.slow
def test_what_ended_too_early_shows_its_log(tmp_path: Path) -> None:
    async def check() -> None:
        one = process(tmp_path, "print('no such luck'); raise SystemExit(3)")
        one.check()
        await one.start()

        async def ended() -> bool:
            return not one.running

        await wait_until("it has ended", ended, 20)
        with pytest.raises(ProcessFailed, match=r"thing ended with 3\n    no such luck"):
            one.check()

    asyncio.run(check())


def test_what_was_not_started_has_no_id(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="was not started"):
        _ = process(tmp_path, TREE).pid
