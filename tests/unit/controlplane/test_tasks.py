"""spawn: tasks are named, held until they end, and their failures logged; cancellation is no failure."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from controlplane.tasks import spawn


def test_a_failure_is_logged_with_the_tasks_name_and_a_cancellation_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        gc.collect()
        raise RuntimeError("boom")

    async def main() -> None:
        culprit, bystander = spawn("the culprit", fail()), spawn("the bystander", asyncio.sleep(100))
        bystander.cancel()
        await asyncio.wait([culprit, bystander])
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "the culprit" in caplog.text
    assert "boom" in caplog.text
    assert "bystander" not in caplog.text
