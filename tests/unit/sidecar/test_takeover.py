"""Hot restart between two sides in one process: the old one's loop is a table of callbacks that the test calls."""

from __future__ import annotations

import json
import os
import select
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.errors import InvalidConfig
from mesh.sidecar import takeover
from mesh.sidecar.config import SidecarConfig, load
from mesh.sidecar.sockets import Sockets
from mesh.sidecar.takeover import VERSION, Handover, find, path_of


class Loop:
    """Calls what is readable, in a thread, while the test waits in blocking calls as the new process does."""

    def __init__(self) -> None:
        self.readers: dict[int, Callable[[], object]] = {}
        self._wake, self._woken = os.pipe()
        self._thread = threading.Thread(target=self._run)

    def add_reader(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        self.readers[fd] = lambda: callback(*args)

    def remove_reader(self, fd: int, /) -> None:
        self.readers.pop(fd, None)

    def add_writer(self, fd: int, callback: Callable[..., object], /, *args: Any) -> None:
        raise AssertionError("nothing here is too large to be sent at once")

    remove_writer = remove_reader

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([*self.readers, self._wake], [], [])
            if self._wake in ready:
                return
            for fd in ready:
                if fd in self.readers:
                    self.readers[fd]()

    def stop(self) -> None:
        os.write(self._woken, b"x")
        self._thread.join()
        os.close(self._wake)
        os.close(self._woken)


class Old:
    """The running sidecar."""

    def __init__(self, config: SidecarConfig) -> None:
        self.loop = Loop()
        self.sockets = Sockets.bind(config)
        self.said: list[str] = []
        self.heard = threading.Condition()
        self.handover = Handover(self.loop, config, lambda: self.sockets, lambda: self._say("begun"),
                                 lambda: self._say("failed"), lambda: self._say("done"))
        self.handover.open()

    def _say(self, word: str) -> None:
        with self.heard:
            self.said.append(word)
            self.heard.notify()

    def wait(self, *said: str) -> None:
        with self.heard:
            assert self.heard.wait_for(lambda: self.said == list(said), 5), self.said

    def stop(self) -> None:
        self.loop.stop()
        self.handover.close()
        self.sockets.close()


@pytest.fixture
def config(tmp_path: Path) -> SidecarConfig:
    return load(["--service", "cart", "--outbound", "stock=0", "--outbound-shared", "0",
                 "--state-dir", str(tmp_path / "state")], {})


@pytest.fixture
def old(config: SidecarConfig) -> Iterator[Old]:
    old = Old(config)
    old.loop.start()
    yield old
    old.stop()


def connected(config: SidecarConfig) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    sock.connect(str(path_of(config)))
    return sock


def test_the_new_one_gets_every_socket_and_says_when_it_is_ready(old: Old, config: SidecarConfig) -> None:
    predecessor = find(config)
    assert predecessor is not None
    old.wait("begun")
    assert predecessor.pid == os.getpid()
    assert [(name, sock.getsockname()) for name, sock in predecessor.sockets] == \
        [(name, sock.getsockname()) for name, sock in old.sockets]
    with socket.create_connection(old.sockets["outbound stock"][0].getsockname()) as client:
        accepted, _ = predecessor.sockets[0][1].accept()
        accepted.sendall(b"hello")
        assert client.recv(5) == b"hello"
        accepted.close()
    predecessor.dismiss()
    old.wait("begun", "done")
    for _, sock in predecessor.sockets:
        sock.close()


def test_the_path_is_for_its_owner_alone_and_goes_with_the_sidecar(config: SidecarConfig) -> None:
    old = Old(config)
    path = path_of(config)
    assert path.name == "cart.cart-0.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == [path.name]
    old.loop.start()
    old.stop()
    assert os.listdir(path.parent) == []
    assert old.loop.readers == {}


def test_whoever_is_dismissed_leaves_the_path_to_its_successor(config: SidecarConfig) -> None:
    """Were it to look whose it is and then remove it, the successor could put its own there in between."""
    old = Old(config)
    old.loop.start()
    predecessor = find(config)
    assert predecessor is not None
    predecessor.dismiss()
    old.wait("begun", "done")
    for _, sock in predecessor.sockets:
        sock.close()
    old.stop()
    assert os.listdir(path_of(config).parent) == [path_of(config).name]
    assert find(config) is None  # nobody is there: not even a successor came


def test_a_successor_that_hangs_up_changes_nothing(old: Old, config: SidecarConfig) -> None:
    for number in range(1, 4):
        predecessor = find(config)
        assert predecessor is not None
        predecessor.close()
        for _, sock in predecessor.sockets:
            sock.close()
        old.wait(*["begun", "failed"] * number)
    socket.create_connection(old.sockets["outbound stock"][0].getsockname()).close()


def test_one_at_a_time(old: Old, config: SidecarConfig) -> None:
    first = find(config)
    assert first is not None
    with pytest.raises(InvalidConfig, match=rf"^--takeover: the running sidecar \(process {os.getpid()}\) says: "
                                            rf"process {os.getpid()} is taking over just now$"):
        find(config)
    first.close()
    for _, sock in first.sockets:
        sock.close()
    old.wait("begun", "failed")


def test_nobody_to_take_over_from(config: SidecarConfig) -> None:
    assert find(config) is None  # not even a directory
    old = Old(config)
    old.loop.start()
    left = path_of(config).with_name("left")
    os.link(path_of(config), left)
    old.stop()
    left.rename(path_of(config))  # as one that was killed leaves it
    assert find(config) is None


def test_the_newest_waits_at_the_path(config: SidecarConfig) -> None:
    old, new = Old(config), Old(config)
    old.loop.start()
    new.loop.start()
    old.stop()  # leaves alone what is not its own any more
    predecessor = find(config)
    assert predecessor is not None
    new.wait("begun")
    predecessor.dismiss()
    new.wait("begun", "done")
    for _, sock in predecessor.sockets:
        sock.close()
    new.stop()


def test_a_new_one_of_another_version_is_told_so(old: Old, config: SidecarConfig) -> None:
    with connected(config) as sock:
        sock.send(json.dumps({"takeover": VERSION + 1, "id": config.id}).encode())
        answer = json.loads(sock.recv(10_000))
    assert answer["takeover"] == VERSION
    assert answer["error"] == f"it speaks version {VERSION + 1} of the takeover, this one {VERSION}"
    assert old.said == []


@pytest.mark.parametrize("request_", [b"", b"[]", b"hello", b'{"takeover": 1, "id": "cart/cart-1"}',
                                      b'{"drain": true}'])
def test_what_is_no_request_gets_nothing(old: Old, config: SidecarConfig, request_: bytes) -> None:
    with connected(config) as sock:
        if request_:
            sock.send(request_)
        else:
            sock.shutdown(socket.SHUT_WR)
        answer, descriptors, _, _ = socket.recv_fds(sock, 10_000, 10)
        assert descriptors == []
        assert answer == b"" or "error" in json.loads(answer)
    predecessor = find(config)  # and nobody is kept away by it
    assert predecessor is not None
    predecessor.close()
    for _, sock in predecessor.sockets:
        sock.close()
    old.wait("begun", "failed")


def test_descriptors_that_nobody_asked_for_are_closed(old: Old, config: SidecarConfig) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with connected(config) as sock:
        socket.send_fds(sock, [b"here"], [0, 1, 2])
        assert sock.recv(100) == b""
    assert len(os.listdir("/proc/self/fd")) == before


def test_more_sockets_than_one_message_takes(config: SidecarConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_BATCH", 1)
    old = Old(config)
    old.loop.start()
    predecessor = find(config)
    assert predecessor is not None
    assert [name for name, _ in predecessor.sockets] == ["outbound stock", "outbound-shared",
                                                                 "outbound stock udp"]
    predecessor.dismiss()
    for _, sock in predecessor.sockets:
        sock.close()
    old.wait("begun", "done")
    old.stop()


def answering(config: SidecarConfig, answer: bytes, descriptors: int = 0) -> None:
    """A running sidecar of another kind: answers the first message so, and hangs up."""
    path_of(config).parent.mkdir()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(str(path_of(config)))
    server.listen()

    def run() -> None:
        with server, server.accept()[0] as sock:
            sock.recv(1000)
            if answer:
                socket.send_fds(sock, [answer], [server.fileno()] * descriptors)

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.parametrize(("answer", "descriptors", "said"), [
    (b'{"takeover": 7, "error": "what?"}', 0, r"speaks version 7 of the takeover, this one 1: stop it instead$"),
    (b'{"takeover": 2, "sockets": ["inbound"]}', 1, r"speaks version 2 of the takeover"),
    (b'{"takeover": 1, "sockets": ["inbound", "x"]}', 1, r"1 sockets came, the running sidecar names \['inbound', 'x'"),
    (b'{"takeover": 1, "sockets": 3}', 0, "0 sockets came, the running sidecar names 3$"),
    (b'"hello"', 0, "hung up$"),
    (b"", 0, "hung up$"),
])
def test_an_old_one_that_is_not_understood(config: SidecarConfig, answer: bytes, descriptors: int, said: str) -> None:
    answering(config, answer, descriptors)
    with pytest.raises(InvalidConfig, match=r"^--takeover: .*" + said):
        find(config)


def test_an_old_one_that_does_not_answer(config: SidecarConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "PATIENCE", 0.05)
    path_of(config).parent.mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(str(path_of(config)))
        server.listen()
        with pytest.raises(InvalidConfig, match=r"^--takeover: the running sidecar does not answer within 0.05 s$"):
            find(config)


def test_another_users_sidecar_is_left_alone_and_another_user_gets_nothing(
        old: Old, config: SidecarConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "_peer", lambda sock: (123, os.geteuid() + 1))
    with pytest.raises(InvalidConfig, match=rf"^--takeover: process 123 belongs to user {os.geteuid() + 1}"):
        find(config)
    with connected(config) as sock:
        assert sock.recv(100) == b""
    assert old.said == []


def test_long_names_and_deep_directories_fit(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 60] * 4)
    config = load(["--service", "s" * 63, "--instance", "i" * 63, "--state-dir", str(deep)], {})
    old = Old(config)
    old.loop.start()
    predecessor = find(config)
    assert predecessor is not None
    assert predecessor.sockets == []
    predecessor.dismiss()
    old.wait("begun", "done")
    old.stop()


def test_a_state_directory_that_cannot_be_had_is_no_reason_not_to_serve(
        tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    config = load(["--service", "cart", "--state-dir", str(tmp_path / "file")], {})
    old = Old(config)
    old.loop.start()
    old.stop()
    assert "no hot restart" in caplog.text
