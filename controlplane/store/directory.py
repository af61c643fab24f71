"""The data directory: made if missing, and held by one control plane at a time.

What lives here: the lock. What this must not know: what the files in the directory hold.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from mesh.errors import InvalidConfig


class DataDirectory:
    """A claimed data directory. The kernel drops the claim with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        """Claim `path`. Raises InvalidConfig when it can't be made, written to, or is in use."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise InvalidConfig(f"--data-dir {path}: {error.strerror}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(self._lock, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            raise InvalidConfig(f"--data-dir {path}: in use by another control plane (pid {holder})") from None
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            self.release()
            raise InvalidConfig(f"--data-dir {path}: {error.strerror}") from None

    def release(self) -> None:
        """Let another control plane have the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
