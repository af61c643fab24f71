from __future__ import annotations

import pytest

from controlplane.errors import Held, NotFound
from controlplane.registry import Change, Lease, Outcome, Registry, Stated, Stored
from mesh.errors import InvalidResource
from mesh.model import Endpoint, Health, Protocol, Service


def endpoint(name: str = "cart-0", service: str = "cart", **fields) -> Endpoint:
    return Endpoint(service, name, fields.pop("host", "127.0.0.1"), fields.pop("port", 8080), **fields)


def registry(*names: str) -> Registry:
    """A registry at revision 100 + registrations, each under lease `l-<name>`."""
    made = Registry(Stored(100), 0.0)
    made.expire(0.0)
    for name in names:
        made.register(endpoint(name), Protocol.GRPC, Lease(f"l-{name}", 10.0, f"cart/{name}"), 0.0)
    return made


def state(of: Registry):
    return of.revision, dict(of.services), {k: dict(v) for k, v in of.endpoints.items()}, dict(of.overlays)


def effective(of: Registry, name: str = "cart-0", service: str = "cart") -> Endpoint:
    record = of.endpoint((service, name))
    assert record is not None
    return record.effective


def test_registering_an_unknown_service_creates_it_with_defaults_and_the_protocol_given():
    made = registry()
    change = made.register(endpoint(), Protocol.TCP, Lease("l", 10.0), 0.0)
    assert change.revision == 101 == made.revision
    assert made.services["cart"].service == Service("cart", Protocol.TCP)
    assert made.services["cart"].revision == 101


def test_registering_a_known_service_leaves_it_as_it_is():
    made = registry("cart-0")
    change = made.register(endpoint("cart-1"), Protocol.TCP, Lease("m", 10.0), 0.0)
    assert made.services["cart"].service.protocol is Protocol.GRPC
    assert change.services == {}


def test_registering_again_ends_the_earlier_lease_and_moves_no_version_when_nothing_changed():
    made = registry("cart-0")
    before = made.endpoint(("cart", "cart-0"))
    change = made.register(endpoint(), Protocol.GRPC, Lease("newer", 10.0), 1.0)
    after = made.endpoint(("cart", "cart-0"))
    assert not made.heartbeat("l-cart-0", 2.0)
    assert made.heartbeat("newer", 2.0)
    assert change.revision == before.revision + 1
    assert after.revision == before.revision
    assert after.lease.id == "newer"


def test_registering_again_at_another_address_is_a_change():
    made = registry("cart-0")
    change = made.register(endpoint(port=9), Protocol.GRPC, Lease("newer", 10.0), 1.0)
    assert made.endpoint(("cart", "cart-0")).revision == change.revision


def test_a_registration_replaces_a_static_endpoint():
    made = registry()
    made.apply([Service("cart")], [Stated(endpoint())], dry_run=False, now=0.0)
    made.register(endpoint(), Protocol.GRPC, Lease("l", 10.0), 0.0)
    assert made.endpoint(("cart", "cart-0")).lease.id == "l"


def test_weight_and_drain_outlive_deregistration_expiry_and_registration():
    made = registry("cart-0")
    made.set_weights("cart", {"cart-0": 7}, 0.0)
    made.drain("cart", "cart-0", undo=False, now=0.0)
    made.deregister("l-cart-0", 0.0)
    assert made.endpoint(("cart", "cart-0")) is None
    made.register(endpoint(weight=3), Protocol.GRPC, Lease("m", 10.0), 0.0)
    assert effective(made).weight == 7
    assert effective(made).health is Health.DRAINING
    made.drain("cart", "cart-0", undo=True, now=0.0)
    assert effective(made).health is Health.HEALTHY
    assert effective(made).weight == 7


def test_deregistering_twice_is_fine_and_an_older_lease_does_not_remove_a_newer_registration():
    made = registry("cart-0")
    made.register(endpoint(), Protocol.GRPC, Lease("newer", 10.0), 0.0)
    assert made.deregister("l-cart-0", 0.0) is None
    assert made.endpoint(("cart", "cart-0")) is not None
    assert made.deregister("newer", 0.0).endpoints == {("cart", "cart-0"): None}
    assert made.deregister("newer", 0.0) is None


def test_all_that_expires_at_once_goes_in_one_revision_and_the_service_stays():
    made = registry("cart-0", "cart-1")
    revision = made.revision
    changes = [made.expire(now / 4) for now in range(1, 41)]
    assert changes[:-1] == [None] * 39
    assert changes[-1].revision == revision + 1
    assert set(changes[-1].endpoints) == {("cart", "cart-0"), ("cart", "cart-1")}
    assert made.endpoints == {}
    assert "cart" in made.services


def test_set_weights_is_one_revision_for_all_and_none_when_they_stood_so():
    made = registry("cart-0", "cart-1")
    change = made.set_weights("cart", {"cart-0": 1, "cart-1": 9}, 0.0)
    assert change.revision == made.revision
    assert effective(made, "cart-1").weight == 9
    assert made.set_weights("cart", {"cart-1": 9}, 0.0) is None
    # cart-0 had weight 1 before: nothing that a sidecar would see changed.
    assert made.endpoint(("cart", "cart-0")).revision < change.revision
    assert made.endpoint(("cart", "cart-1")).revision == change.revision


@pytest.mark.parametrize(("service", "weights", "error"), [
    ("cart", {"cart-0": -1}, InvalidResource),
    ("cart", {"cart-0": 1_000_001}, InvalidResource),
    ("cart", {}, InvalidResource),
    ("Cart!", {"cart-0": 1}, InvalidResource),
    ("cart", {"no such": 1}, InvalidResource),
    ("none", {"cart-0": 1}, NotFound),
    ("cart", {"cart-0": 5, "cart-9": 1}, NotFound),
])
def test_a_refused_weight_changes_nothing(service, weights, error):
    made = registry("cart-0", "cart-1")
    before = state(made)
    with pytest.raises(error):
        made.set_weights(service, weights, 0.0)
    assert state(made) == before


def test_apply_reports_each_resource_in_order_and_unchanged_ones_take_no_revision():
    made = registry()
    services = [Service("cart"), Service("pay", Protocol.TCP)]
    change, outcomes = made.apply(services, [Stated(endpoint())], dry_run=False, now=0.0)
    assert outcomes == [Outcome.CREATED] * 3
    assert change.revision == 101
    change, outcomes = made.apply(services, [Stated(endpoint())], dry_run=False, now=0.0)
    assert change is None
    assert outcomes == [Outcome.UNCHANGED] * 3
    change, outcomes = made.apply([Service("pay")], [Stated(endpoint(port=1))], dry_run=False, now=0.0)
    assert outcomes == [Outcome.CHANGED] * 2
    assert change.revision == 102


def test_a_dry_run_says_what_would_be_and_changes_nothing():
    made = registry()
    before = state(made)
    change, outcomes = made.apply([Service("cart")], [Stated(endpoint())], dry_run=True, now=0.0)
    assert change is None
    assert outcomes == [Outcome.CREATED] * 2
    assert state(made) == before


@pytest.mark.parametrize(("services", "endpoints", "error", "words"), [
    ([Service("pay")], [endpoint("x", "none")], NotFound, "endpoints[0].service: service/none does not exist"),
    ([Service("pay")], [endpoint("cart-0")], Held, "kept by the lease of sidecar cart/cart-0"),
    ([Service("pay"), Service("pay")], [], InvalidResource, "services[1].name: 'pay' is given twice"),
    ([Service("pay")], [endpoint("a", "pay"), endpoint("a", "pay")], InvalidResource, "endpoints[1].name"),
])
def test_apply_is_all_or_nothing(services, endpoints, error, words):
    made = registry("cart-0")
    before = state(made)
    with pytest.raises(error) as caught:
        made.apply(services, [Stated(one) for one in endpoints], dry_run=False, now=0.0)
    assert words in str(caught.value)
    assert state(made) == before


def test_apply_lets_an_operators_weight_stand_unless_it_states_one():
    made = registry()
    made.apply([Service("cart")], [Stated(endpoint())], dry_run=False, now=0.0)
    made.set_weights("cart", {"cart-0": 7}, 0.0)
    made.drain("cart", "cart-0", undo=False, now=0.0)
    made.apply([], [Stated(endpoint(port=2))], dry_run=False, now=0.0)
    assert (effective(made).weight, effective(made).health, effective(made).port) == (7, Health.DRAINING, 2)
    _, outcomes = made.apply([], [Stated(endpoint(port=2, weight=4), weight=True)], dry_run=False, now=0.0)
    assert outcomes == [Outcome.CHANGED]
    assert (effective(made).weight, effective(made).health) == (4, Health.DRAINING)
    made.apply([], [Stated(endpoint(port=2, weight=4), health=True)], dry_run=False, now=0.0)
    assert effective(made).health is Health.HEALTHY
    assert made.overlays == {}


def test_delete_of_a_service_takes_endpoints_leases_and_overlays_along():
    made = registry("cart-0", "cart-1")
    made.set_weights("cart", {"cart-0": 7}, 0.0)
    made.apply([Service("pay")], [], dry_run=False, now=0.0)
    change = made.delete("cart", "", 0.0)
    assert change.services == {"cart": None}
    assert set(change.endpoints) == {("cart", "cart-0"), ("cart", "cart-1")}
    assert change.overlays == {("cart", "cart-0"): None}
    assert (set(made.services), made.endpoints, made.overlays) == ({"pay"}, {}, {})
    assert not made.heartbeat("l-cart-0", 0.0)


def test_delete_of_an_endpoint_ends_its_lease_and_forgets_its_overlay():
    made = registry("cart-0")
    made.drain("cart", "cart-0", undo=False, now=0.0)
    made.delete("cart", "cart-0", 0.0)
    assert not made.heartbeat("l-cart-0", 0.0)
    assert made.overlays == {}
    with pytest.raises(NotFound, match="endpoint/cart/cart-0 does not exist"):
        made.delete("cart", "cart-0", 0.0)
    with pytest.raises(NotFound, match="service/pay does not exist"):
        made.delete("pay", "", 0.0)


def test_delete_forgets_the_overlay_of_an_endpoint_that_is_gone():
    made = registry("cart-0")
    made.set_weights("cart", {"cart-0": 7}, 0.0)
    made.deregister("l-cart-0", 0.0)
    change = made.delete("cart", "cart-0", 0.0)
    assert change.endpoints == {}
    assert change.overlays == {("cart", "cart-0"): None}


def test_drain_and_its_undo():
    made = registry("cart-0")
    assert isinstance(made.drain("cart", "cart-0", undo=False, now=0.0), Change)
    assert effective(made).health is Health.DRAINING
    assert made.drain("cart", "cart-0", undo=False, now=0.0) is None
    made.drain("cart", "cart-0", undo=True, now=0.0)
    assert effective(made).health is Health.HEALTHY
    assert made.drain("cart", "cart-0", undo=True, now=0.0) is None
    with pytest.raises(NotFound):
        made.drain("cart", "cart-1", undo=False, now=0.0)


def test_undoing_a_drain_heals_an_endpoint_that_was_applied_as_draining():
    made = registry()
    made.apply([Service("cart")], [Stated(endpoint(health=Health.DRAINING), health=True)], dry_run=False, now=0.0)
    made.drain("cart", "cart-0", undo=True, now=0.0)
    assert effective(made).health is Health.HEALTHY


def test_restored_leases_have_a_full_time_to_live_and_known_ones_keep_theirs():
    made = registry("cart-0")
    record = made.endpoint(("cart", "cart-0"))
    stored = Stored(made.revision, made.services, {("cart", "cart-0"): record}, {})
    again = Registry(stored, 1000.0)
    assert again.revision == made.revision
    assert again.leases.heard("l-cart-0") == 1000.0
    made.restore(stored, 5.0)
    assert made.leases.heard("l-cart-0") == 0.0
    made.restore(Stored(200), 5.0)
    assert made.revision == 200
    assert not made.heartbeat("l-cart-0", 5.0)


def test_a_lease_is_taken_over_while_a_newer_one_keeps_its_endpoint():
    made = registry("cart-0", "cart-1")
    assert made.taken_over("l-cart-0") is None
    made.register(endpoint(port=9), Protocol.GRPC, Lease("newer", 10.0), 1.0)
    assert made.taken_over("l-cart-0") == ("cart", "cart-0")
    assert [made.taken_over(lease) for lease in ("newer", "l-cart-1", "never")] == [None] * 3
    made.deregister("newer", 1.0)
    assert made.taken_over("l-cart-0") is None
    made.apply([], [Stated(endpoint())], dry_run=False, now=1.0)
    assert made.taken_over("l-cart-0") is None


def test_a_lease_that_ran_out_is_taken_over_by_who_registers_afterwards():
    made = registry("cart-0")
    for now in range(1, 41):
        made.expire(now / 4)
    assert made.endpoints == {}
    assert made.taken_over("l-cart-0") is None
    made.register(endpoint(), Protocol.GRPC, Lease("newer", 10.0), 11.0)
    assert made.taken_over("l-cart-0") == ("cart", "cart-0")


def test_a_replacement_that_was_never_stored_is_forgotten_with_it():
    made = registry("cart-0")
    stored = Stored(made.revision, dict(made.services), {("cart", "cart-0"): made.endpoint(("cart", "cart-0"))}, {})
    made.register(endpoint(), Protocol.GRPC, Lease("lost", 10.0), 1.0)
    made.restore(stored, 2.0)
    assert made.heartbeat("l-cart-0", 3.0)
    assert made.taken_over("l-cart-0") is None
    assert made.taken_over("lost") == ("cart", "cart-0")
