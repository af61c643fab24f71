"""Every case of h2spec's `client` group, against our codec and against a real sidecar that calls a raw endpoint."""

from __future__ import annotations

import itertools

import pytest
from conf_codec import ClientWire
from conf_peer import Case, Peer
from conf_process import play_as_endpoint
from e2e_mesh import Mesh
from h2spec_client import CLIENT

NUMBERS = itertools.count()


def test_the_list_is_complete() -> None:
    """How many cases h2spec has in each section."""
    wanted = {
        "client/1": 1, "client/4.1": 3, "client/4.2": 3, "client/4.3": 1, "client/5.1": 10, "client/5.1.1": 1,
        "client/5.4.1": 2, "client/5.5": 1, "client/6.1": 3, "client/6.2": 3, "client/6.3": 2, "client/6.4": 3,
        "client/6.5": 3, "client/6.5.2": 4, "client/6.5.3": 1, "client/6.7": 4, "client/6.8": 1, "client/6.9": 3,
        "client/6.9.1": 2, "client/6.10": 6,
    }  # fmt: skip
    ours: dict[str, set[str]] = {}
    for case in CLIENT:
        section, _, number = case.id.split(" ")[0].rpartition("/")
        ours.setdefault(section, set()).add(number)
    assert {section: len(numbers) for section, numbers in ours.items()} == wanted


@pytest.mark.parametrize("case", CLIENT, ids=lambda case: f"{case.id}: {case.title}")
def test_codec(case: Case) -> None:
    case.play(Peer(ClientWire(), server=True))


@pytest.mark.e2e
@pytest.mark.parametrize("case", CLIENT, ids=lambda case: f"{case.id}: {case.title}")
def test_sidecar(case: Case, web: tuple[Mesh, tuple[str, int]]) -> None:
    mesh, port = web
    play_as_endpoint(mesh, port, case, f"raw-{next(NUMBERS)}")
