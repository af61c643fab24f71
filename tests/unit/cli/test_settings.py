from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.cli.settings import Settings
from mesh.errors import InvalidConfig
from mesh.sidecar.config import Address

Mesh = Callable[..., Any]


def test_where_the_control_plane_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MESH_CONTROL_PLANE", raising=False)
    assert Settings().addresses == (Address("127.0.0.1", 15010),)
    monkeypatch.setenv("MESH_CONTROL_PLANE", "")
    assert Settings().addresses == (Address("127.0.0.1", 15010),)
    monkeypatch.setenv("MESH_CONTROL_PLANE", "a:1,b:2")
    assert Settings().addresses == (Address("a", 1), Address("b", 2))
    assert Settings(control_plane="c:3").addresses == (Address("c", 3),)
    monkeypatch.setenv("MESH_CONTROL_PLANE", "nowhere")
    with pytest.raises(InvalidConfig, match=r"^MESH_CONTROL_PLANE=nowhere: 'nowhere' is not HOST:PORT$"):
        assert Settings().addresses


@pytest.mark.parametrize(("flags", "said"), [
    (("--control-plane", "x"), "mesh status: --control-plane x: 'x' is not HOST:PORT\n"),
    (("--timeout", "soon"), "mesh status: --timeout soon: 'soon' is not a duration: 30s, 250ms, 5m, 1h\n"),
    (("--timeout", "0"), "mesh status: --timeout 0s: outside 1ms..10m\n"),
    (("--timeout", "1h"), "mesh status: --timeout 3600s: outside 1ms..10m\n"),
])
def test_wrong_options_before_and_after_the_command(mesh: Mesh, flags: tuple[str, ...], said: str) -> None:
    for arguments in ((*flags, "status"), ("status", *flags)):
        done = mesh(*arguments)
        assert (done.code, done.out, done.err) == (2, "", said)


def test_the_later_option_wins(mesh: Mesh, plane: Any) -> None:
    done = mesh("--control-plane", "127.0.0.1:1", "status", "--control-plane", plane.address)
    assert done.code == 0
