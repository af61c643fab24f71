"""Real processes for the end-to-end tests: started with a ready line on a pipe, watched, ended by pid.

What lives here: the life of one child process, its log, and waiting for a condition. What this must not know: what the
processes do to each other (e2e_mesh).
"""

from __future__ import annotations

import copy
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[2]
APPS = Path(__file__).resolve().parent / "apps"
SIDECAR = [sys.executable, "-m", "mesh.cli", "sidecar"]
START_DEADLINE = 20.0

T = TypeVar("T")


def eventually(condition: Callable[[], T], what: str, timeout: float = 10.0) -> T:
    """Wait until `condition()` is true and return it; TimeoutError names `what` and the last value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}; last: {value!r}")
        time.sleep(0.02)


class Process:
    """A child that says that it is ready by one JSON line on `--ready-fd`; `ready` is that line.

    What it prints goes to a file in `directory`, shown when a test fails.
    """

    def __init__(self, name: str, argv: Sequence[str], directory: Path, env: dict[str, str] | None = None) -> None:
        self.name = name
        self.directory = directory
        self.argv = list(argv)
        self.env = env or {}
        self.events: list[dict[str, Any]] = []
        self._partial = b""
        self.start()

    def start(self) -> None:
        """Start, or start anew after an end, and wait for the ready line."""
        self.log_path = self.directory / f"{self.name.replace('/', '-')}-{time.monotonic_ns()}.log"
        self._fd, child = os.pipe()
        os.set_blocking(self._fd, False)
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen([*self.argv, "--ready-fd", str(child)], stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log, pass_fds=(child,), cwd=self.directory,
                                          env={**os.environ, "PYTHONPATH": str(ROOT), **self.env})
        os.close(child)
        self.pid = self.popen.pid
        self.events.clear()
        try:
            self.ready = self.wait_event(None, START_DEADLINE)
        except BaseException:
            self.kill()
            raise

    def wait_event(self, event: str | None, timeout: float) -> dict[str, Any]:
        """Return the next line with this `event` (None: any); those before it are dropped."""
        deadline = time.monotonic() + timeout
        while True:
            self._read_events()
            while self.events:
                line = self.events.pop(0)
                if event is None or line.get("event") == event:
                    return line
            left = deadline - time.monotonic()
            if not self.alive or left <= 0:
                raise TimeoutError(f"{self.name}: no {event or 'ready'!r} line "
                                   f"({'exit code ' + str(self.popen.returncode) if not self.alive else 'timeout'})\n"
                                   f"{self.tail()}")
            select.select([self._fd], [], [], min(left, 0.1))

    def _read_events(self) -> None:
        if self._fd < 0:
            return
        try:
            data = os.read(self._fd, 65_536)
        except BlockingIOError:
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self.events += [json.loads(line) for line in lines if line]

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: int) -> None:
        if self.alive:
            self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has closed its sockets."""
        self.signal(signal.SIGKILL)
        self.popen.wait(10)
        self._close()

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM; the exit code. One that doesn't end in time is killed and that is an error."""
        self.signal(signal.SIGTERM)
        return self.wait_end(timeout)

    def wait_end(self, timeout: float = 15.0) -> int:
        """The exit code of a process that has been told to stop."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.name} did not end {timeout:g} s after SIGTERM\n{self.tail()}") from None
        finally:
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            self._read_events()
            os.close(self._fd)
            self._fd = -1

    def tail(self, size: int = 4000) -> str:
        return self.log_path.read_bytes()[-size:].decode("utf-8", "replace")

    def resident_kib(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class App(Process):
    """A test app; `address` stays the same over restarts."""

    def __init__(self, kind: str, name: str, directory: Path, *flags: str) -> None:
        self.label = name
        super().__init__(f"app-{name}", [sys.executable, str(APPS / f"{kind}_app.py"), "--name", name, *flags],
                         directory)
        self.port = int(self.ready["port"])
        self.argv += ["--port", str(self.port)]
        self.address = f"127.0.0.1:{self.port}"


class Sidecar(Process):
    """`mesh sidecar`; listening ports are chosen by the kernel and kept over restarts."""

    def __init__(self, service: str, instance: str, directory: Path, control_plane: str, *flags: str,
                 env: dict[str, str] | None = None) -> None:
        self.service = service
        self.instance = instance
        self.state_dir = directory / f"state-{service}-{instance}"
        super().__init__(
            f"sidecar-{instance}",
            [*SIDECAR, "--service", service, "--instance", instance, "--control-plane", control_plane,
             "--state-dir", str(self.state_dir), "--drain-timeout", "5s", *flags],
            # Spans are exported soon, so that no test waits a second for them.
            directory, {"OTEL_BSP_SCHEDULE_DELAY": "100", **(env or {})})

    def successor(self, *flags: str) -> Sidecar:
        """Another process of this instance that takes its sockets over; returns once it is ready."""
        new = copy.copy(self)
        new.argv = [*self.argv, "--takeover", *flags]
        new.events = []
        new._partial = b""
        new.start()
        return new

    @property
    def id(self) -> str:
        return f"{self.service}/{self.instance}"

    @property
    def inbound(self) -> str:
        address: str = self.ready["inbound"]
        return address

    @property
    def shared(self) -> str:
        address: str = self.ready["outbound_shared"]
        return address

    def outbound(self, service: str) -> str:
        address: str = self.ready["outbound"][service]
        return address

    def statistics(self) -> dict[str, Any]:
        """What SIGUSR2 makes it print."""
        before = self.log_path.stat().st_size
        self.signal(signal.SIGUSR2)

        def line() -> dict[str, Any] | None:
            with open(self.log_path, "rb") as log:
                log.seek(before)
                for text in log.read().splitlines(keepends=True):
                    if text.startswith(b"{") and text.endswith(b"}\n"):
                        found: dict[str, Any] = json.loads(text)
                        return found
            return None

        statistics = eventually(line, f"{self.name} prints statistics on SIGUSR2", 5)
        assert statistics is not None
        return statistics

    def cluster(self, service: str) -> dict[str, Any]:
        """The statistics of one service; empty while it is not known."""
        found = [item for item in _dicts(self.statistics()) if item.get("service") == service and "endpoints" in item]
        return found[0] if found else {}

    def endpoints(self, service: str) -> dict[str, dict[str, Any]]:
        endpoints: dict[str, dict[str, Any]] = self.cluster(service).get("endpoints", {})
        return endpoints

    def in_use(self) -> dict[str, int]:
        """Everything that has to be zero when no call is open."""
        statistics = self.statistics()
        counts: dict[str, int] = {}
        for item in _dicts(statistics):
            label = str(item.get("address") or item.get("service") or "")
            for key in ("active", "in_flight", "active_streams", "exchanges"):
                if isinstance(item.get(key), int):
                    counts[f"{label}.{key}"] = counts.get(f"{label}.{key}", 0) + item[key]
            tcp = item.get("tcp")
            if tcp is not None:
                counts[f"{label}.tcp"] = tcp["connections"] if isinstance(tcp, dict) else int(tcp)
            udp = item.get("udp")
            if udp is not None:
                counts[f"{label}.udp"] = udp["sessions"]
        return counts

    def wait_idle(self, timeout: float = 5.0) -> None:
        """Wait until no request is in flight; TimeoutError shows what is left."""
        last: dict[str, int] = {}

        def idle() -> bool:
            last.clear()
            last.update(self.in_use())
            assert last, "statistics() counts nothing"
            return not any(last.values())

        try:
            eventually(idle, f"{self.name} has nothing in flight", timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {last}") from None


def _dicts(value: Any) -> list[dict[str, Any]]:
    """All mappings inside `value`."""
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in _dicts(item))]
    if isinstance(value, list):
        return [found for item in value for found in _dicts(item)]
    return []
