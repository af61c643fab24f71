"""The one way to write: change the registry, commit to the store, publish; in that order and in groups.

What lives here: the shell between the pure registry, the store's thread and the published view. What this must not
know: grpc, the registry's rules. The registry is changed before the first await; callers wait for their commit, readers
see only what is committed. While one group is being written, the next one gathers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

from controlplane.errors import StoreError
from controlplane.publisher import Publisher
from controlplane.registry import Change, Registry, Stored
from controlplane.store import Store
from controlplane.tasks import spawn

_log = logging.getLogger(__name__)

class Ledger:
    """Holds the working registry; `write` is the only way to change it."""

    def __init__(self, store: Store, stored: Stored, publisher: Publisher) -> None:
        self.registry = Registry(stored, monotonic())
        self._store = store
        self._publisher = publisher
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="registry-store")
        self._committed = stored.revision
        self._gathering: list[Change] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._writer: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._ahead = False  # a commit failed: the working registry holds what the store may not

    async def write(self, operation: Callable[[Registry, float], Change | None]) -> int:
        """Run `operation` on the working registry and wait until what it saw and did is committed; return the revision.

        Its second argument is now, in monotonic seconds. Raises what it raises (nothing is changed then), and
        StoreError when the commit fails (then the registry is what the store says).
        """
        while self._ahead:
            await self._reload()
        change = operation(self.registry, monotonic())
        revision = self.registry.revision
        if change is None and revision == self._committed:
            return revision
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self._take(change)
        await done
        return revision

    async def expire(self) -> None:
        """End the leases that have run out, without waiting for the commit; to be called several times a second."""
        while self._ahead:
            await self._reload()
        change = self.registry.expire(monotonic())
        if change is not None:
            _log.info("expired: %s", ", ".join(f"{service}/{name}" for service, name in change.endpoints))
            self._take(change)

    async def close(self) -> None:
        """Finish what is being written and close the store."""
        if self._writer is not None:
            await asyncio.wait((self._writer,))
        await self._call(self._store.close)
        self._thread.shutdown(wait=False)

    def _take(self, change: Change | None) -> None:
        if change is not None:
            self._gathering.append(change)
        if self._writer is None:
            self._writer = spawn("registry-commit", self._commit_groups())

    async def _commit_groups(self) -> None:
        while self._gathering or self._waiting:
            changes, self._gathering = self._gathering, []
            waiting, self._waiting = self._waiting, []
            try:
                if changes:
                    await self._call(self._store.commit, self._committed, changes)
            except Exception as error:
                # What gathered meanwhile was made from the state that was not committed.
                self._ahead = True
                self._gathering.clear()
                waiting += self._waiting
                self._waiting = []
                _log.error("the registry could not be written: %s", error)
                for done in waiting:
                    if not done.done():
                        done.set_exception(error if isinstance(error, StoreError) else StoreError(str(error)))
                continue
            for change in changes:
                self._committed = change.revision
                self._publisher.publish(change)
            for done in waiting:
                if not done.done():
                    done.set_result(None)
        self._writer = None

    async def _reload(self) -> None:
        async with self._reloading:
            if not self._ahead:
                return
            stored: Stored = await self._call(self._store.load)
            self.registry.restore(stored, monotonic())
            self._committed = stored.revision
            self._publisher.replace(stored)
            self._ahead = False

    async def _call(self, function: Callable[..., Any], *arguments: object) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
