"""Lines to a file, while it is moved away, fills up, or is a pipe that nobody reads."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mesh.errors import InvalidConfig
from mesh.telemetry import appender as module
from mesh.telemetry.appender import Appender, check_path


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    appender = Appender(str(path))
    appender.add(b"one\ntwo\n", 2)
    appender.add(b"three\n", 1)
    appender.close(10)
    assert path.read_text() == "before\none\ntwo\nthree\n"
    assert (appender.written, appender.lost, appender.ready) == (3, 0, True)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_that_was_moved_away_is_opened_anew(tmp_path: Path, create: bool) -> None:
    path, old = tmp_path / "log", tmp_path / "log.1"
    appender = Appender(str(path))
    appender.add(b"one\n", 1)
    until(lambda: appender.written == 1)
    path.rename(old)
    if create:
        path.touch()
    appender.add(b"two\n", 1)
    appender.close(10)
    assert (old.read_text(), path.read_text()) == ("one\n", "two\n")


def test_what_can_not_be_written_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    appender = Appender(str(folder / "log"))
    folder.rmdir()
    with caplog.at_level(logging.ERROR):
        appender.add(b"one\ntwo\n", 2)
        appender.add(b"three\n", 1)
        until(lambda: appender.lost == 3)
    assert caplog.text.count("lines are lost: No such file or directory") == 1
    folder.mkdir()
    appender.add(b"four\n", 1)
    appender.close(10)
    assert (appender.written, (folder / "log").read_text()) == (1, "four\n")


def test_a_pipe_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    appender = Appender(str(path))
    line = b"x" * 1023 + b"\n"
    given = 0
    while appender.ready:
        appender.add(line * 64, 64)
        given += 64
    assert given <= 64 + module.MAX_WAITING // 1024
    appender.close(0.01)  # comes back though the thread can't end
    os.set_blocking(reader, True)
    found = b""
    while len(found) < given * 1024:
        found += os.read(reader, 65_536)
    assert found == line * given
    until(lambda: appender.written == given)
    os.close(reader)


def test_what_goes_to_a_pipe_at_once_is_whole_lines() -> None:
    """So that the lines of several processes don't mix (POSIX: up to PIPE_BUF octets)."""
    lines = [bytes([65 + i % 26]) * size + b"\n" for i, size in enumerate([10, 2000, 2000, 90, 5000, 1, 4095, 1])]
    parts = module._parts(b"".join(lines))
    assert b"".join(parts) == b"".join(lines)
    assert all(part.endswith(b"\n") for part in parts)
    assert all(len(part) <= 4096 or part.count(b"\n") == 1 for part in parts)
    assert [len(part) for part in parts] == [4013, 91, 5001, 2, 4096, 2]


def test_a_place_that_can_not_be_had_names_the_option(tmp_path: Path) -> None:
    check_path("--access-log", str(tmp_path / "new"))
    assert (tmp_path / "new").exists()
    check_path("--access-log", "-")
    for path, problem in ((tmp_path / "no" / "such", "no such file or directory"), (tmp_path, "is a directory")):
        with pytest.raises(InvalidConfig) as raised:
            check_path("--access-log", str(path))
        assert str(raised.value) == f"--access-log {path}: {problem}"


def test_a_file_that_is_full_gets_no_more_until_it_is_moved_away(tmp_path: Path) -> None:
    path = tmp_path / "log"
    appender = Appender(str(path), limit=10)
    for _ in range(3):
        appender.add(b"three\n", 1)
    until(lambda: appender.written + appender.lost == 3)
    assert (appender.written, path.read_text()) == (1, "three\n")
    path.rename(tmp_path / "log.1")
    appender.add(b"three\n", 1)
    appender.close(10)
    assert (appender.written, path.read_text()) == (2, "three\n")


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    appender = Appender("-")
    appender.add(b"one\n", 1)
    appender.close(10)
    assert capfd.readouterr().out == "one\n"
