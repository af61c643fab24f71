"""The checks of databases against real ones: Redis, MariaDB, PostgreSQL from Debian's packages, where they are
installed.

`.ci/run` installs them.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e_mesh import Mesh, service
from e2e_processes import Sidecar, eventually

from mesh.v1 import endpoint_pb2

pytestmark = pytest.mark.e2e
OFTEN = {"interval": "0.2s", "timeout": "2s", "rise": 1, "fall": 1, "fastInterval": "0.2s"}


def program(*names: str) -> str:
    """The first of these programs that is installed; the test is skipped where none is."""
    for name in names:
        found = shutil.which(name) or next(iter(sorted(glob.glob(name))), None)
        if found:
            return found
    pytest.skip(f"{' or '.join(names)} is not installed")


class Server:
    """A database in a directory of its own, as the user `account` where the tests run as root."""

    def __init__(self, account: str) -> None:
        self.account = account if os.getuid() == 0 else None
        self.port = 0
        self.process: Any = None
        if self.account is not None:
            try:
                user = pwd.getpwnam(self.account)
            except KeyError:
                pytest.skip(f"there is no user {self.account}: the database is not installed")
        self.directory = tempfile.mkdtemp(prefix="mesh-db-")
        if self.account is not None:
            os.chown(self.directory, user.pw_uid, user.pw_gid)

    def run(self, *argv: str) -> None:
        done = subprocess.run(argv, cwd=self.directory, user=self.account, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self, *argv: str) -> None:
        """`PORT` in `argv` is a free port; if another process was quicker to take it, another one."""
        for _ in range(5):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            with open(Path(self.directory, "log"), "ab") as log:
                self.process = subprocess.Popen([part.replace("PORT", str(self.port)) for part in argv],
                                                cwd=self.directory, user=self.account, stdout=log, stderr=log)
            with contextlib.suppress(ChildProcessError):
                eventually(self.accepts, f"{argv[0]} accepts connections", 60)
                return
        raise AssertionError(Path(self.directory, "log").read_text(errors="replace")[-3000:])

    def accepts(self) -> bool:
        if self.process.poll() is not None:
            raise ChildProcessError
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        return False

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def close(self) -> None:
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with contextlib.closing(Server(request.param)) as made:
        yield made


class Watcher:
    """A sidecar that calls `db`, an endpoint without a sidecar of its own."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        self.mesh = mesh
        self.name = name
        self.sidecar: Sidecar = mesh.sidecar(f"{name}-user", f"{name}-user-0", outbound=[f"{name}/tcp"])

    def check(self, at: int, **kind: Any) -> None:
        """Check in this way from now on."""
        self.mesh.apply(service(self.name, "TCP", health={**kind, **OFTEN}), endpoints=[
            endpoint_pb2.Endpoint(service=self.name, name="db", host="127.0.0.1", port=at)])

    def state(self) -> tuple[str | None, str | None]:
        found = [(each["check"], each["check_failure"]) for each in self.sidecar.endpoints(self.name).values()]
        return found[0] if found else (None, None)

    def wait_passing(self) -> None:
        eventually(lambda: self.state()[0] == "passing", f"{self.name} passes", 60)

    def wait_failing(self, why: str) -> None:
        """Wait until checks fail for this reason; others may come before it."""
        eventually(lambda: why in str(self.state()[1]), f"{self.name} fails: {why}", 60)


REDIS, MARIADB, POSTGRES = (pytest.mark.parametrize("server", [account], indirect=True)
                            for account in ("nobody", "mysql", "postgres"))


@REDIS
def test_redis(mesh: Mesh, server: Server) -> None:
    server.start(program("redis-server"), "--port", "PORT", "--bind", "127.0.0.1", "--save", "", "--dir",
                 server.directory)
    watcher = Watcher(mesh, "redis")
    watcher.check(server.port, redis={})
    watcher.wait_passing()
    server.process.send_signal(signal.SIGSTOP)
    watcher.wait_failing("no answer within 2 s")
    server.process.send_signal(signal.SIGCONT)
    watcher.wait_passing()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"CONFIG SET requirepass secret\r\n")
        assert connection.recv(100) == b"+OK\r\n"
    watcher.check(server.port, tcp={}, port=1)
    watcher.wait_failing("connection refused")
    watcher.check(server.port, redis={})
    watcher.wait_passing()  # that it wants a password says that it is there
    server.kill()
    watcher.wait_failing("connection refused")


@MARIADB
def test_mariadb(mesh: Mesh, server: Server) -> None:
    install, daemon = program("mariadb-install-db"), program("mariadbd", "/usr/sbin/mariadbd")
    data = f"{server.directory}/data"
    server.run(install, "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal",
               "--skip-test-db")
    Path(server.directory, "init.sql").write_text("CREATE USER IF NOT EXISTS 'check'@'127.0.0.1';\n")
    server.start(daemon, "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1", "--port=PORT",
                 f"--socket={server.directory}/sock", f"--init-file={server.directory}/init.sql",
                 "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0")
    watcher = Watcher(mesh, "mariadb")
    watcher.check(server.port, mysql={})
    watcher.wait_passing()
    watcher.check(server.port, mysql={"user": "stranger"})
    watcher.wait_failing("MySQL error 1045: Access denied for user 'stranger'")
    watcher.check(server.port, mysql={"user": "check"})
    watcher.wait_passing()
    server.kill()
    watcher.wait_failing("connection refused")


@POSTGRES
def test_postgres(mesh: Mesh, server: Server) -> None:
    initdb, daemon = program("/usr/lib/postgresql/*/bin/initdb"), program("/usr/lib/postgresql/*/bin/postgres")
    data = f"{server.directory}/data"
    server.run(initdb, "-D", data, "-A", "trust", "-U", "check", "--no-sync", "--no-locale", "-E", "UTF8")
    server.start(daemon, "-D", data, "-p", "PORT", "-c", "listen_addresses=127.0.0.1", "-c",
                 "unix_socket_directories=", "-c", "fsync=off")
    watcher = Watcher(mesh, "postgres")
    for check in ({}, {"user": "check"}, {"user": "stranger"}):  # who is not let in knows that somebody is there
        watcher.check(server.port, tcp={}, port=1)
        watcher.wait_failing("connection refused")
        watcher.check(server.port, postgres=check)
        watcher.wait_passing()
    server.process.send_signal(signal.SIGSTOP)
    watcher.wait_failing("no answer within 2 s")
    server.process.send_signal(signal.SIGCONT)
    watcher.wait_passing()
    server.process.send_signal(signal.SIGINT)  # fast shutdown
    server.process.wait(30)
    watcher.wait_failing("connection refused")
