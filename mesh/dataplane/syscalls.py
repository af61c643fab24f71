# cython: language_level=3, wraparound=False, initializedcheck=False
# ruff: noqa: F821 (what only the compiled branches use is declared in syscalls.pxd)
# mypy: disable-error-code="name-defined, no-any-return"
"""System calls on raw descriptors: no socket object, no exception for what is ordinary (would block, reset).

What lives here: one function per call; the compiled branch calls the kernel, the other one does the same through `os`,
`select` and `socket`. What this must not know: what the bytes mean, who watches a descriptor.

Each returns what the call returns, or minus the error number. IndexError: the octets would stand outside the buffer.
No function blocks.
"""

from __future__ import annotations

import functools
import os
import select
import socket
import struct
import time
from typing import Any

import cython

if not cython.compiled:
    from errno import EINPROGRESS

    from mesh.wire.octets import octets_of

# Room for a sockaddr of either family.
ADDRESS_BYTES = 28
# Room for an epoll_event on any architecture.
EVENT_BYTES = 16
_AF_INET6 = cython.declare(cython.int, socket.AF_INET6)
_RST_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger

# Uncompiled, select.epoll has no room for a key beside a descriptor.
_keys: dict[int, tuple[Any, dict[int, int]]] = {}


def _borrowed(fd: int) -> socket.socket:
    """A socket object of `fd`; detach it when done."""
    return socket.socket(fileno=fd)


def _negative(error: OSError) -> int:
    return -(error.errno or 1)


# -- bytes


def recv_into(fd: cython.int, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Read at most `n` octets to `buf[start:]`; 0 is the end of the stream."""
    if start < 0 or n < 0 or n > len(buf) - start:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        got: cython.Py_ssize_t = c_recv(fd, PyByteArray_AS_STRING(buf) + start, n, MSG_DONTWAIT)
        return got if got >= 0 else -c_errno
    else:
        try:
            return os.readv(fd, [memoryview(buf)[start : start + n]])
        except OSError as error:
            return _negative(error)


def peek_into(fd: cython.int, buf: bytearray, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """As `recv_into`, and what was read can be read again."""
    if start < 0 or n < 0 or n > len(buf) - start:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        got: cython.Py_ssize_t = c_recv(fd, PyByteArray_AS_STRING(buf) + start, n, MSG_DONTWAIT | MSG_PEEK)
        return got if got >= 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            return sock.recv_into(memoryview(buf)[start : start + n], n, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()


def send_from(fd: cython.int, buf: object, start: cython.Py_ssize_t, n: cython.Py_ssize_t) -> cython.Py_ssize_t:
    """Hand at most `n` octets of `buf[start:]` (bytes or bytearray) to the kernel. Never raises SIGPIPE."""
    sent: cython.Py_ssize_t
    if isinstance(buf, bytes):
        whole: bytes = buf
        if start < 0 or n < 0 or n > len(whole) - start:
            raise IndexError("octets outside the buffer")
        if cython.compiled:
            sent = c_send(fd, PyBytes_AS_STRING(whole) + start, n, MSG_DONTWAIT | MSG_NOSIGNAL)
            return sent if sent >= 0 else -c_errno
    else:
        other: bytearray = buf  # type: ignore[assignment]
        if start < 0 or n < 0 or n > len(other) - start:
            raise IndexError("octets outside the buffer")
        if cython.compiled:
            sent = c_send(fd, PyByteArray_AS_STRING(other) + start, n, MSG_DONTWAIT | MSG_NOSIGNAL)
            return sent if sent >= 0 else -c_errno
    sock = _borrowed(fd)
    try:
        return sock.send(memoryview(buf)[start : start + n],  # type: ignore[arg-type]
                         socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError as error:
        return _negative(error)
    finally:
        sock.detach()


def send_fin(fd: cython.int) -> cython.int:
    """Tell the peer that nothing more comes (FIN); what it sends can still be read."""
    if cython.compiled:
        return 0 if c_shutdown(fd, SHUT_WR) == 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()
        return 0


# -- addresses


@functools.lru_cache(1024)
def literal(host: str, port: int) -> bytes | None:
    """The address as the kernel wants it, None if `host` is a name (or nothing at all). Ports are 0..65535."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
        return packed(family, (host, port))
    except (OSError, ValueError, struct.error):
        return None


def packed(family: int, address: Any) -> bytes:
    """struct sockaddr_in or sockaddr_in6 of what `getaddrinfo` gives. OSError for other families."""
    host, port = address[0], address[1]
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack("!H", port) + socket.inet_pton(family, host) + bytes(8)
    if family != socket.AF_INET6:
        raise OSError(f"no way to reach an address of family {family}")
    flow, scope = (address[2], address[3]) if len(address) > 3 else (0, 0)
    return (struct.pack("=H", family) + struct.pack("!HI", port, flow)
            + socket.inet_pton(family, host.partition("%")[0]) + struct.pack("=I", scope))


def host_of(address: bytes | bytearray) -> str:
    """The literal address in a sockaddr, empty for other families than IPv4 and IPv6."""
    if address[4:8] == _LOOPBACK and address[0:2] == _INET:  # where most callers of a sidecar are
        return "127.0.0.1"
    family = address[0] | address[1] << 8 if _LITTLE else address[1] | address[0] << 8
    if family == socket.AF_INET:
        return f"{address[4]}.{address[5]}.{address[6]}.{address[7]}"
    if family == socket.AF_INET6:
        return socket.inet_ntop(family, bytes(address[8:24]))
    return ""


_LOOPBACK = b"\x7f\0\0\1"
_INET = struct.pack("=H", socket.AF_INET)
_LITTLE = struct.pack("=H", 1) == b"\1\0"


def port_of(address: bytes | bytearray) -> int:
    """The port in a sockaddr of IPv4 or IPv6."""
    return address[2] << 8 | address[3]


def _unpacked(address: bytes) -> tuple[int, Any]:
    if len(address) == 16:
        return socket.AF_INET, (host_of(address), port_of(address))
    flow, scope = struct.unpack_from("!I", address, 4)[0], struct.unpack_from("=I", address, 24)[0]
    return socket.AF_INET6, (host_of(address), port_of(address), flow, scope)


# -- the life of a connection


def accept_one(fd: cython.int, peer: bytearray) -> cython.int:
    """The descriptor of one more connection, non-blocking; its address goes to `peer` (ADDRESS_BYTES)."""
    if len(peer) < ADDRESS_BYTES:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        size: socklen_t = 28
        got: cython.int = c_accept4(fd, cython.cast(cython.pointer(c_sockaddr), PyByteArray_AS_STRING(peer)),
                                    cython.address(size), SOCK_NONBLOCK | SOCK_CLOEXEC)
        return got if got >= 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            made, address = sock.accept()
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()
        made.setblocking(False)
        octets = packed(made.family, address)
        peer[: len(octets)] = octets
        return made.detach()


def connect_to(address: bytes) -> cython.int:
    """A descriptor that connects to `address` (see `literal`)."""
    if cython.compiled:
        size: cython.Py_ssize_t = len(address)
        if size != 16 and size != 28:
            raise IndexError("no address")
        got: cython.int = c_socket(cython.cast(cython.pointer(cython.ushort), PyBytes_AS_STRING(address))[0],
                                   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if got < 0:
            return -c_errno
        status: cython.int = c_connect(got, cython.cast(cython.pointer(c_sockaddr), PyBytes_AS_STRING(address)),
                                       cython.cast(socklen_t, size))
        if status < 0 and c_errno != EINPROGRESS:
            status = -c_errno
            c_close(got)
            return status
        return got
    else:
        family, pair = _unpacked(address)
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            return _negative(error)
        error_number = sock.connect_ex(pair)
        if error_number not in (0, EINPROGRESS):
            sock.close()
            return -error_number
        return sock.detach()


# -- datagrams


def connect_datagrams(address: bytes) -> cython.int:
    """A UDP descriptor connected to `address` (see `literal`): it hears that peer only, and what ICMP says of it."""
    if cython.compiled:
        size: cython.Py_ssize_t = len(address)
        if size != 16 and size != 28:
            raise IndexError("no address")
        got: cython.int = c_socket(cython.cast(cython.pointer(cython.ushort), PyBytes_AS_STRING(address))[0],
                                   SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        if got < 0:
            return -c_errno
        if c_connect(got, cython.cast(cython.pointer(c_sockaddr), PyBytes_AS_STRING(address)),
                     cython.cast(socklen_t, size)) < 0:
            status: cython.int = -c_errno
            c_close(got)
            return status
        return got
    else:
        family, pair = _unpacked(address)
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as error:
            return _negative(error)
        error_number = sock.connect_ex(pair)
        if error_number != 0:
            sock.close()
            return -error_number
        return sock.detach()


def disconnect(fd: cython.int) -> cython.int:
    """Have a connected UDP socket hear everybody again.

    A port that was not asked for by its number is lost by that: the socket is then bound to none (udp(7)).
    """
    if cython.compiled:
        nobody: cython.char[16]
        memset(nobody, 0, 16)  # the family AF_UNSPEC
        return 0 if c_connect(fd, cython.cast(cython.pointer(c_sockaddr), nobody), 16) == 0 else -c_errno
    else:
        import ctypes  # Python's sockets have no way to say it

        libc = ctypes.CDLL(None, use_errno=True)
        return 0 if libc.connect(fd, bytes(16), 16) == 0 else -ctypes.get_errno()


def receive_from(fd: cython.int, buf: bytearray, peer: bytearray) -> cython.Py_ssize_t:
    """Read one datagram to `buf`, which cuts it if it is longer; its sender goes to `peer` (ADDRESS_BYTES)."""
    if len(peer) < ADDRESS_BYTES:
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        size: socklen_t = 28
        got: cython.Py_ssize_t = c_recvfrom(fd, PyByteArray_AS_STRING(buf), len(buf), MSG_DONTWAIT,
                                            cython.cast(cython.pointer(c_sockaddr), PyByteArray_AS_STRING(peer)),
                                            cython.address(size))
        return got if got >= 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            count, address = sock.recvfrom_into(buf, len(buf), socket.MSG_DONTWAIT)
            octets = packed(sock.family, address)
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()
        peer[: len(octets)] = octets
        return count


def sender(peer: bytearray) -> bytes:
    """The sockaddr that `receive_from` left, equal for equal senders."""
    is_ipv6: cython.bint = (peer[0] | peer[1]) == _AF_INET6  # one of the two is 0, whatever the byte order
    return octets_of(peer, 0, 28 if is_ipv6 else 16)


def send_to(fd: cython.int, buf: bytearray, n: cython.Py_ssize_t, address: bytes) -> cython.Py_ssize_t:
    """Send `buf[:n]` as one datagram to `address`."""
    if n < 0 or n > len(buf):
        raise IndexError("octets outside the buffer")
    if cython.compiled:
        sent: cython.Py_ssize_t = c_sendto(
            fd, PyByteArray_AS_STRING(buf), n, MSG_DONTWAIT | MSG_NOSIGNAL,
            cython.cast(cython.pointer(c_sockaddr), PyBytes_AS_STRING(address)), cython.cast(socklen_t, len(address)))
        return sent if sent >= 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            return sock.sendto(memoryview(buf)[:n], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL, _unpacked(address)[1])
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()


# -- options and ends


def set_nodelay(fd: cython.int) -> cython.int:
    """Small writes go out at once. What a listening socket accepts inherits it."""
    if cython.compiled:
        one: cython.int = 1
        return 0 if c_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, cython.address(one), 4) == 0 else -c_errno
    else:
        sock = _borrowed(fd)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()
        return 0


def socket_error(fd: cython.int) -> cython.int:
    """The error that waits on the socket (SO_ERROR), a positive number, and clear it; 0: none."""
    if cython.compiled:
        value: cython.int = 0
        size: socklen_t = 4
        if c_getsockopt(fd, SOL_SOCKET, SO_ERROR, cython.address(value), cython.address(size)) < 0:
            return c_errno
        return value
    else:
        sock = _borrowed(fd)
        try:
            return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except OSError as error:
            return error.errno or 1
        finally:
            sock.detach()


def is_to_itself(fd: cython.int, address: bytes) -> cython.bint:
    """TCP's simultaneous open: a connect to a dead local port in the ephemeral range may be given that port itself."""
    if cython.compiled:
        own: cython.char[28]
        size: socklen_t = 28
        if c_getsockname(fd, cython.cast(cython.pointer(c_sockaddr), own), cython.address(size)) < 0:
            return False
        return (cython.cast(cython.Py_ssize_t, size) == len(address)
                and memcmp(own, PyBytes_AS_STRING(address), 8 if size == 16 else 24) == 0)
    else:
        sock = _borrowed(fd)
        try:
            own_name = packed(sock.family, sock.getsockname())
        except OSError:
            return False
        finally:
            sock.detach()
        return own_name[:8 if len(own_name) == 16 else 24] == address[:8 if len(address) == 16 else 24]


def close_fd(fd: cython.int) -> cython.int:
    """Give the descriptor back. What was read by nobody turns the FIN into a RST (RFC 2525, 2.17)."""
    if cython.compiled:
        return 0 if c_close(fd) == 0 else -c_errno
    else:
        try:
            os.close(fd)
        except OSError as error:
            return _negative(error)
        return 0


def reset_fd(fd: cython.int) -> cython.int:
    """Close by RST: the peer must not take a part for the whole."""
    if cython.compiled:
        option: c_linger
        option.l_onoff = 1
        option.l_linger = 0
        c_setsockopt(fd, SOL_SOCKET, SO_LINGER, cython.address(option), cython.sizeof(c_linger))
        return close_fd(fd)
    else:
        sock = _borrowed(fd)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        except OSError as error:
            return _negative(error)
        finally:
            sock.detach()
        return close_fd(fd)


# -- epoll


def epoll_open() -> cython.int:
    """A new, empty set."""
    if cython.compiled:
        got: cython.int = c_epoll_create1(EPOLL_CLOEXEC)
        return got if got >= 0 else -c_errno
    else:
        try:
            made = select.epoll()
        except OSError as error:
            return _negative(error)
        _keys[made.fileno()] = made, {}
        return made.fileno()


def epoll_add(epfd: cython.int, fd: cython.int, mask: cython.uint, key: cython.ulonglong) -> cython.int:
    """Report events of `mask` under `key` until `fd` is closed or deleted."""
    if cython.compiled:
        event: epoll_event
        event.events = mask
        event.data.u64 = key
        return 0 if c_epoll_ctl(epfd, EPOLL_CTL_ADD, fd, cython.address(event)) == 0 else -c_errno
    else:
        made, keys = _keys[epfd]
        try:
            made.register(fd, mask)
        except OSError as error:
            return _negative(error)
        keys[fd] = key
        return 0


def epoll_modify(epfd: cython.int, fd: cython.int, mask: cython.uint, key: cython.ulonglong) -> cython.int:
    """Report events of `mask` instead; what is the case already is reported anew."""
    if cython.compiled:
        event: epoll_event
        event.events = mask
        event.data.u64 = key
        return 0 if c_epoll_ctl(epfd, EPOLL_CTL_MOD, fd, cython.address(event)) == 0 else -c_errno
    else:
        made, keys = _keys[epfd]
        try:
            made.modify(fd, mask)
        except OSError as error:
            return _negative(error)
        keys[fd] = key
        return 0


def epoll_delete(epfd: cython.int, fd: cython.int) -> cython.int:
    """Report `fd` no more."""
    if cython.compiled:
        event: epoll_event
        return 0 if c_epoll_ctl(epfd, EPOLL_CTL_DEL, fd, cython.address(event)) == 0 else -c_errno
    else:
        try:
            _keys[epfd][0].unregister(fd)
        except OSError as error:
            return _negative(error)
        return 0


def epoll_close(epfd: cython.int) -> cython.int:
    """Give the set back."""
    if cython.compiled:
        return close_fd(epfd)
    else:
        _keys.pop(epfd)[0].close()
        return 0


def epoll_wait(epfd: cython.int, events: bytearray, timeout_ms: cython.int) -> cython.int:
    """Fill `events` (EVENT_BYTES each) with what has happened; returns how many. Negative: waits for ever.

    While it may sleep other threads have the interpreter.
    """
    if cython.compiled:
        got: cython.int
        most: cython.int = cython.cast(cython.int, len(events) // 16)
        into = cython.cast(cython.pointer(epoll_event), PyByteArray_AS_STRING(events))
        if timeout_ms == 0:
            got = c_epoll_wait(epfd, into, most, 0)
        else:
            with cython.nogil:
                got = c_epoll_wait(epfd, into, most, timeout_ms)
        return got if got >= 0 else -c_errno
    else:
        made, keys = _keys[epfd]
        found = made.poll(timeout_ms / 1000 if timeout_ms >= 0 else None, len(events) // EVENT_BYTES)
        for index, (fd, mask) in enumerate(found):
            struct.pack_into("=QI", events, index * EVENT_BYTES, keys[fd], mask)
        return len(found)


def event_key(events: bytearray, i: cython.int) -> cython.ulonglong:
    """The key of the event `i`."""
    if i < 0 or i >= len(events) // 16:
        raise IndexError("no such event")
    if cython.compiled:
        return cython.cast(cython.pointer(epoll_event), PyByteArray_AS_STRING(events))[i].data.u64
    else:
        return struct.unpack_from("=Q", events, i * EVENT_BYTES)[0]


def event_mask(events: bytearray, i: cython.int) -> cython.uint:
    """What happened: EPOLLIN, EPOLLOUT and so on."""
    if i < 0 or i >= len(events) // 16:
        raise IndexError("no such event")
    if cython.compiled:
        return cython.cast(cython.pointer(epoll_event), PyByteArray_AS_STRING(events))[i].events
    else:
        return struct.unpack_from("=I", events, i * EVENT_BYTES + 8)[0]


# -- time


def monotonic() -> cython.double:
    """`time.monotonic()` without an object."""
    if cython.compiled:
        now: timespec
        clock_gettime(CLOCK_MONOTONIC, cython.address(now))
        return now.tv_sec + now.tv_nsec * 1e-9
    else:
        return time.monotonic()
