"""The same files, compiled and not, must come to the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


def play(before: str, script: str) -> tuple[str, list[str]]:
    program = f"import sys; sys.path[:0] = {[str(HERE), str(ROOT)]!r}; {before}; import {script}; {script}.main()"
    run = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    first, *rest = run.stdout.splitlines()
    return first, rest


@pytest.mark.slow
@pytest.mark.parametrize("script", ["transcript", "first_octets", "h1_transcript"])
def test_plain_and_compiled_codecs_agree(script: str) -> None:
    kind, compiled = play("pass", script)
    assert kind == "compiled"
    kind, plain = play("import plain_finder; plain_finder.install()", script)
    assert kind == "plain"
    assert len(compiled) == len(plain) == 300
    for ours, theirs in zip(compiled, plain, strict=True):
        assert ours == theirs
