from __future__ import annotations

import asyncio
import threading

import pytest

from controlplane.errors import Conflict, NotFound, StoreError
from controlplane.ledger import Ledger
from controlplane.publisher import Publisher
from controlplane.registry import Lease, Registry
from controlplane.store.memory import MemoryStore
from mesh.model import Endpoint, Protocol, Service


class Store(MemoryStore):
    """Counts commits, waits for `gate` and fails once with `failure`."""

    def __init__(self) -> None:
        super().__init__(100)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.groups: list[int] = []
        self.failure: Exception | None = None
        self.load_failure: Exception | None = None

    def commit(self, expected, changes):
        self.entered.set()
        self.gate.wait(5)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure
        self.groups.append(len(changes))
        super().commit(expected, changes)

    def load(self):
        if self.load_failure is not None:
            raise self.load_failure
        return super().load()


def run(scenario) -> None:
    async def main():
        store = Store()
        stored = store.load()
        publisher = Publisher(stored)
        ledger = Ledger(store, stored, publisher)
        try:
            await scenario(ledger, store, publisher)
        finally:
            store.gate.set()
            await ledger.close()

    asyncio.run(main())


async def committing(store: Store) -> None:
    """Wait until a commit is under way and everybody has had a turn."""
    await asyncio.to_thread(store.entered.wait, 5)
    for _ in range(3):
        await asyncio.sleep(0)


def apply(*names: str):
    return lambda registry, now: registry.apply([Service(name) for name in names], [], dry_run=False, now=now)[0]


def shown(publisher: Publisher) -> set[str]:
    return set(publisher.view.services.entries)


def test_a_write_is_shown_and_answered_only_when_it_is_committed():
    async def scenario(ledger, store, publisher):
        store.gate.clear()
        store.entered.clear()
        write = asyncio.ensure_future(ledger.write(apply("cart")))
        await committing(store)
        assert not write.done()
        assert (shown(publisher), publisher.view.revision) == (set(), 100)
        store.gate.set()
        assert await write == 101
        assert shown(publisher) == {"cart"}

    run(scenario)


def test_writes_gather_while_one_is_under_way():
    async def scenario(ledger, store, publisher):
        store.gate.clear()
        store.entered.clear()
        writes = [asyncio.ensure_future(ledger.write(apply(f"s{number}"))) for number in range(10)]
        await committing(store)
        writes += [asyncio.ensure_future(ledger.write(apply(f"t{number}"))) for number in range(10)]
        await committing(store)
        store.gate.set()
        assert await asyncio.gather(*writes) == list(range(101, 121))
        assert sum(store.groups) == 20
        assert len(store.groups) <= 3
        assert store.load().revision == 120 == publisher.view.revision

    run(scenario)


def test_a_refused_operation_raises_and_writes_nothing():
    async def scenario(ledger, store, publisher):
        with pytest.raises(NotFound):
            await ledger.write(lambda registry, now: registry.delete("cart", "", now))
        assert store.groups == []

    run(scenario)


def test_an_unchanged_answer_waits_for_the_commit_of_what_it_saw():
    async def scenario(ledger, store, publisher):
        store.gate.clear()
        store.entered.clear()
        first = asyncio.ensure_future(ledger.write(apply("cart")))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(ledger.write(apply("cart")))
        await committing(store)
        assert not second.done()
        store.gate.set()
        assert await asyncio.gather(first, second) == [101, 101]
        assert await ledger.write(apply("cart")) == 101
        assert store.groups == [1]

    run(scenario)


@pytest.mark.parametrize("failure", [StoreError("disk full"), Conflict("moved on"), RuntimeError("bug")])
def test_a_failed_commit_fails_all_that_was_built_on_it_and_the_next_write_starts_from_the_store(failure):
    async def scenario(ledger, store, publisher):
        await ledger.write(apply("before"))
        store.gate.clear()
        store.entered.clear()
        store.failure = failure
        writes = [asyncio.ensure_future(ledger.write(apply("lost")))]
        await committing(store)
        writes.append(asyncio.ensure_future(ledger.write(apply("lost-too"))))
        await asyncio.sleep(0)
        store.gate.set()
        errors = await asyncio.gather(*writes, return_exceptions=True)
        assert all(isinstance(error, StoreError) and str(error) == str(failure) for error in errors)
        assert shown(publisher) == {"before"}
        assert await ledger.write(apply("after")) == 102
        assert set(store.load().services) == {"before", "after"} == shown(publisher) == set(ledger.registry.services)

    run(scenario)


def test_while_the_store_can_not_be_read_again_writes_fail_and_reads_go_on():
    async def scenario(ledger, store, publisher):
        await ledger.write(apply("before"))
        store.failure, store.load_failure = StoreError("gone"), StoreError("still gone")
        for words in ("gone", "still gone", "still gone"):
            with pytest.raises(StoreError, match=words):
                await ledger.write(apply("x"))
        with pytest.raises(StoreError):
            await ledger.expire()
        assert shown(publisher) == {"before"}
        store.load_failure = None
        assert await ledger.write(apply("x")) == 102

    run(scenario)


def test_what_another_process_wrote_is_taken_over_after_the_conflict():
    async def scenario(ledger, store, publisher):
        MemoryStore.commit(store, 100, [apply("theirs")(Registry(store.load(), 0.0), 0.0)])
        with pytest.raises(Conflict):
            await ledger.write(apply("ours"))
        assert await ledger.write(apply("ours")) == 102
        assert shown(publisher) == {"theirs", "ours"}

    run(scenario)


def test_a_caller_that_gives_up_does_not_take_its_write_back():
    async def scenario(ledger, store, publisher):
        store.gate.clear()
        store.entered.clear()
        write = asyncio.ensure_future(ledger.write(apply("cart")))
        await committing(store)
        write.cancel()
        store.gate.set()
        assert await ledger.write(apply("pay")) == 102
        assert shown(publisher) == {"cart", "pay"}

    run(scenario)


def test_expiry_is_committed_and_shown(monkeypatch):
    async def scenario(ledger, store, publisher):
        clock = [1000.0]
        monkeypatch.setattr("controlplane.ledger.monotonic", lambda: clock[0])
        await ledger.expire()
        await ledger.write(lambda registry, now: registry.register(
            Endpoint("cart", "a", "h", 1), Protocol.GRPC, Lease("l", 1.0), now))
        assert "cart/a" in publisher.view.endpoints.entries
        for _ in range(4):
            clock[0] += 0.25
            await ledger.expire()
        await ledger.write(lambda registry, now: None)
        assert publisher.view.endpoints.entries == {}
        assert store.load().endpoints == {}

    run(scenario)
