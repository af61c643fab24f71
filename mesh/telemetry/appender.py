"""A file that lines are added to, without the event loop ever waiting for the disk or for whoever reads the pipe.

What lives here: the one thread that writes, bounded, and the file's change of identity (rotation). What this must not
know: what is in a line.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import queue
import stat
import sys
import threading
from typing import NamedTuple

from mesh.errors import InvalidConfig

STDOUT = "-"
# Octets that wait for the thread at most; what does not fit stays with whoever wants to add it.
MAX_WAITING = 1 << 20
# What several processes write to one pipe stays apart up to this size (POSIX; 4096 on Linux).
_PIPE_BUF = 4096

_log = logging.getLogger(__name__)


class Batch(NamedTuple):
    """Whole lines."""

    data: bytes
    lines: int


def check_path(option: str, path: str) -> None:
    """Refuse a file that can't be added to (InvalidConfig begins with the option); it is made if it is missing."""
    if path == STDOUT:
        return
    try:
        os.close(_open(path))
    except OSError as error:
        raise InvalidConfig(f"{option} {path}: {(error.strerror or str(error)).lower()}") from None


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


class Appender:
    """Adds to the file at `path`, or to standard output (`-`).

    The file is opened anew when another one is at its path, or none (logrotate with or without `create`; `copytruncate`
    works by itself). A file of `limit` octets gets no more, 0: no limit. `written` and `lost` count lines.
    """

    def __init__(self, path: str, limit: int = 0) -> None:
        self.path = path
        self._limit = limit
        self.written = 0
        self.lost = 0
        # Octets, each counted by one side only.
        self._given = 0
        self._taken = 0
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._fd = -1
        self._complained = False
        # A daemon: a pipe that nobody reads must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name=f"lines to {path}", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether there is room for more."""
        return self._given - self._taken < MAX_WAITING

    def add(self, data: bytes, lines: int) -> None:
        """Have `data`, which is so many whole lines, written soon."""
        self._given += len(data)
        self._queue.put(Batch(data, lines))

    def close(self, timeout: float) -> None:
        """Wait at most `timeout` seconds until all is written; what is not then may be lost."""
        self._queue.put(None)
        self._thread.join(timeout)

    # -- in the thread

    def _run(self) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._write(batch.data)
                self.written += batch.lines
                self._complained = False
            except OSError as error:
                self.lost += batch.lines
                if not self._complained:
                    self._complained = True
                    _log.error("%s: lines are lost: %s", self.path, error.strerror or error)
                self._forget()
            self._taken += len(batch.data)
        self._forget()

    def _write(self, data: bytes) -> None:
        fd = self._current()
        status = os.fstat(fd)
        if 0 < self._limit < status.st_size + len(data):
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        if stat.S_ISFIFO(status.st_mode):
            for part in _parts(data):
                _write_all(fd, part)
        else:
            _write_all(fd, data)

    def _current(self) -> int:
        if self.path == STDOUT:
            return sys.stdout.fileno() if sys.stdout is not None else 1
        if self._fd >= 0:
            mine = os.fstat(self._fd)
            with contextlib.suppress(FileNotFoundError):
                there = os.stat(self.path)
                if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                    return self._fd
            self._forget()
        self._fd = _open(self.path)
        return self._fd

    def _forget(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def _parts(data: bytes) -> list[bytes]:
    """Whole lines together, as many as a pipe takes at once."""
    parts: list[bytes] = []
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _PIPE_BUF) + 1
        if end == 0:  # a longer line
            end = data.index(b"\n", start) + 1
        parts.append(data[start:end])
        start = end
    return parts
