"""Flags and exits of `mesh demo` over a shop made of paper; the real one is tests/e2e/test_demo.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mesh.demo import command
from mesh.demo.process import ProcessFailed
from mesh.demo.promises import Promise


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the story does ("promises" or "error"); "directory" and "closed" are told afterwards."""
    seen: dict[str, Any] = {"promises": [Promise("sun", True, "shone")], "closed": 0}

    @contextlib.asynccontextmanager
    async def opened(directory: Path, console: object) -> AsyncIterator[tuple[None, None]]:
        seen["directory"] = directory
        try:
            yield None, None
        finally:
            seen["closed"] += 1

    class Story:
        def __init__(self, *parts: object) -> None:
            pass

        async def tell(self) -> list[Promise]:
            if "error" in seen:
                raise seen["error"]
            if "interrupt" in seen:
                os.kill(os.getpid(), seen["interrupt"])
                await asyncio.Event().wait()
            promises: list[Promise] = seen["promises"]
            return promises

    async def stay(*parts: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()

    monkeypatch.setattr(command, "_open", opened)
    monkeypatch.setattr(command, "Story", Story)
    monkeypatch.setattr(command, "_stay", stay)
    monkeypatch.setattr(command.tempfile, "tempdir", str(tmp_path))
    return seen


def test_once_and_kept(stage: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--once"]) == 0
    assert "All 1 promises were kept." in capsys.readouterr().out
    assert not stage["directory"].exists()


def test_a_broken_promise_is_named_and_the_logs_stay(stage: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    stage["promises"] = [Promise("no rain", False, "3 drops")]
    assert command.main(["--once"]) == 1
    captured = capsys.readouterr()
    assert "Broken: no rain" in captured.out
    assert str(stage["directory"]) in captured.err
    assert stage["directory"].exists()


def test_a_failed_process_is_one_message(stage: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    stage["error"] = ProcessFailed("cart-0 ended before it was ready")
    assert command.main(["--once"]) == 1
    assert capsys.readouterr().err.startswith("mesh demo: cart-0 ended before it was ready\n")
    assert stage["closed"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_the_shop(stage: dict[str, Any], number: signal.Signals) -> None:
    stage["interrupt"] = number
    assert command.main([]) == 130
    assert stage["closed"] == 1
    assert not stage["directory"].exists()


def test_without_once_the_shop_stays_open_until_interrupted(stage: dict[str, Any]) -> None:
    assert command.main([]) == 0
    stage["promises"] = [Promise("no rain", False, "3 drops")]
    assert command.main([]) == 1
    assert stage["closed"] == 2


def test_unknown_flags_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--twice"]) == 2
    assert capsys.readouterr().err == "mesh demo: --twice: no such flag\n"
    assert command.main(["--once", "more"]) == 2
    assert capsys.readouterr().err == "mesh demo: more: unexpected argument\n"
    assert command.main(["--once=3"]) == 2
    assert capsys.readouterr().err == "mesh demo: --once: ignored explicit argument '3'\n"


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    assert "examples:\n  mesh demo\n" in capsys.readouterr().out
