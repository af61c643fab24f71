"""Every case of h2spec, against our codec and against a real sidecar's port with an app behind it.

The cases are those of https://github.com/summerwind/h2spec, release 2.6, written down anew; the verdicts are stricter:
an error has to be said with its code before the connection ends.
"""

from __future__ import annotations

import pytest
from conf_codec import ServerWire
from conf_peer import Case, Peer
from conf_process import dial
from h2spec_generic import GENERIC
from h2spec_http2 import HTTP2
from h2spec_more import MORE

CASES = [*GENERIC, *HTTP2, *MORE]


def test_the_list_is_complete() -> None:
    """How many cases h2spec has in each section."""
    wanted = {
        "generic/1": 1, "generic/2": 5, "generic/3.1": 3, "generic/3.2": 3, "generic/3.3": 5, "generic/3.4": 1,
        "generic/3.5": 1, "generic/3.7": 1, "generic/3.8": 1, "generic/3.9": 2, "generic/3.10": 2, "generic/4": 4,
        "generic/5": 15, "http2/3.5": 2, "http2/4.1": 3, "http2/4.2": 3, "http2/4.3": 3, "http2/5.1": 13,
        "http2/5.1.1": 3, "http2/5.1.2": 1, "http2/5.3.1": 2, "http2/5.4.1": 2, "http2/5.5": 2, "http2/6.1": 3,
        "http2/6.2": 4, "http2/6.3": 2, "http2/6.4": 3, "http2/6.5": 3, "http2/6.5.2": 5, "http2/6.5.3": 2,
        "http2/6.7": 4, "http2/6.8": 1, "http2/6.9": 3, "http2/6.9.1": 3, "http2/6.9.2": 3, "http2/6.10": 6,
        "http2/7": 2, "http2/8.1": 1, "http2/8.1.2": 1, "http2/8.1.2.1": 4, "http2/8.1.2.2": 2, "http2/8.1.2.3": 7,
        "http2/8.1.2.6": 2, "http2/8.2": 1, "hpack/2.3.3": 2, "hpack/4.2": 1, "hpack/5.2": 3, "hpack/6.1": 1,
        "hpack/6.3": 1,
    }  # fmt: skip
    ours: dict[str, set[str]] = {}
    for case in CASES:
        section, _, number = case.id.split(" ")[0].rpartition("/")
        ours.setdefault(section, set()).add(number)
    assert {section: len(numbers) for section, numbers in ours.items()} == wanted
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}: {case.title}")
def test_codec(case: Case) -> None:
    case.play(Peer(ServerWire()))


@pytest.mark.e2e
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}: {case.title}")
def test_sidecar(case: Case, inbound: tuple[str, int]) -> None:
    wire = dial(*inbound)
    try:
        case.play(Peer(wire))
    finally:
        wire.sock.close()
