"""The parent of workers: real processes, with workers that carry nothing (group_standin)."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh.sidecar.group import Poll

STANDIN = Path(__file__).with_name("group_standin.py")
ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


class Run:
    """A group of workers behind `--outbound-shared`."""

    def __init__(self, folder: Path, workers: int, *flags: str, mode: str = "") -> None:
        self.log = folder / f"log-{time.monotonic_ns()}"
        self._fd, theirs = os.pipe()
        self._text = ""
        self.process = subprocess.Popen(
            [sys.executable, str(STANDIN), str(self.log), "--service", "web", "--workers", str(workers),
             "--outbound-shared", "0", "--state-dir", str(folder / "state"), "--drain-timeout", "1s",
             "--ready-fd", str(theirs), *flags],
            stderr=subprocess.PIPE, pass_fds=(theirs,), env={**os.environ, "PYTHONPATH": str(ROOT), "MODE": mode})
        os.close(theirs)
        os.set_blocking(self._fd, False)
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        self.said = ""

    def event(self) -> dict[str, Any]:
        """The next line on the ready-fd."""
        def line() -> bool:
            if select.select([self._fd], [], [], 0)[0]:
                self._text += os.read(self._fd, 65_536).decode()
            return "\n" in self._text

        self.until(line)
        first, self._text = self._text.split("\n", 1)
        found: dict[str, Any] = json.loads(first)
        return found

    def ready(self) -> dict[str, Any]:
        event = self.event()
        self.port = event["outbound-shared"]
        self.workers: list[int] = event["workers"]
        return event

    def hear(self) -> str:
        """All that was said on stderr so far."""
        assert self.process.stderr is not None
        self.said += (self.process.stderr.read() or b"").decode()
        return self.said

    def told(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def until(self, condition: Callable[[], object], timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, (self.told(), self.hear())
            time.sleep(0.005)

    def answers(self, count: int) -> Counter[str]:
        """Who answers so many connections."""
        found: Counter[str] = Counter()
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                found[connection.recv(10).decode()] += 1
        return found

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(10)
        self.hear()
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)
        assert self.process.stderr is not None
        self.process.stderr.close()
        # Whoever is left hears that the parent has gone.
        self.until(lambda: not any(is_alive(int(line.split()[2])) for line in self.told() if " starts " in line))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def start(workers: int, *flags: str, **more: Any) -> Run:
        made.append(Run(tmp_path, workers, *flags, **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_all_serve_and_one_leaves_the_registry_before_any_closes(run: Callable[..., Run]) -> None:
    here = run(3)
    ready = here.ready()
    assert ready["pid"] == here.process.pid
    assert len(set(here.workers)) == 3
    assert set(here.answers(60)) == {"0", "1", "2"}
    assert here.end() == 0
    assert here.event() == {"event": "drained"}
    told = [line for line in here.told() if "starts" not in line and "accept" not in line]
    assert told[0] == "0 leave True"
    assert sorted(told[1:]) == ["0 drain", "1 drain", "2 drain"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", here.port))


def test_a_worker_that_dies_is_replaced_and_meanwhile_nobody_waits(run: Callable[..., Run]) -> None:
    here = run(2)
    here.ready()
    for times, dying in ((1, 1), (2, 1), (3, 0)):
        last = [int(line.split()[2]) for line in here.told() if line.startswith(f"{dying} starts")][-1]
        os.kill(last, signal.SIGKILL)
        here.until(lambda: sum(" lend " in line for line in here.told()) == times)  # noqa: B023
        assert sum(here.answers(30).values()) == 30  # whose turn it was or not
        here.until(lambda: sum(" take back " in line for line in here.told()) == times, 15)  # noqa: B023
        assert set(here.answers(60)) == {"0", "1"}
    assert [line for line in here.told() if "lend" in line or "take back" in line] == [
        "0 lend 1", "0 take back 1", "0 lend 1", "0 take back 1", "1 lend 0", "1 take back 0"]
    assert here.end() == 0
    again = [line.partition(") ")[2] for line in here.said.splitlines() if "ended with" in line]
    assert again == [f"ended with exit code -9; starting it again in {pause} s" for pause in (0.1, 0.2, 0.1)]


def test_what_a_dying_neighbour_had_borrowed_is_lent_on(run: Callable[..., Run]) -> None:
    here = run(3)
    here.ready()
    os.kill(here.workers[2], signal.SIGKILL)
    here.until(lambda: "0 lend 2" in here.told())
    os.kill(here.workers[0], signal.SIGKILL)
    here.until(lambda: "1 lend 0" in here.told())
    assert sum(here.answers(60).values()) == 60
    here.until(lambda: sum(" accept" in line for line in here.told()) == 5)
    here.until(lambda: set(here.answers(30)) == {"0", "1", "2"})
    # Unless worker 2 was back already when worker 0 died.
    assert "1 lend 2" in here.told() or here.told().index("0 take back 2") < here.told().index("1 lend 0")
    assert here.end() == 0


def test_a_worker_that_ends_before_it_is_ready_ends_all(run: Callable[..., Run]) -> None:
    here = run(2, mode="fragile")
    assert here.process.wait(10) == 1
    assert "worker 1 ended with exit code 3 before it was ready" in here.hear()


def test_a_signal_to_the_whole_group_means_what_it_means_to_the_parent(run: Callable[..., Run]) -> None:
    here = run(2)
    here.ready()
    for pid in (*here.workers, here.process.pid):
        os.kill(pid, signal.SIGTERM)
    assert here.process.wait(10) == 0


def test_told_twice(run: Callable[..., Run]) -> None:
    here = run(2, mode="deaf")
    here.ready()
    here.process.send_signal(signal.SIGTERM)
    here.process.send_signal(signal.SIGTERM)  # the same wish
    here.until(lambda: "1 drain" in here.told())
    time.sleep(1.1)
    assert here.process.poll() is None
    assert here.end(signal.SIGINT) == 1


def test_usr1_drains_inbound_everywhere_and_says_so_once(run: Callable[..., Run]) -> None:
    here = run(2)
    here.ready()
    here.process.send_signal(signal.SIGUSR1)
    assert here.event() == {"event": "drained"}
    told = [line for line in here.told() if "starts" not in line and "accept" not in line]
    assert told[0] == "0 leave True"
    assert sorted(told[1:]) == ["0 drain inbound", "1 drain inbound"]
    assert sum(here.answers(20).values()) == 20
    os.kill(here.workers[1], signal.SIGKILL)  # not started again: all is about to end
    here.until(lambda: "0 lend 1" in here.told())
    assert sum(here.answers(20).values()) == 20
    assert here.end() == 0
    assert sum("starts" in line for line in here.told()) == 2


def test_a_worker_that_asks_is_told_what_all_have_counted(run: Callable[..., Run]) -> None:
    """While the operator asks, too: both get the same answers, and a worker on its own gets its own."""
    group = run(2, mode="curious")
    group.ready()
    group.process.send_signal(signal.SIGUSR2)
    group.until(lambda: any("1 gathered" in line for line in group.told()))
    (told,) = [line for line in group.told() if "1 gathered" in line]
    assert "'requests': 1" in told
    assert "'requests': 2" in told
    group.until(lambda: '"requests": 3' in group.hear())
    assert group.end() == 0


def test_statistics_are_those_of_all(run: Callable[..., Run]) -> None:
    here = run(3)
    here.ready()
    here.process.send_signal(signal.SIGUSR2)
    here.until(lambda: '"workers"' in here.hear())
    said = json.loads(next(line for line in here.said.splitlines() if line.startswith("{")))
    assert (said["id"], said["pid"], said["requests"]) == ("web/web-0", here.process.pid, 6)
    assert [each["requests"] for each in said["workers"]] == [1, 2, 3]
    os.kill(here.workers[2], signal.SIGSTOP)
    here.said = ""
    here.process.send_signal(signal.SIGUSR2)
    here.until(lambda: '"workers"' in here.hear())  # of those that answer
    assert json.loads(next(line for line in here.said.splitlines() if line.startswith("{")))["requests"] == 3
    os.kill(here.workers[2], signal.SIGCONT)
    assert here.end() == 0


def test_workers_end_with_their_parent(run: Callable[..., Run]) -> None:
    here = run(2)
    here.ready()
    here.process.kill()
    here.until(lambda: not any(map(is_alive, here.workers)))
    assert {"0 orphaned", "1 orphaned"} <= set(here.told())


@pytest.mark.parametrize(("before", "after"), [(2, 3), (3, 2)])
def test_a_group_takes_over_from_a_group(run: Callable[..., Run], before: int, after: int) -> None:
    old = run(before)
    old.ready()
    new = run(after, "--takeover")
    new.ready()
    assert new.port == old.port
    assert old.process.wait(10) == 0
    assert "0 leave False" in old.told()
    assert "0 contest" in old.told()
    assert all(line.endswith("True True") for line in new.told() if "starts" in line)
    assert "0 settle" in new.told()
    assert set(new.answers(120)) == {str(number) for number in range(after)}
    assert new.end() == 0


def test_a_successor_that_fails_changes_nothing(run: Callable[..., Run]) -> None:
    old = run(2)
    old.ready()
    new = run(2, "--takeover", mode="fragile")
    assert new.process.wait(10) == 1
    old.until(lambda: "0 settle" in old.told())
    assert set(old.answers(60)) == {"0", "1"}
    assert old.end() == 0


def test_deadlines_and_descriptors_of_the_poll() -> None:
    poll = Poll()
    said: list[str] = []
    reading, writing = os.pipe()
    poll.add_reader(reading, said.append, "readable")

    def writable() -> None:
        said.append("writable")
        poll.remove_writer(writing)

    poll.add_writer(writing, writable)
    poll.turn()
    assert said == ["writable"]
    poll.at("soon", time.monotonic() + 0.01, lambda: said.append("soon"))
    poll.at("never", time.monotonic(), lambda: said.append("never"))
    poll.never("never")
    while poll.pending("soon"):
        poll.turn()
    assert said == ["writable", "soon"]
    os.write(writing, b"x")
    poll.turn()
    assert said == ["writable", "soon", "readable"]
    poll.remove_reader(reading)
    poll.remove_reader(reading)
    os.close(reading)
    os.close(writing)
