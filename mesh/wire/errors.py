"""What a peer of a wire codec can do wrong, split by how much of the connection it costs.

What lives here: the error codes of RFC 9113, section 7, and the codecs' exceptions. What this must not know: sockets,
policy.
"""

from __future__ import annotations

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
SETTINGS_TIMEOUT = 0x4
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
CONNECT_ERROR = 0xA
ENHANCE_YOUR_CALM = 0xB
INADEQUATE_SECURITY = 0xC
HTTP_1_1_REQUIRED = 0xD

CODE_NAMES = {value: name for name, value in list(globals().items()) if name.isupper() and isinstance(value, int)}


class WireError(Exception):
    """Base of the codecs' errors; never raised itself."""


class HpackError(WireError):
    """A header block can't be decoded: the connection's compression state is lost (COMPRESSION_ERROR)."""


class HeaderListTooLarge(WireError):
    """A header list is larger than we announced. The compression state is in step: only the stream is lost."""


class Malformed(WireError):
    """A message of HTTP/1.1 that can't be taken; `status` is the answer to a request that is one."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class ConnectionError_(WireError):
    """The peer broke the protocol so that the connection must end; GOAWAY with `code`, or the answer, is queued.

    `cause`: a reason code for logs and counters: one of `mesh.wire.limits`, or else the name of the code.
    """

    def __init__(self, code: int, reason: str, cause: str = "") -> None:
        name = CODE_NAMES.get(code, str(code))
        super().__init__(f"{name}: {reason}")
        self.code = code
        self.reason = reason
        self.cause = cause or name.lower()


class StreamStateError(WireError):
    """Our own caller asked for what the stream's state or window forbids: a bug here, never the peer's doing."""


class MessageError(WireError):
    """A gRPC message breaks the framing or is larger than its bound."""


class ProxyProtocolError(WireError):
    """The header of the PROXY protocol is malformed; nothing of the connection may be used."""


class ClientHelloError(WireError):
    """What should be a TLS ClientHello is malformed, or larger than its bound."""
