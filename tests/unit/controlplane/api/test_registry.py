from __future__ import annotations

import asyncio
import threading

from controlplane.api.registry import RegistryService
from controlplane.api.watch import Watches
from controlplane.ledger import Ledger
from controlplane.publisher import Publisher
from controlplane.status import Sidecars
from controlplane.store.memory import MemoryStore
from mesh.v1 import endpoint_pb2, registry_pb2


class Store(MemoryStore):
    """Commits only while `gate` is open."""

    def __init__(self) -> None:
        super().__init__(100)
        self.gate = threading.Event()
        self.gate.set()

    def commit(self, expected, changes):
        self.gate.wait(5)
        super().commit(expected, changes)


async def register(service: RegistryService, port: int) -> str:
    endpoint = endpoint_pb2.Endpoint(service="cart", name="cart-0", host="127.0.0.1", port=port)
    request = registry_pb2.RegisterRequest(endpoint=endpoint, sidecar="cart/cart-0")
    return (await service.register(request)).lease_id


def beat(service: RegistryService, lease: str) -> tuple[bool, bool]:
    answer = service.beat(lease, 1.0)
    assert answer.lease_id == lease
    return answer.alive, answer.replaced


ALIVE, ENDED, REPLACED = (True, False), (False, False), (False, True)


def run(scenario) -> None:
    async def main():
        store = Store()
        stored = store.load()
        publisher = Publisher(stored)
        ledger = Ledger(store, stored, publisher)
        try:
            await scenario(RegistryService(ledger, publisher, Sidecars(), Watches(publisher)), store)
        finally:
            store.gate.set()
            await ledger.close()

    asyncio.run(main())


def test_the_older_of_two_registrations_is_told_that_it_was_replaced_and_cannot_remove_the_newer():
    async def scenario(service: RegistryService, store: Store) -> None:
        older = await register(service, 1)
        assert beat(service, older) == ALIVE
        newer = await register(service, 2)
        assert (beat(service, older), beat(service, newer)) == (REPLACED, ALIVE)
        await service.deregister(registry_pb2.DeregisterRequest(lease_id=older))
        listed = await service.list_endpoints(registry_pb2.ListEndpointsRequest(service="cart"))
        assert [status.endpoint.port for status in listed.endpoints] == [2]

    run(scenario)


def test_a_lease_that_ended_otherwise_may_register_again():
    async def scenario(service: RegistryService, store: Store) -> None:
        older = await register(service, 1)
        newer = await register(service, 2)
        await service.delete(registry_pb2.DeleteRequest(service="cart", endpoint="cart-0"))
        assert (beat(service, older), beat(service, newer), beat(service, "never")) == (ENDED, ENDED, ENDED)

    run(scenario)


def test_nobody_is_told_of_a_replacement_that_is_not_committed():
    async def scenario(service: RegistryService, store: Store) -> None:
        older = await register(service, 1)
        store.gate.clear()
        replacing = asyncio.ensure_future(register(service, 2))
        await asyncio.sleep(0)
        assert beat(service, older) == ALIVE
        store.gate.set()
        await replacing
        assert beat(service, older) == REPLACED

    run(scenario)
