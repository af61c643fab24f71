from __future__ import annotations

from controlplane.api.watch import Watcher
from controlplane.registry import Lease, Registry, Stored, View
from mesh.model import Endpoint, Protocol, Service
from mesh.v1.registry_pb2 import WatchResponse

PUT, REMOVED = WatchResponse.KIND_PUT, WatchResponse.KIND_REMOVED


class World:
    def __init__(self) -> None:
        self.registry = Registry(Stored(100), 0.0)
        self.view = View(Stored(100))
        self.watchers: list[Watcher] = []

    def watch(self, service: str = "") -> Watcher:
        self.watchers.append(Watcher(self.view, service))
        return self.watchers[-1]

    def publish(self, change) -> None:
        serial, revision = self.view.serial, self.view.revision
        self.view.publish(change)
        for watcher in self.watchers:
            watcher.wake(serial, revision)

    def register(self, name: str, service: str = "cart", port: int = 1) -> None:
        self.publish(self.registry.register(Endpoint(service, name, "h", port), Protocol.GRPC,
                                            Lease(f"{self.registry.revision}", 10.0), 0.0))


def look(watcher: Watcher):
    return [(response.kind, response.revision, response.resource) for response in watcher.look()]


def test_the_present_state_comes_first_and_once():
    world = World()
    world.register("a")
    world.register("b", "pay")
    assert look(world.watch()) == [(PUT, 101, "service/cart"), (PUT, 101, "endpoint/cart/a"),
                                   (PUT, 102, "service/pay"), (PUT, 102, "endpoint/pay/b")]
    watcher = world.watch("pay")
    assert look(watcher) == [(PUT, 102, "service/pay"), (PUT, 102, "endpoint/pay/b")]
    assert look(watcher) == []


def test_an_unknown_service_is_silent_until_it_exists():
    world = World()
    watcher = world.watch("pay")
    assert look(watcher) == []
    world.register("b", "pay")
    assert look(watcher) == [(PUT, 101, "service/pay"), (PUT, 101, "endpoint/pay/b")]


def test_changes_come_by_revision_and_merge():
    world = World()
    for name in "ab":
        world.register(name)
    watcher = world.watch()
    look(watcher)
    world.register("b", port=2)
    world.register("a", port=2)
    world.register("b", port=3)
    world.publish(world.registry.apply([Service("cart", Protocol.TCP)], [], dry_run=False, now=0.0)[0])
    assert look(watcher) == [(PUT, 104, "endpoint/cart/a"), (PUT, 105, "endpoint/cart/b"), (PUT, 106, "service/cart")]


def test_a_deleted_service_goes_after_its_endpoints_and_what_came_and_went_is_not_told():
    world = World()
    world.register("a")
    watcher = world.watch()
    look(watcher)
    world.register("x", "pay")
    world.publish(world.registry.delete("pay", "", 0.0))
    world.publish(world.registry.delete("cart", "", 0.0))
    assert look(watcher) == [(REMOVED, 104, "endpoint/cart/a"), (REMOVED, 104, "service/cart")]


def test_what_changes_while_a_slow_watcher_is_told_comes_with_the_next_look():
    world = World()
    for name in "ab":
        world.register(name)
    watcher = world.watch()
    telling = watcher.look()
    assert next(telling).resource == "service/cart"
    world.register("b", port=9)
    assert [response.revision for response in telling] == [101, 102]
    assert look(watcher) == [(PUT, 103, "endpoint/cart/b")]
