"""Hot restart: a new sidecar gets the listening sockets of the running one, and tells it to drain when it is ready.

What lives here: the Unix socket between the two and what is said over it. What this must not know: what is behind the
sockets, how a sidecar drains or registers.

The socket is `<state-dir>/<service>.<instance>.sock`, mode 0600, and both sides check that the other runs as the same
user. It keeps the boundaries of messages (SOCK_SEQPACKET); each is one JSON object:

    new: {"takeover": 1, "id": "cart/cart-0"}
    old: {"takeover": 1, "pid": 7, "sockets": ["inbound", "outbound stock", ...], "more": false}, with the descriptors
         beside it (SCM_RIGHTS) in that order; or {"takeover": 1, "error": "..."}
    new: {"drain": true}, once it serves; the end of the connection without it means that the new one has failed

A side that speaks another version says its own in `takeover`, so that the other can name both.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mesh.errors import InvalidConfig
from mesh.sidecar.config import SidecarConfig
from mesh.sidecar.link import Loop
from mesh.sidecar.sockets import Named, reason

VERSION = 1
# Longest wait for the answer of the running sidecar, in seconds.
PATIENCE = 5.0
# The kernel passes at most 253 descriptors with one message (SCM_MAX_FD).
_BATCH = 200
_MESSAGE = 65_536
# Connections that have not asked for anything yet.
_MOST_WAITING = 8
_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED
_LONGEST_NAME = 80  # of the 107 bytes that an address has (unix(7)), beside /proc/self/fd/N/

_log = logging.getLogger("mesh.sidecar")


def path_of(config: SidecarConfig) -> Path:
    """Return where a sidecar of this configuration can be taken over; a name too long for a socket is hashed."""
    name = f"{config.service}.{config.instance}.sock"
    if len(name) > _LONGEST_NAME:
        name = f"{hashlib.sha256(config.id.encode()).hexdigest()[:40]}.sock"
    return Path(config.state_dir) / name


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Name a socket by its directory's descriptor: the directory's own path may be longer than an address."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _peer(sock: socket.socket) -> tuple[int, int]:
    """Return pid and user id of the other side, as the kernel knows them."""
    pid, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return pid, uid


def _receive(sock: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Return the next message and its descriptors; None at the end of the connection or for what is no message."""
    data, descriptors, _, _ = socket.recv_fds(sock, _MESSAGE, _BATCH)
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    return message if isinstance(message, dict) else None, descriptors


def _send(sock: socket.socket, message: dict[str, Any], descriptors: Iterable[int] = ()) -> None:
    socket.send_fds(sock, [json.dumps(message).encode()], list(descriptors))


class Predecessor:
    """The running sidecar as the new one sees it. `sockets` are its listening sockets with their names."""

    def __init__(self, sock: socket.socket, pid: int, sockets: list[Named]) -> None:
        self._sock = sock
        self.pid = pid
        self.sockets = sockets

    def dismiss(self) -> None:
        """Have it drain and end: this process serves now. It may have ended already."""
        with contextlib.suppress(OSError):
            _send(self._sock, {"drain": True})
        self.close()

    def close(self) -> None:
        """Hang up. Where it was not dismissed, it goes on as if nothing had been."""
        self._sock.close()


def find(config: SidecarConfig) -> Predecessor | None:
    """Ask the running sidecar for its sockets; None when none runs.

    Raises InvalidConfig when it can't be taken over; it goes on then as if nothing had been.
    """
    path = path_of(config)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(PATIENCE)
        try:
            with _short(path) as short:
                sock.connect(short)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            return None
        return _ask(sock, config)
    except TimeoutError:
        sock.close()
        raise InvalidConfig(f"--takeover: the running sidecar does not answer within {PATIENCE:g} s") from None
    except OSError as error:
        sock.close()
        raise InvalidConfig(f"--takeover: {path}: {reason(error)}") from None
    except BaseException:
        sock.close()
        raise


def _ask(sock: socket.socket, config: SidecarConfig) -> Predecessor:
    pid, uid = _peer(sock)
    if uid != os.geteuid():
        raise InvalidConfig(f"--takeover: process {pid} belongs to user {uid}, not to this one")
    _send(sock, {"takeover": VERSION, "id": config.id})
    sockets: list[Named] = []
    try:
        while True:
            message, descriptors = _receive(sock)
            received = [socket.socket(fileno=descriptor) for descriptor in descriptors]
            sockets += [("", each) for each in received]  # closed below if anything is wrong
            if message is None:
                raise InvalidConfig(f"--takeover: the running sidecar (process {pid}) hung up")
            if message.get("takeover") != VERSION:
                raise InvalidConfig(f"--takeover: the running sidecar (process {pid}) speaks version "
                                    f"{message.get('takeover')} of the takeover, this one {VERSION}: stop it instead")
            if "error" in message:
                raise InvalidConfig(f"--takeover: the running sidecar (process {pid}) says: {message['error']}")
            names = message.get("sockets")
            if not isinstance(names, list) or len(names) != len(received):
                raise InvalidConfig(f"--takeover: {len(received)} sockets came, the running sidecar names {names}")
            sockets[len(sockets) - len(received):] = zip(map(str, names), received, strict=True)
            if not message.get("more"):
                return Predecessor(sock, pid, sockets)
    except BaseException:
        for _, each in sockets:
            each.close()
        raise


class Handover:
    """The running side: waits at the path of `config` for a successor and gives it what `sockets()` returns.

    `begun()` is called when a successor has the sockets, then either `failed()` or, once, `done()`.
    """

    def __init__(self, loop: Loop, config: SidecarConfig, sockets: Callable[[], Iterable[Named]],
                 begun: Callable[[], object], failed: Callable[[], object], done: Callable[[], object]) -> None:
        self._loop = loop
        self._id = config.id
        self._path = path_of(config)
        self._sockets = sockets
        self._begun = begun
        self._failed = failed
        self._done = done
        self._listener: socket.socket | None = None
        self._inode = 0
        self._waiting: set[socket.socket] = set()
        self._successor: socket.socket | None = None
        self._pid = 0

    def open(self) -> None:
        """Wait for successors from now on, in the place of whoever waited there; that it can't be is only logged."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self._path.with_name(f".{os.getpid()}.sock")
            with _short(temporary) as short:
                temporary.unlink(missing_ok=True)
                sock.bind(short)
                temporary.chmod(0o600)  # nobody can have connected yet: it does not listen
            sock.listen(_MOST_WAITING)
            sock.setblocking(False)
            self._inode = temporary.stat().st_ino
            temporary.replace(self._path)
        except OSError as error:
            sock.close()
            _log.warning("no hot restart: %s: %s", self._path, reason(error))
            return
        self._listener = sock
        self._loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Wait no more. The path goes too, unless a successor has put its own there."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                if self._path.stat().st_ino == self._inode:
                    self._path.unlink()
        self.forget()

    def forget(self) -> None:
        """Wait no more in this process: another that has been forked from it does."""
        if self._listener is not None:
            self._drop(self._listener)
            self._listener = None
        for sock in (*self._waiting, *((self._successor,) if self._successor else ())):
            self._drop(sock)
        self._waiting.clear()
        self._successor = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return
        pid, uid = _peer(sock)
        if uid != os.geteuid():
            _log.warning("process %d of user %d may not take this sidecar over", pid, uid)
            sock.close()
            return
        if len(self._waiting) >= _MOST_WAITING:
            self._drop(self._waiting.pop())
        sock.setblocking(False)
        self._waiting.add(sock)
        self._loop.add_reader(sock.fileno(), self._on_message, sock)

    def _on_message(self, sock: socket.socket) -> None:
        try:
            message, descriptors = _receive(sock)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = None, []
        for descriptor in descriptors:  # none is expected
            os.close(descriptor)
        if sock is not self._successor:
            self._on_request(sock, message)
            return
        self._successor = None
        self._drop(sock)
        if message is not None and message.get("drain"):
            _log.info("process %d has taken over", self._pid)
            self.forget()  # the path is the successor's, which may be putting its own there at this moment
            self._done()
        else:
            _log.warning("process %d gave up before it was ready; going on as before", self._pid)
            self._failed()

    def _on_request(self, sock: socket.socket, message: dict[str, Any] | None) -> None:
        self._waiting.discard(sock)
        refusal = self._refusal(message)
        if message is None or refusal:
            if message is not None:
                _log.warning("process %d may not take over: %s", _peer(sock)[0], refusal)
                with contextlib.suppress(OSError):
                    _send(sock, {"takeover": VERSION, "error": refusal})
            self._drop(sock)
            return
        self._successor = sock
        self._pid = _peer(sock)[0]
        try:
            self._give(sock, [(name, each) for name, each in self._sockets() if each.fileno() >= 0])
        except OSError as error:
            _log.warning("process %d could not be given the sockets: %s", self._pid, reason(error))
            self._successor = None
            self._drop(sock)
            return
        self._begun()

    def _refusal(self, message: dict[str, Any] | None) -> str:
        if message is None:
            return "hung up"
        if message.get("takeover") != VERSION:
            return f"it speaks version {message.get('takeover')} of the takeover, this one {VERSION}"
        if message.get("id") != self._id:
            return f"this is {self._id}, not {message.get('id')}"
        if self._successor is not None:
            return f"process {self._pid} is taking over just now"
        return ""

    def _give(self, sock: socket.socket, sockets: list[Named]) -> None:
        """Send everything at once: it is small, and what the socket's buffer doesn't take is an error."""
        _log.info("giving %d listening sockets to process %d", len(sockets), self._pid)
        for start in range(0, max(1, len(sockets)), _BATCH):
            batch = sockets[start:start + _BATCH]
            _send(sock, {"takeover": VERSION, "pid": os.getpid(), "sockets": [name for name, _ in batch],
                         "more": start + _BATCH < len(sockets)}, [each.fileno() for _, each in batch])

    def _drop(self, sock: socket.socket) -> None:
        self._loop.remove_reader(sock.fileno())
        sock.close()
