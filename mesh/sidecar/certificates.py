"""The certificate with which the inbound port ends TLS.

What lives here: reading certificate and key, what callers may ask for, reading both anew once they have changed. What
this must not know: connections.
"""

from __future__ import annotations

import logging
import os
import ssl
import time
from collections.abc import Callable

from mesh.errors import InvalidConfig
from mesh.model import Protocol

_log = logging.getLogger("mesh.sidecar")
# How often the files are looked at, at most, in seconds: certificates live for hours at least.
_LOOK_AGAIN = 5.0
_HTTP = ["h2", "http/1.1"]
# What is offered by ALPN (RFC 7301) for what the app speaks: HTTP/1.1 and HTTP/2 are carried over into each other.
_ALPN = {Protocol.GRPC: _HTTP, Protocol.HTTP2: _HTTP, Protocol.HTTP1: _HTTP, Protocol.AUTO: _HTTP}


def make_context(certificate: str, key: str, protocol: Protocol) -> ssl.SSLContext:
    """Return what sessions begin with: TLS 1.3 alone. InvalidConfig: the files are not what they should be."""
    for option, path in (("--tls-certificate", certificate), ("--tls-key", key)):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise InvalidConfig(f"{option} {path}: {error.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    asked: list[bool] = []

    def no_password() -> str:  # who has to start unattended cannot be asked for one
        asked.append(True)
        return ""

    try:
        context.load_cert_chain(certificate, key, no_password)
    except ssl.SSLError as error:
        problem = "the key is encrypted; write it without a password" if asked else _problem(error)
        raise InvalidConfig(f"--tls-certificate {certificate}, --tls-key {key}: {problem}") from None
    except OSError as error:  # gone since they were looked at, or not to be read
        raise InvalidConfig(f"--tls-certificate {certificate}, --tls-key {key}: {error.strerror or error}") from None
    if protocol in _ALPN:
        context.set_alpn_protocols(_ALPN[protocol])
    return context


def _problem(error: ssl.SSLError) -> str:
    match error.reason:
        case "KEY_VALUES_MISMATCH":
            return "the key is not that of the certificate"
        case "NO_START_LINE" | None:
            return "no certificate and key in PEM"
        case reason:
            return reason.lower().replace("_", " ")


class Certificates:
    """The context of the files as they are now; the last good one while they are not in order."""

    def __init__(self, certificate: str, key: str, protocol: Protocol,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._files = (certificate, key)
        self._protocol = protocol
        self._clock = clock
        self._seen = self._look()
        self._context = make_context(certificate, key, protocol)
        self._at = clock()

    def context(self) -> ssl.SSLContext:
        """For one more connection."""
        now = self._clock()
        if now >= self._at + _LOOK_AGAIN:
            self._at = now
            seen = self._look()
            if seen != self._seen:
                try:
                    self._context = make_context(*self._files, self._protocol)
                except InvalidConfig as error:  # maybe half of it is written: look again
                    _log.error("the certificate of before stays in use: %s", error)
                else:
                    self._seen = seen
                    _log.info("%s has been read anew", self._files[0])
        return self._context

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What changes when a file does; also where it is another one by the same name (a rotated secret)."""
        found: list[tuple[int, int, int] | None] = []
        for path in self._files:
            try:
                state = os.stat(path)
                found.append((state.st_mtime_ns, state.st_size, state.st_ino))
            except OSError:
                found.append(None)
        return found
