"""`mesh run`: real processes; the sidecar is a stand-in that says what it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).with_name("run_standin.py")
DRIVER = """
import sys
from mesh.cli import run, supervisor
supervisor.READY_TIMEOUT, supervisor.RESTART_TIMEOUT = {ready}, {restart}
sys.exit(run.main(sys.argv[2:], sidecar=[sys.executable, {standin!r}, sys.argv[1], "sidecar"]))
"""

pytestmark = pytest.mark.e2e


class Run:
    """One `mesh run`, its log, and what it says."""

    def __init__(self, folder: Path, *argv: str, mode: str = "", ready: float = 15, restart: float = 10) -> None:
        self.log = folder / "log"
        driver = DRIVER.format(standin=str(STANDIN), ready=ready, restart=restart)
        self.process = subprocess.Popen(
            [sys.executable, "-c", driver, str(self.log), *argv], cwd=folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            # `nohup make test`: an ignored SIGHUP would be inherited, and rightly stay ignored.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
            env={**os.environ, "PYTHONPATH": str(ROOT), "MODE": mode, "MESH_OUTBOUND": "", "MESH_CONFIG": ""})

    @property
    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_line(self, start: str, times: int = 1, timeout: float = 20.0) -> list[str]:
        """Wait until the log has `times` lines that begin so, and return them."""
        deadline = time.monotonic() + timeout
        while True:
            found = [line for line in self.lines if line.startswith(start)]
            if len(found) >= times:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {start!r} in {self.lines}")
            if self.process.poll() is not None and len([li for li in self.lines if li.startswith(start)]) < times:
                raise AssertionError(f"ended without {start!r}: {self.lines}, {self.process.communicate()}")
            time.sleep(0.01)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, timeout: float = 20.0) -> tuple[int, str]:
        """The exit code and what was said on stderr."""
        _, said = self.process.communicate(timeout=timeout)
        return self.process.returncode, said

    def pids(self, role: str) -> list[int]:
        return [int(line.split()[2]) for line in self.lines if line.startswith(f"{role} starts")]

    def order(self) -> list[str]:
        """Who did what, without numbers."""
        return [" ".join(line.split()[:2]) for line in self.lines]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def start(*argv: str, **more: Any) -> Run:
        made.append(Run(tmp_path, *argv, **more))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
        # The kernel tells the children; none may stay.
        left = [pid for role in ("sidecar", "app") for pid in each.pids(role)]
        try:
            eventually(lambda left=left: not any(map(is_alive, left)), 5)  # type: ignore[misc]
        finally:
            for pid in left:
                if is_alive(pid):
                    os.kill(pid, signal.SIGKILL)


def app(code: int | str) -> tuple[str, ...]:
    return ("--", sys.executable, str(STANDIN), "log", "app", str(code))


CART = ("--service", "cart", "--port", "50051", "--drain-timeout", "2s")


def test_the_sidecar_is_up_before_and_down_after_the_app(run: Callable[..., Run]) -> None:
    here = run(*CART, "--outbound", "stock=0,pay-ment=0", "--outbound-shared", "0", *app(7))
    here.wait_line("app is up")
    told = json.loads(here.wait_line("app starts")[0].split(maxsplit=4)[4])
    ports = json.loads(here.wait_line("sidecar ports")[0].split(maxsplit=3)[3])
    assert told["MESH_OUTBOUND_STOCK"] == ports["stock"]
    assert told["MESH_OUTBOUND_PAY_MENT"] == ports["pay-ment"]
    assert told["MESH_OUTBOUND"].startswith("127.0.0.1:")
    here.signal(signal.SIGTERM)
    assert here.end() == (7, "")
    assert here.order() == ["sidecar starts", "sidecar ports", "app starts", "app is", "sidecar drains", "app stops",
                            "sidecar stops"]


def test_the_apps_own_end_ends_everything(run: Callable[..., Run]) -> None:
    here = run(*CART, *app("now=42"))
    assert here.end() == (42, "")
    assert here.order()[-2:] == ["app starts", "sidecar stops"]


def test_death_by_signal_is_passed_on(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0))
    here.wait_line("app is up")
    os.kill(here.pids("app")[0], signal.SIGKILL)
    assert here.end() == (137, "")
    assert here.order()[-1] == "sidecar stops"


def test_other_signals_go_to_the_app(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0))
    here.wait_line("app is up")
    for number in (signal.SIGHUP, signal.SIGUSR1):
        here.signal(number)
        here.wait_line(f"app signal {number.name}")
    here.signal(signal.SIGINT)
    assert here.end() == (0, "")
    assert "app signal SIGINT" not in here.lines  # it is told by TERM, after the drain
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]


def test_a_drain_that_does_not_end_is_waited_for_only_so_long(run: Callable[..., Run]) -> None:
    here = run("--service", "cart", "--port", "1", "--drain-timeout", "100ms", *app(0), mode="deaf")
    here.wait_line("app is up")
    started = time.monotonic()
    here.signal(signal.SIGTERM)
    assert here.end()[0] == 0
    assert 1.0 < time.monotonic() - started < 5
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]


def test_each_further_signal_hastens(run: Callable[..., Run]) -> None:
    here = run("--service", "cart", "--port", "1", "--drain-timeout", "60s", *app("stubborn"), mode="deaf")
    here.wait_line("app is up")
    here.signal(signal.SIGTERM)
    here.wait_line("sidecar drains")
    here.signal(signal.SIGINT)
    here.wait_line("app stops")
    here.signal(signal.SIGTERM)
    assert here.end()[0] == 137
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]


def test_a_dead_sidecar_is_replaced_on_the_same_ports(run: Callable[..., Run]) -> None:
    here = run(*CART, "--outbound", "stock=0", *app(0))
    here.wait_line("app is up")
    for times in (2, 3):
        os.kill(here.pids("sidecar")[-1], signal.SIGKILL)
        here.wait_line("sidecar ports", times)
    assert len(set(here.wait_line("sidecar ports", 3))) == 1
    assert here.lines.count("app is up") == 1
    time.sleep(0.1)
    here.signal(signal.SIGTERM)
    code, said = here.end()
    assert code == 0
    assert said.splitlines() == ["mesh run: the sidecar ended with exit code 137; starting it again in 0.1 s",
                                 "mesh run: the sidecar ended with exit code 137; starting it again in 0.2 s"]
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]


def test_usr2_puts_a_new_sidecar_in_the_place_of_the_old_one(run: Callable[..., Run]) -> None:
    here = run(*CART, "--outbound", "stock=0", "--outbound-shared", "0", *app(7))
    here.wait_line("app is up")
    for times in (1, 2):
        here.signal(signal.SIGUSR2)
        here.wait_line("sidecar takes over from", times)
        here.wait_line("sidecar stops", times)
    first, second, third = here.pids("sidecar")
    assert [int(line.split()[2]) for line in here.wait_line("sidecar stops")] == [first, second]
    assert len(set(here.wait_line("sidecar ports", 3))) == 1
    assert here.lines.count("app is up") == 1
    eventually(lambda: not any(map(is_alive, (first, second))))  # no zombies
    here.signal(signal.SIGTERM)
    assert here.end() == (7, "")
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]
    assert here.lines[-1] == f"sidecar stops {third}"


def test_a_hot_restart_that_fails_leaves_all_as_it_was(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(7), mode="fragile")
    here.wait_line("app is up")
    here.signal(signal.SIGUSR2)
    here.wait_line("sidecar starts", 2)
    eventually(lambda: not is_alive(here.pids("sidecar")[1]))
    here.signal(signal.SIGTERM)
    assert here.end() == (7, "mesh run: no hot restart: the new sidecar ended with exit code 3\n")
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]
    assert here.lines[-1] == f"sidecar stops {here.pids('sidecar')[0]}"


def test_a_hot_restart_that_does_not_come_to_its_end_is_given_up(run: Callable[..., Run], tmp_path: Path) -> None:
    here = run(*CART, *app(7), ready=4, mode="late")
    here.wait_line("app is up")
    here.signal(signal.SIGUSR2)
    here.wait_line("sidecar starts", 2)
    eventually(lambda: not is_alive(here.pids("sidecar")[1]))
    assert is_alive(here.pids("sidecar")[0])
    here.signal(signal.SIGTERM)
    assert here.end() == (7, "mesh run: no hot restart: the new sidecar was not ready in time\n")


def test_stopped_in_the_middle_of_a_hot_restart(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(7), mode="late")
    here.wait_line("app is up")
    here.signal(signal.SIGUSR2)
    here.wait_line("sidecar starts", 2)
    here.signal(signal.SIGTERM)
    assert here.end()[0] == 7
    assert here.order()[-3:] == ["sidecar drains", "app stops", "sidecar stops"]
    assert here.lines[-1] == f"sidecar stops {here.pids('sidecar')[0]}"


def test_a_hot_restart_reads_the_configuration_anew(run: Callable[..., Run], tmp_path: Path) -> None:
    file = tmp_path / "sidecar.yaml"
    file.write_text("weight: 1\n")
    here = run(*CART, "--config", str(file), *app(7))
    here.wait_line("app is up")
    file.write_text("weight: 5\n")
    here.signal(signal.SIGUSR2)
    here.wait_line("sidecar takes over from")
    assert here.wait_line("sidecar starts", 2)[1].endswith("--weight 5")
    for text in ("weight: much\n", "instance: cart-7\n"):
        file.write_text(text)
        here.signal(signal.SIGUSR2)
        assert here.process.stderr is not None
        said = here.process.stderr.readline()
        assert said.startswith("mesh run: no hot restart: ")
    assert "cart/cart-7" in said
    assert len(here.pids("sidecar")) == 2
    here.signal(signal.SIGTERM)
    assert here.end()[0] == 7


def test_without_a_sidecar_the_app_is_stopped(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0), mode="fragile", restart=0.8)
    here.wait_line("app is up")
    os.kill(here.pids("sidecar")[0], signal.SIGKILL)
    code, said = here.end(30)
    assert code == 1
    assert said.splitlines()[-1].startswith("mesh run: the sidecar did not come up again within 0.8 s; stopping ")
    assert here.order()[-1] == "app stops"
    assert here.order().count("sidecar starts") >= 3


def test_stopped_while_the_sidecar_is_away(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(5), mode="fragile")
    here.wait_line("app is up")
    os.kill(here.pids("sidecar")[0], signal.SIGKILL)
    here.wait_line("sidecar starts", 3)
    here.signal(signal.SIGTERM)
    assert here.end()[0] == 5


def test_the_children_do_not_outlive_a_killed_run(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0))
    here.wait_line("app is up")
    children = here.pids("sidecar") + here.pids("app")
    assert all(map(is_alive, children))
    here.process.kill()
    here.process.communicate()
    eventually(lambda: not any(map(is_alive, children)))


def test_a_sidecar_that_refuses_its_configuration(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0), mode="exit2")
    assert here.end() == (2, "mesh run: the sidecar ended with exit code 2 before it was ready\n")
    assert here.pids("app") == []


def test_stopped_before_the_sidecar_is_ready(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0), mode="silent")
    here.wait_line("sidecar ports")
    here.signal(signal.SIGTERM)
    assert here.end() == (143, "")
    assert here.pids("app") == []
    assert here.order()[-1] == "sidecar stops"


def test_a_sidecar_that_is_not_ready_in_time(run: Callable[..., Run]) -> None:
    here = run(*CART, *app(0), mode="silent", ready=0.5)
    assert here.end() == (1, "mesh run: the sidecar was not ready within 0.5 s\n")


@pytest.mark.parametrize(("command", "code", "said"), [
    ((), 2, "InvalidConfig: no COMMAND: it stands after --"),
    (("--",), 2, "InvalidConfig: no COMMAND: it stands after --"),
    (("--", "no-such-command"), 127, "mesh run: no-such-command: not found\n"),
    (("--", "./no-such-command"), 127, "mesh run: ./no-such-command: not found\n"),
    (("--", "/"), 126, "mesh run: /: not executable\n"),
    (("--", "./plain"), 126, "mesh run: ./plain: not executable\n"),
    (("--", "./garbage"), 126, "mesh run: ./garbage: Exec format error\n"),
])
def test_commands_that_cannot_run(run: Callable[..., Run], tmp_path: Path, command: tuple[str, ...], code: int,
                                  said: str) -> None:
    (tmp_path / "plain").write_text("text")
    (tmp_path / "garbage").write_bytes(b"\0\1\2")
    (tmp_path / "garbage").chmod(0o755)
    here = run(*CART, *command)
    ended, heard = here.end()
    assert said in heard
    if code != 2:  # the entry point turns InvalidConfig into 2
        assert ended == code
    assert here.pids("app") == []


def mesh(*argv: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "mesh.cli", *argv], capture_output=True, text=True, timeout=30,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, **more)


@pytest.mark.parametrize(("argv", "said"), [
    (("run", *CART), "mesh run: no COMMAND: it stands after --, as in mesh run --service cart"),
    (("run", "--", "true"), "mesh run: --service: missing (or set MESH_SERVICE, or service in the file)\n"),
    (("run", "--service", "cart", "--prot", "1", "--", "true"), "mesh run: --prot: no such flag; did you mean --port?"),
    (("run", "--service", "cart", "--app", "1", "--", "true"), "mesh run: --app: no such flag"),
    (("run", "--service", "cart", "--port", "x", "--", "true"), "mesh run: --port x: 'x' is not [HOST:]PORT\n"),
    (("run", "true"), "mesh run: true: unexpected argument\n"),
])
def test_wrong_flags_have_one_line_and_exit_code_2(argv: tuple[str, ...], said: str) -> None:
    done = mesh(*argv)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_help() -> None:
    done = mesh("run", "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert "--port PORT" in done.stdout
    assert "--ready-fd" not in done.stdout
