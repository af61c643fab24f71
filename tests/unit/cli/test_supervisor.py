"""What can be said of the supervisor without processes; the rest is in tests/e2e/test_run.py."""

from __future__ import annotations

import signal
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.cli import supervisor
from mesh.cli.supervisor import Supervisor, keep_ports, with_ports
from mesh.model import Protocol
from mesh.sidecar.config import Address, Outbound, SidecarConfig


def test_a_restarted_sidecar_is_given_the_same_ports() -> None:
    config = SidecarConfig("cart", "cart-0", app=Address("127.0.0.1", 1), outbound=(
        Outbound("stock", Address("127.0.0.1", 0), Protocol.TCP), Outbound("web", Address("::1", 0))),
        outbound_shared=Address("127.0.0.1", 0))
    again = with_ports(config, {"inbound": "127.0.0.1:5", "outbound": {"stock": "127.0.0.1:6", "web": "[::1]:7"},
                                "outbound_shared": "127.0.0.1:8"})
    assert again.inbound == Address("127.0.0.1", 5)
    assert again.outbound == (Outbound("stock", Address("127.0.0.1", 6), Protocol.TCP),
                              Outbound("web", Address("::1", 7)))
    assert again.outbound_shared == Address("127.0.0.1", 8)
    assert with_ports(again, {"inbound": None}) == again


def test_a_configuration_read_anew_keeps_the_ports_that_the_app_was_told_of() -> None:
    local = Address("127.0.0.1", 0)
    before = SidecarConfig("cart", "cart-0", app=Address("127.0.0.1", 1), inbound=Address("127.0.0.1", 5), outbound=(
        Outbound("stock", Address("127.0.0.1", 6)), Outbound("web", Address("127.0.0.1", 7))),
        outbound_shared=Address("127.0.0.1", 8))
    anew = SidecarConfig("cart", "cart-0", app=Address("127.0.0.1", 1), inbound=Address("127.0.0.2", 0), outbound=(
        Outbound("web", Address("127.0.0.1", 17)), Outbound("stock", local, Protocol.TCP), Outbound("pay", local)),
        outbound_shared=local)
    kept = keep_ports(anew, before)
    assert kept.inbound == Address("127.0.0.2", 0)  # another host: the choice is the kernel's again
    assert kept.outbound == (Outbound("web", Address("127.0.0.1", 17)),
                             Outbound("stock", Address("127.0.0.1", 6), Protocol.TCP), Outbound("pay", local))
    assert kept.outbound_shared == Address("127.0.0.1", 8)
    assert keep_ports(SidecarConfig("cart", "cart-0"), before).outbound_shared is None


@pytest.mark.parametrize(("returncode", "code"), [(0, 0), (7, 7), (-9, 137), (-15, 143)])
def test_exit_codes_as_a_shell_gives_them(returncode: int, code: int) -> None:
    child: Any = SimpleNamespace(returncode=returncode)
    assert supervisor._code(child) == code


def test_signals_are_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    config = SidecarConfig("cart", "cart-0")
    failing = [sys.executable, "-c", "import sys; sys.exit(5)"]
    code = Supervisor(config, lambda: config, failing, "/bin/true", ["true"], {}, dict).run()
    assert code == 1
    assert capsys.readouterr().err == "mesh run: the sidecar ended with exit code 5 before it was ready\n"
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_sidecar_that_cannot_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    config = SidecarConfig("cart", "cart-0")
    assert Supervisor(config, lambda: config, ["/nonexistent"], "/bin/true", ["true"], {}, dict).run() == 1
    assert capsys.readouterr().err == "mesh run: the sidecar can't be started: No such file or directory\n"


def test_nohup_is_honoured() -> None:
    program = ("import signal\nfrom mesh.cli.supervisor import Supervisor\n"
               "from mesh.sidecar.config import SidecarConfig\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
               "one = Supervisor(SidecarConfig('a', 'a-0'), lambda: None, [], '', [], {}, dict)\n"
               "restore = one._take_signals()\n"
               "print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\nrestore()")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout == "True\n"
