"""`mesh demo` as a person runs it: the whole story with real processes, and Ctrl-C in the middle of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

DEMO = [sys.executable, "-m", "mesh.cli", "demo"]
STORY = 150  # seconds; the story's own bound is 60 after set-up
ENDS = 30  # seconds in which a Ctrl-C must have ended everything


def left_over(mark: Path) -> list[str]:
    """The processes whose environment names `mark`, by their command lines."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if os.fsencode(mark) in environ.read_bytes():
                found.append(environ.with_name("cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # ended meanwhile, or not ours
    return found


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp_path)}


def test_the_story_keeps_its_promises(environment: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run([*DEMO, "--once"], env=environment, capture_output=True, text=True, timeout=STORY,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promises were kept" in done.stdout
    assert "BROKEN" not in done.stdout
    assert left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == [], "the demo tidies up behind itself"


def test_ctrl_c_stops_everything(environment: dict[str, str], tmp_path: Path) -> None:
    with subprocess.Popen(DEMO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as demo:
        assert demo.stdout is not None
        seen = []
        for line in demo.stdout:
            seen.append(line)
            if line.startswith("1. "):  # the load runs
                break
        demo.send_signal(signal.SIGINT)
        began = time.monotonic()
        output, _ = demo.communicate(timeout=ENDS)
    assert demo.returncode == 130, "".join(seen) + output
    assert time.monotonic() - began < ENDS
    assert left_over(tmp_path) == []
    assert list(tmp_path.iterdir()) == []
