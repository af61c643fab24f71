"""Two processes kept together: the app, and the sidecar that is up before it and down after it.

What lives here: starting, watching, restarting, stopping in order, signals. What this must not know: the traffic.
It is one thread without an event loop: it sleeps in poll() until a signal (a child's end is one), a line of the
sidecar's or a deadline wakes it.

Each child is in a process group of its own, so that Ctrl-C on a terminal reaches only this process and the order is
kept; should this process be killed the kernel ends both (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from mesh.errors import InvalidConfig
from mesh.sidecar.config import Address, SidecarConfig, to_argv

READY_TIMEOUT = 15.0
# A sidecar that died has to be up again within this, or the app is stopped: its calls go nowhere.
RESTART_TIMEOUT = 10.0
_BACKOFF_FIRST, _BACKOFF_LONGEST = 0.1, 5.0
_STEADY = 30.0  # up for so long, a sidecar's earlier failures are forgotten
# Beyond its own drain timeout, what a child gets to come to its end before it is killed.
_GRACE = 5.0
_DRAIN_SLACK = 1.0
_FORWARDED = (signal.SIGHUP, signal.SIGUSR1)
# As for nginx, gunicorn and HAProxy's master. Not SIGHUP: a terminal that is closed sends it.
_HOT_RESTART = signal.SIGUSR2
_STOPPING = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl


class SidecarFailed(Exception):
    """The sidecar did not come up; `code` is what this process should end with."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Stopped(Exception):
    """TERM or INT came before there was an app."""


class Events:
    """What a sidecar says on its ready-fd; `theirs` is the end that it writes to, to be closed here once it has it."""

    def __init__(self) -> None:
        self.fd, self.theirs = os.pipe()
        os.set_blocking(self.fd, False)
        self._partial = b""
        self._events: list[dict[str, Any]] = []

    def said(self, name: str) -> dict[str, Any] | None:
        """The line with this event, if there was one."""
        return next((event for event in self._events if event.get("event") == name), None)

    def forget(self) -> None:
        """Forget what was said so far."""
        self._events.clear()

    def read(self) -> None:
        """Take what has come."""
        data = _read(self.fd)
        if data == b"":
            self.close()
            return
        *lines, self._partial = (self._partial + (data or b"")).split(b"\n")
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                self._events.append(event)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Supervisor:
    """`run()` once. `configure` reads the configuration anew, for a hot restart.

    `environment` turns the sidecar's ready line into the app's environment.
    """

    def __init__(self, config: SidecarConfig, configure: Callable[[], SidecarConfig], sidecar: Sequence[str], path: str,
                 command: Sequence[str], environ: Mapping[str, str],
                 environment: Callable[[Mapping[str, Any]], Mapping[str, str]]) -> None:
        self._config = config
        self._configure = configure
        self._sidecar_command = list(sidecar)
        self._path = path
        self._command = list(command)
        self._environ = environ
        self._environment = environment
        self._sidecar: subprocess.Popen[bytes] | None = None
        self._app: subprocess.Popen[bytes] | None = None
        self._retiring: list[subprocess.Popen[bytes]] = []  # sidecars that drain: a successor has taken over
        self._events: Events | None = None
        self._restart_asked = False
        self._stops: list[int] = []
        self._failures = 0
        self._up_since = 0.0
        self._wake_fd = -1

    def run(self) -> int:
        """Return the exit code: the app's, 128+n for a signal, 1 or 2 when the sidecar could not be had."""
        restore = self._take_signals()
        try:
            return self._run()
        except SidecarFailed as error:
            _say(str(error))
            return error.code
        except Stopped:
            return 128 + self._stops[0]
        finally:
            for child in (self._app, self._sidecar, *self._retiring):
                _kill(child)
            self._close_events()
            restore()

    def _run(self) -> int:
        ready = self._start_sidecar(READY_TIMEOUT)
        try:
            self._app = self._spawn(self._command, self._environment(ready), executable=self._path)
        except OSError as error:
            _say(f"{self._command[0]}: {error.strerror}")
            self._stop_sidecar()
            return 127 if isinstance(error, FileNotFoundError) else 126
        while True:
            self._wait(lambda: _ended(self._app) or _ended(self._sidecar) or bool(self._stops) or self._restart_asked,
                       None)
            if _ended(self._app):
                break
            if self._stops:
                self._drain_then_stop_app()
                break
            if not _ended(self._sidecar):
                self._hot_restart()
                continue
            try:
                self._restart_sidecar()
            except SidecarFailed as error:
                _say(f"{error}; stopping {self._command[0]}")
                self._stop_app()
                return 1
            except Stopped:
                self._stop_app()
                break
        self._stop_sidecar()
        return _code(self._app)

    # -- the sidecar

    def _start_sidecar(self, timeout: float) -> dict[str, Any]:
        """Start it and return its ready line. Raises SidecarFailed, or Stopped when told to stop meanwhile."""
        self._close_events()
        self._restart_asked = False
        self._sidecar, self._events = self._launch(self._config)
        stops = len(self._stops)
        self._wait(lambda: self._said("ready") is not None or _ended(self._sidecar) or len(self._stops) > stops,
                   time.monotonic() + timeout)
        ready = self._said("ready")
        if ready is not None and not _ended(self._sidecar):
            self._config = with_ports(self._config, ready)
            self._up_since = time.monotonic()
            return ready
        if len(self._stops) > stops:
            self._stop_sidecar()
            raise Stopped
        if _ended(self._sidecar):
            code = _code(self._sidecar)
            raise SidecarFailed(f"the sidecar ended with exit code {code} before it was ready", 2 if code == 2 else 1)
        _kill(self._sidecar)
        raise SidecarFailed(f"the sidecar was not ready within {timeout:g} s")

    def _launch(self, config: SidecarConfig) -> tuple[subprocess.Popen[bytes], Events]:
        """Start a process. Raises SidecarFailed."""
        events = Events()
        argv = [*self._sidecar_command, *to_argv(dataclasses.replace(config, ready_fd=events.theirs))]
        try:
            return self._spawn(argv, self._environ, pass_fds=(events.theirs,), stdin=subprocess.DEVNULL), events
        except OSError as error:
            events.close()
            raise SidecarFailed(f"the sidecar can't be started: {error.strerror}") from None
        finally:
            os.close(events.theirs)

    def _hot_restart(self) -> None:
        """Put a new sidecar in the place of the running one, which drains and ends; if that fails, all is as before."""
        self._restart_asked = False
        old, events, retiring = self._sidecar, self._events, self._retiring
        try:
            config = keep_ports(self._configure(), self._config)
            if (config.id, config.state_dir) != (self._config.id, self._config.state_dir):
                raise SidecarFailed(f"it would be {config.id} in {config.state_dir}: stop it and start it so")
            self._sidecar, self._events = self._launch(dataclasses.replace(config, takeover=True))
            self._retiring = [*(each for each in retiring if not _ended(each)), *([old] if old is not None else [])]
            self._wait(lambda: self._said("ready") is not None or _ended(self._sidecar) or _ended(self._app)
                       or bool(self._stops), time.monotonic() + READY_TIMEOUT)
            ready = self._said("ready")
            if ready is None:
                raise SidecarFailed(f"the new sidecar ended with exit code {_code(self._sidecar)}"
                                    if _ended(self._sidecar) else "the new sidecar was not ready in time")
        except (InvalidConfig, SidecarFailed) as error:
            if self._sidecar is not old:
                _kill(self._sidecar)
                self._close_events()
            self._sidecar, self._events, self._retiring = old, events, retiring
            _say(f"no hot restart: {error}")
            return
        if events is not None:
            events.close()
        self._config = with_ports(config, ready)
        self._up_since = time.monotonic()

    def _restart_sidecar(self) -> None:
        """The sidecar has died: start it anew, on the same ports."""
        deadline = time.monotonic() + RESTART_TIMEOUT
        if time.monotonic() - self._up_since > _STEADY:
            self._failures = 0
        while True:
            pause = min(_BACKOFF_FIRST * 2 ** min(self._failures, 10), _BACKOFF_LONGEST,
                        max(0.0, deadline - time.monotonic()))
            self._failures += 1
            _say(f"the sidecar ended with exit code {_code(self._sidecar)}; starting it again in {pause:.2g} s")
            self._wait(lambda: _ended(self._app) or bool(self._stops), time.monotonic() + pause)
            if _ended(self._app) or self._stops:
                return
            try:
                self._start_sidecar(max(deadline - time.monotonic(), 1.0))
                return
            except SidecarFailed:
                if time.monotonic() >= deadline:
                    raise SidecarFailed(f"the sidecar did not come up again within {RESTART_TIMEOUT:g} s") from None

    # -- stopping

    def _drain_then_stop_app(self) -> None:
        """TERM or INT came: no new calls from others, finish those in flight, then the app."""
        if not _ended(self._sidecar):
            if self._events is not None:
                self._events.forget()
            _send(self._sidecar, signal.SIGUSR1)
            self._until_hastened(
                lambda: self._said("drained") is not None or _ended(self._sidecar) or _ended(self._app),
                self._config.drain_timeout + _DRAIN_SLACK)
        self._stop_app()

    def _stop_app(self) -> None:
        self._stop(self._app, self._config.drain_timeout + _GRACE)

    def _stop_sidecar(self) -> None:
        for child in (*self._retiring, self._sidecar):
            self._stop(child, self._config.drain_timeout + _GRACE)
        self._close_events()

    def _stop(self, child: subprocess.Popen[bytes] | None, timeout: float) -> None:
        """TERM, and KILL when it has not ended in time or a further TERM or INT hastens."""
        if not _ended(child):
            _send(child, signal.SIGTERM)
            self._until_hastened(lambda: _ended(child), timeout)
        _kill(child)

    def _until_hastened(self, done: Callable[[], bool], timeout: float) -> None:
        stops = len(self._stops)
        self._wait(lambda: done() or len(self._stops) > stops, time.monotonic() + timeout)

    # -- processes

    def _spawn(self, argv: Sequence[str], environ: Mapping[str, str], **more: Any) -> subprocess.Popen[bytes]:
        parent = os.getpid()

        def become() -> None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # killed before the line above
                os._exit(1)

        # A terminal's stdin would stop a background group that reads it (SIGTTIN); then there is nothing to read.
        more.setdefault("stdin", subprocess.DEVNULL if os.isatty(0) else None)
        return subprocess.Popen(list(argv), env=dict(environ), preexec_fn=become, process_group=0, **more)

    def _close_events(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    # -- waiting

    def _wait(self, done: Callable[[], bool], deadline: float | None) -> None:
        """Sleep until `done()` or the deadline (monotonic seconds), and pass signals on meanwhile."""
        while True:
            self._reap()
            if done():
                return
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            poll = select.poll()
            poll.register(self._wake_fd, select.POLLIN)
            if self._events is not None and self._events.fd >= 0:
                poll.register(self._events.fd, select.POLLIN)
            for fd, _ in poll.poll(None if left is None else max(1, int(left * 1000) + 1)):
                if fd == self._wake_fd:
                    _read(fd)
                elif self._events is not None:
                    self._events.read()

    def _said(self, name: str) -> dict[str, Any] | None:
        """The sidecar's line with this event, if there was one."""
        return self._events.said(name) if self._events is not None else None

    def _reap(self) -> None:
        """Collect the children that have ended; as process 1 of a container also those that were left to us."""
        ours = {child.pid: child for child in (self._app, self._sidecar, *self._retiring) if child is not None}
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            child = ours.get(found.si_pid)
            if child is not None:
                child.poll()
            else:
                os.waitpid(found.si_pid, 0)

    def _take_signals(self) -> Callable[[], None]:
        """Handle signals from now on; returns what gives them back."""
        self._wake_fd, write_end = os.pipe()
        os.set_blocking(self._wake_fd, False)
        os.set_blocking(write_end, False)
        handled = [*_FORWARDED, *_STOPPING, _HOT_RESTART, signal.SIGCHLD]
        if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup
            handled.remove(signal.SIGHUP)
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

        def restore() -> None:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._wake_fd)
            os.close(write_end)

        return restore

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in _STOPPING:
            self._stops.append(number)
        elif number == _HOT_RESTART:
            self._restart_asked = True
        elif number in _FORWARDED:
            _send(self._app, number)


def with_ports(config: SidecarConfig, ready: Mapping[str, Any]) -> SidecarConfig:
    """Return `config` with the ports that the sidecar has really got, so that a restarted one takes the same."""
    outbound = ready.get("outbound") or {}
    return dataclasses.replace(
        config,
        inbound=_address(ready.get("inbound")) or config.inbound,
        outbound=tuple(each._replace(address=_address(outbound.get(each.service)) or each.address)
                       for each in config.outbound),
        outbound_shared=_address(ready.get("outbound_shared")) or config.outbound_shared)


def keep_ports(config: SidecarConfig, before: SidecarConfig) -> SidecarConfig:
    """Return `config` with the ports of `before` where it leaves the choice: the app has been told of those."""
    def kept(new: Address | None, old: Address | None) -> Address | None:
        return old if new is not None and old is not None and new == (old.host, 0) else new

    outbound = {each.service: each.address for each in before.outbound}
    return dataclasses.replace(
        config,
        inbound=kept(config.inbound, before.inbound) or config.inbound,
        outbound=tuple(each._replace(address=kept(each.address, outbound.get(each.service)) or each.address)
                       for each in config.outbound),
        outbound_shared=kept(config.outbound_shared, before.outbound_shared))


def _address(text: Any) -> Address | None:
    if not isinstance(text, str) or ":" not in text:
        return None
    host, _, port = text.rpartition(":")
    return Address(host.removeprefix("[").removesuffix("]"), int(port))


def _ended(child: subprocess.Popen[bytes] | None) -> bool:
    return child is None or child.returncode is not None


def _code(child: subprocess.Popen[bytes] | None) -> int:
    """The exit code as a shell gives it."""
    code = child.returncode if child is not None else 1
    return 128 - code if code is not None and code < 0 else code or 0


def _send(child: subprocess.Popen[bytes] | None, number: int) -> None:
    if child is not None and child.returncode is None:
        child.send_signal(number)


def _kill(child: subprocess.Popen[bytes] | None) -> None:
    """End a child that hasn't ended, with its process group (once it is gone, the group's number may be another's)."""
    if child is not None and child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _read(fd: int) -> bytes | None:
    try:
        return os.read(fd, 65_536)
    except BlockingIOError:
        return None


def _say(message: str) -> None:
    print(f"mesh run: {message}", file=sys.stderr, flush=True)
