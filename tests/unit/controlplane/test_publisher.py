from __future__ import annotations

import asyncio

from controlplane import publisher as module
from controlplane.publisher import Publisher
from controlplane.registry import Lease, Registry, Stored
from mesh.model import Endpoint, Protocol


class Reader:
    def __init__(self) -> None:
        self.wakes: list[tuple[int, int]] = []

    def wake(self, serial: int, revision: int) -> None:
        self.wakes.append((serial, revision))


class World:
    def __init__(self) -> None:
        self.registry = Registry(Stored(100), 0.0)
        self.publisher = Publisher(Stored(100))

    def register(self, name: str, service: str = "cart") -> None:
        lease = Lease(f"l{self.registry.revision}", 10.0)
        self.publisher.publish(self.registry.register(Endpoint(service, name, "h", 1), Protocol.GRPC, lease, 0.0))


async def turns(number: int = 3) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_burst_wakes_each_reader_concerned_once_and_after_it_the_revision_is_told():
    async def run():
        world = World()
        cart, pay, everything = Reader(), Reader(), Reader()
        world.publisher.endpoints.add("cart/*", cart)
        world.publisher.services.add("cart", cart)
        world.publisher.endpoints.add("pay/*", pay)
        world.publisher.services.add("*", everything)
        for name in "abc":
            world.register(name)
        assert (cart.wakes, world.publisher.told_revision, world.publisher.view.revision) == ([], 100, 103)
        await turns()
        assert (cart.wakes, pay.wakes, everything.wakes) == ([(1, 100)], [], [(1, 100)])
        assert world.publisher.told_revision == 103

    asyncio.run(run())


def test_the_next_wake_up_waits_for_the_interval(monkeypatch):
    async def run():
        world, reader, clock = World(), Reader(), [50.0]
        monkeypatch.setattr(module, "monotonic", lambda: clock[0])
        world.publisher.endpoints.add("*", reader)
        delays = []
        loop = asyncio.get_running_loop()

        def call_later(delay, call):
            delays.append(round(delay, 4))
            loop.call_soon(call)

        monkeypatch.setattr(loop, "call_later", call_later)
        world.register("a")
        await turns()
        clock[0] += 0.004
        world.register("b")
        world.register("c")
        await turns()
        assert delays == [0.006]
        assert len(reader.wakes) == 2
        clock[0] += 0.5
        world.register("d")
        await turns()
        assert delays == [0.006]
        assert len(reader.wakes) == 3

    asyncio.run(run())


def test_many_readers_are_woken_in_slices_and_the_revision_is_told_after_the_last(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.0)

    async def run():
        world = World()
        readers = [Reader() for _ in range(3 * module.SLICE)]
        for reader in readers:
            world.publisher.endpoints.add("*", reader)
        world.register("a")
        told = []
        for turn in range(12):
            await asyncio.sleep(0)
            if turn == 1:
                world.register("b")
            told.append((sum(len(reader.wakes) for reader in readers), world.publisher.told_revision))
        size = len(readers)
        for woken, revision in told:
            assert revision == (100 if woken < size else 101 if woken < 2 * size else 102)
        assert {woken for woken, _ in told} >= {module.SLICE, 2 * module.SLICE, size, size + module.SLICE, 2 * size}
        assert all(reader.wakes == [(1, 100), (2, 101)] for reader in readers)

    asyncio.run(run())


def test_a_change_that_nobody_can_see_is_told_at_once(monkeypatch):
    monkeypatch.setattr(module, "INTERVAL", 0.0)

    async def run():
        world, reader = World(), Reader()
        world.publisher.endpoints.add("*", reader)
        world.register("a")
        await turns()
        world.register("a")
        assert world.publisher.told_revision == 102
        await turns(10)
        assert len(reader.wakes) == 1

    asyncio.run(run())
