"""spawn: tasks are named, held, and their failures logged."""

from __future__ import annotations

import asyncio
import gc
import logging

import pytest

from mesh.dataplane.tasks import spawn


def test_a_task_is_held_and_named() -> None:
    async def main() -> None:
        done = asyncio.Event()

        async def work() -> None:
            await asyncio.sleep(0)
            gc.collect()
            done.set()

        spawn("worker", work())
        assert "worker" in {task.get_name() for task in asyncio.all_tasks()}
        await asyncio.wait_for(done.wait(), 5)

    asyncio.run(main())


def test_a_failure_is_logged_with_the_tasks_name(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async def fail() -> None:
            raise RuntimeError("boom")

        await asyncio.wait([spawn("the culprit", fail())])
        await asyncio.sleep(0)

    with caplog.at_level(logging.ERROR):
        asyncio.run(main())
    assert "the culprit" in caplog.text
    assert "boom" in caplog.text


def test_cancellation_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        task = spawn("cancelled", asyncio.sleep(100))
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)

    asyncio.run(main())
    assert caplog.text == ""
