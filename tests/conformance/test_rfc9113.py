"""RFC 9113, 8441 and 9110 beyond h2spec, against our codec and against real sidecars, in both roles."""

from __future__ import annotations

import itertools

import pytest
from conf_codec import ClientWire, ServerWire
from conf_peer import Case, Peer
from conf_process import dial, play_as_endpoint
from e2e_mesh import Mesh
from rfc9113_messages import MESSAGES, RESPONSES
from rfc9113_server import FRAMES

SERVER = [*FRAMES, *MESSAGES]
NUMBERS = itertools.count()


def named(case: Case) -> str:
    return f"{case.id}: {case.title}"


def test_no_case_has_the_id_of_another() -> None:
    ids = [case.id for case in (*SERVER, *RESPONSES)]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("case", SERVER, ids=named)
def test_server(case: Case) -> None:
    case.play(Peer(ServerWire()))


@pytest.mark.parametrize("case", RESPONSES, ids=named)
def test_client(case: Case) -> None:
    case.play(Peer(ClientWire(), server=True))


@pytest.mark.e2e
@pytest.mark.parametrize("case", [case for case in SERVER if not case.codec_only], ids=named)
def test_sidecar_as_server(case: Case, inbound: tuple[str, int]) -> None:
    wire = dial(*inbound)
    try:
        case.play(Peer(wire))
    finally:
        wire.sock.close()


@pytest.mark.e2e
@pytest.mark.parametrize("case", RESPONSES, ids=named)
def test_sidecar_as_client(case: Case, web: tuple[Mesh, tuple[str, int]]) -> None:
    mesh, port = web
    play_as_endpoint(mesh, port, case, f"rfc-{next(NUMBERS)}")
