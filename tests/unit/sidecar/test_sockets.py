"""Listening sockets: all or none; an address that can't be had is one line, the option and the system's reason."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

import pytest

from mesh.dataplane.syscalls import disconnect
from mesh.errors import InvalidConfig
from mesh.sidecar.config import SidecarConfig, load
from mesh.sidecar.sockets import Sockets, listen, reason, wanted


def config(*flags: str) -> SidecarConfig:
    return load(["--service", "web", *flags], {})


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


@pytest.mark.parametrize(("error", "said"), [
    (OSError(errno.EADDRINUSE, "error while attempting to bind on address ('::1', 1): address already in use"),
     "address already in use"),
    (OSError(errno.EADDRNOTAVAIL, "error while attempting ..."), "cannot assign requested address"),
    (OSError(errno.EACCES, "Permission denied"), "permission denied"),
    (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
    (OSError("could not bind"), "could not bind"),
    (UnicodeError("label empty or too long"), "not a host name"),
])
def test_the_reason_is_the_systems(error: OSError | UnicodeError, said: str) -> None:
    assert reason(error) == said


def test_every_listener_of_a_configuration_is_wanted_by_its_option() -> None:
    listed = list(wanted(config("--app", "1", "--inbound", "7001", "--outbound", "cart=7002,stock=7003/tcp",
                                "--outbound-shared", "7004")))
    assert [each.name for each in listed] == ["inbound", "outbound cart", "outbound stock", "outbound-shared",
                                              "outbound cart udp"]  # whose protocol is not declared
    assert [each.place for each in listed] == [
        "--inbound 127.0.0.1:7001", "--outbound cart=127.0.0.1:7002", "--outbound stock=127.0.0.1:7003/tcp",
        "--outbound-shared 127.0.0.1:7004", "--outbound cart=127.0.0.1:7002"]
    assert list(wanted(config())) == []  # without an app there is no inbound


def test_bound_sockets_listen_and_do_not_block() -> None:
    sockets = Sockets.bind(config("--outbound", "cart=0"))
    [sock] = sockets["outbound cart"]
    assert not sock.getblocking()
    socket.create_connection(sock.getsockname()).close()
    sockets.close()


@pytest.mark.parametrize("option", ["--app 1 --inbound 127.0.0.1:", "--outbound cart=127.0.0.1:",
                                    "--outbound-shared 127.0.0.1:"])
def test_a_taken_port_names_its_option(option: str, taken: int) -> None:
    flags = f"{option}{taken}".split()
    with pytest.raises(InvalidConfig) as caught:
        Sockets.bind(config(*flags))
    assert str(caught.value) == f"{' '.join(flags[-2:])}: address already in use"


def test_what_was_bound_before_the_failure_is_free_again(taken: int) -> None:
    free = listen("127.0.0.1", 0)
    port = free.getsockname()[1]
    free.close()
    with pytest.raises(InvalidConfig):
        Sockets.bind(config("--outbound", f"cart={port},stock={taken}"))
    listen("127.0.0.1", port).close()


def test_a_name_of_two_families_is_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
             (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),  # nobody has that one (RFC 5737)
             (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    with listen("cart.example", 0) as sock:
        assert sock.getsockname()[0] == "127.0.0.1"
    del found[1:]
    with listen("cart.example", 0) as sock:
        assert sock.getsockname()[0] == "::1"


# ---- several slots


def test_slots_share_one_address_and_its_connections() -> None:
    sockets = Sockets.bind(config("--outbound", "cart=0"), 4)
    slots = sockets["outbound cart"]
    assert len({sock.getsockname() for sock in slots}) == 1
    clients = [socket.create_connection(slots[0].getsockname()) for _ in range(64)]
    taken = [accepted(sock) for sock in slots]
    assert sum(taken) == 64
    assert min(taken) > 0, "the kernel gives each its share"
    for client in clients:
        client.close()
    sockets.close()


def accepted(sock: socket.socket) -> int:
    count = 0
    while True:
        try:
            sock.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_an_address_of_a_group_is_taken_for_everybody_else() -> None:
    sockets = Sockets.bind(config("--outbound", "cart=0"), 2)
    port = sockets["outbound cart"][0].getsockname()[1]
    for slots in (1, 2):
        with pytest.raises(InvalidConfig, match="address already in use"):
            Sockets.bind(config("--outbound", f"cart={port}"), slots)
    sockets.close()


# ---- what a predecessor leaves


def inherited(*names: str) -> tuple[list[tuple[str, socket.socket]], list[int]]:
    socks = [(name, listen("127.0.0.1", 0)) for name in names]
    return socks, [sock.getsockname()[1] for _, sock in socks]


def test_inherited_sockets_are_used_where_they_are_wanted_and_closed_where_not() -> None:
    socks, [cart, stock, shared] = inherited("outbound cart", "outbound stock", "outbound-shared")
    sockets = Sockets.bind(config("--outbound", f"cart={cart}", "--outbound", "stock=0"), inherited=socks)
    assert sockets["outbound cart"] == [socks[0][1]]
    assert sockets["outbound stock"] == [socks[1][1]]  # port 0: the one that it has already
    assert sockets["outbound stock"][0].getsockname()[1] == stock
    assert socks[2][1].fileno() == -1
    listen("127.0.0.1", shared).close()
    assert [name for name, sock in sockets if sock.type == socket.SOCK_STREAM] == ["outbound cart", "outbound stock"]
    sockets.close()


def test_an_address_that_changed_its_name_is_inherited_too() -> None:
    socks, [port] = inherited("outbound cart")
    sockets = Sockets.bind(config("--outbound", f"basket={port}", "--outbound", "cart=0"), inherited=socks)
    assert sockets["outbound basket"] == [socks[0][1]]
    assert sockets["outbound cart"][0].getsockname()[1] != port
    sockets.close()


@pytest.mark.parametrize("address", ["127.0.0.2:{port}", "127.0.0.1:{free}"])
def test_a_changed_address_is_bound_anew(address: str) -> None:
    with listen("127.0.0.1", 0) as sock:
        free = sock.getsockname()[1]
    socks, [port] = inherited("outbound-shared")
    sockets = Sockets.bind(config("--outbound-shared", address.format(port=port, free=free)), inherited=socks)
    [sock] = sockets["outbound-shared"]
    assert "{}:{}".format(*sock.getsockname()) == address.format(port=port, free=free)
    assert socks[0][1].fileno() == -1
    sockets.close()


def test_a_configuration_that_cannot_be_had_leaves_no_inherited_socket_open(taken: int) -> None:
    socks, [port] = inherited("outbound cart")
    with pytest.raises(InvalidConfig):
        Sockets.bind(config("--outbound", f"cart={port},stock={taken}"), inherited=socks)
    assert socks[0][1].fileno() == -1


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 2)])
def test_a_group_grows_and_nothing_of_it_is_lost(before: int, after: int) -> None:
    old = Sockets.bind(config("--outbound", "cart=0"), before)
    sockets = Sockets.bind(config("--outbound", "cart=0"), after, list(old))
    slots = sockets["outbound cart"]
    assert slots[:before] == old["outbound cart"]
    assert len(slots) == max(before, after)
    clients = [socket.create_connection(slots[0].getsockname()) for _ in range(64)]
    taken = [accepted(sock) for sock in slots]
    assert sum(taken) == 64
    assert min(taken) > 0
    for client in clients:
        client.close()
    sockets.close()


# ---- datagrams


def test_udp_is_bound_where_it_is_declared() -> None:
    sockets = Sockets.bind(config("--app", "1", "--protocol", "udp", "--outbound", "dns=0/udp,stock=0/tcp"))
    for name in ("inbound", "outbound dns"):
        [sock] = sockets[name]
        assert (sock.type, sock.getblocking()) == (socket.SOCK_DGRAM, False)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    assert {name for name, _ in sockets} == {"inbound", "outbound dns", "outbound stock"}
    assert sockets.get("outbound stock udp") == []
    sockets.close()


def test_a_udp_port_that_is_taken_names_its_option() -> None:
    with listen("127.0.0.1", 0, socket.SOCK_DGRAM) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(InvalidConfig, match=f"--outbound dns=127.0.0.1:{port}/udp: address already in use"):
            Sockets.bind(config("--outbound", f"dns={port}/udp"))


def test_a_udp_port_survives_being_connected() -> None:
    """Which a socket bound to port 0 would not."""
    with listen("127.0.0.1", 0, socket.SOCK_DGRAM) as sock:
        address = sock.getsockname()
        sock.connect(address)
        assert disconnect(sock.fileno()) == 0
        assert sock.getsockname() == address


def test_an_undeclared_port_has_datagrams_beside_it() -> None:
    sockets = Sockets.bind(config("--outbound", "cart=0"), 2)
    assert {sock.getsockname() for sock in sockets["outbound cart udp"]} == {sockets["outbound cart"][0].getsockname()}
    assert len(sockets["outbound cart udp"]) == 2
    sockets.close()


def taken_for_datagrams() -> socket.socket:
    """A UDP socket at a port that is free for connections."""
    while True:
        with listen("127.0.0.1", 0) as free:
            try:
                return listen("127.0.0.1", free.getsockname()[1], socket.SOCK_DGRAM)
            except OSError:
                continue


def test_an_undeclared_port_does_without_them_if_need_be(caplog: pytest.LogCaptureFixture) -> None:
    sock = taken_for_datagrams()
    with sock:
        port = sock.getsockname()[1]
        sockets = Sockets.bind(config("--outbound", f"cart={port}"))
        assert sockets["outbound cart"][0].getsockname()[1] == port
        assert sockets.get("outbound cart udp") == []
        sockets.close()
    assert [record.getMessage() for record in caplog.records] == [
        f"no datagrams at --outbound cart=127.0.0.1:{port}: address already in use (say which protocol it is, "
        "or choose another port)"]


def test_what_is_inherited_is_of_the_wanted_kind() -> None:
    old = Sockets.bind(config("--outbound", "cart=0,dns=0/udp"))
    sockets = Sockets.bind(config("--outbound", "cart=0,dns=0/udp"), inherited=list(old))
    assert list(sockets) == list(old)
    again = Sockets.bind(config("--outbound", "cart=0/udp,dns=0/tcp"), inherited=list(sockets))
    assert [sock.type for _, sock in again] == [socket.SOCK_DGRAM, socket.SOCK_STREAM]
    again.close()
    sockets.close()
