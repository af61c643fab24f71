"""The demo's processes: started, killed whole, stopped for certain.

What lives here: one process tree of ours at a time, its log and its end. What this must not know: what runs in it. Only
processes started here are ever signalled, by their ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from mesh.errors import MeshError

FIRST_PORT = 10_000  # below are the ports that well-known servers like to use


class ProcessFailed(MeshError):
    """A process of the demo ended too early or did not do its part; holds the end of its log."""


def free_ports(count: int, ephemeral: Path = Path("/proc/sys/net/ipv4/ip_local_port_range")) -> list[int]:
    """Return ports of 127.0.0.1 that nothing is bound to.

    They lie below those that the kernel hands out for port 0 and for outgoing connections, which could else take one of
    them before it is used. Raises ProcessFailed when there are not enough.
    """
    lowest = int(ephemeral.read_text().split()[0])
    found: list[int] = []
    for port in random.sample(range(FIRST_PORT, lowest), lowest - FIRST_PORT):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ProcessFailed(f"{count} free ports are needed in {FIRST_PORT}..{lowest - 1}, and {len(found)} are free")


def descendants(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """Return the process and all that stem from it, parents first; a process that has ended has none."""
    parents: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # "pid (name) state ppid ...": the name may hold anything, also ')'.
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid] if (proc / str(pid)).exists() else []
    for one in found:
        found.extend(parents.get(one, ()))
    return found


class Process:
    """One program with what it starts, in a session of its own; output goes to `log`."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.argv = list(argv)
        self.env = dict(env)
        self.log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """Id of the program itself; ProcessFailed before it was started."""
        if self._process is None:
            raise ProcessFailed(f"{self.name} was not started")
        return self._process.pid

    async def start(self) -> None:
        """Start the program."""
        argv = self.argv
        # Should the demo itself be killed the kernel tells its children, so that nothing is left behind.
        if (setpriv := shutil.which("setpriv")) is not None:
            argv = [setpriv, "--pdeathsig", "TERM", *argv]
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *argv, env=self.env, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)

    def check(self) -> None:
        """Raise ProcessFailed with the end of its log when it was started and has ended."""
        if self._process is not None and self._process.returncode is not None:
            raise ProcessFailed(f"{self.name} ended with {self._process.returncode}\n{self.tail()}")

    def part(self, word: str) -> int:
        """Return the id of the first process of its tree with `word` among its arguments; ProcessFailed for none."""
        for pid in descendants(self.pid):
            with contextlib.suppress(OSError):
                if os.fsencode(word) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        raise ProcessFailed(f"{self.name} has no process called {word}\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])

    async def kill(self) -> int:
        """SIGKILL the whole tree at once, no goodbye; return how many processes that were."""
        if not self.running or self._process is None:
            return 0
        # Children first: one that outlived its parent for a moment would be told of the death and take its leave.
        pids = descendants(self._process.pid)[::-1]
        _signal(pids, signal.SIGKILL)
        await self._process.wait()
        return len(pids)

    async def stop(self, grace: float) -> None:
        """SIGTERM the program, and after `grace` seconds SIGKILL what is left of its tree."""
        if self._process is None:
            return
        pids = descendants(self._process.pid) if self.running else []
        if self.running:
            _signal([self._process.pid], signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), grace)
        # By session, so that an id given anew to a stranger is never hit.
        _signal([pid for pid in pids if _session(pid) == self._process.pid], signal.SIGKILL)
        if self.running:
            await self._process.wait()


def _session(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(pid)
    return -1


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
