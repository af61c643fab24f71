from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mesh.cli.run import RUN, app_environment, find, main
from mesh.errors import InvalidConfig
from mesh.sidecar.config import Address, load


def test_the_port_is_where_the_app_listens() -> None:
    config = load(["--service", "cart", "--port", "50051"], {}, RUN)
    assert config.app == Address("127.0.0.1", 50051)
    assert load(["--service", "cart"], {"MESH_APP": "10.0.0.7:1"}, RUN).app == Address("10.0.0.7", 1)
    assert load(["--service", "job"], {}, RUN).app is None


@pytest.mark.parametrize(("argv", "said"), [
    (["--service", "cart", "--app", "1", "--", "true"], "--app: no such flag"),
    (["--service", "cart", "--ready-fd", "1", "--", "true"], "--ready-fd: no such flag"),
    (["--service", "cart"], "no COMMAND"),
    (["--service", "cart", "--"], "no COMMAND"),
    (["--service", "cart", "true"], "true: unexpected argument"),
])
def test_wrong_flags(argv: list[str], said: str) -> None:
    with pytest.raises(InvalidConfig, match=f"^{said}"):
        main(argv, {})


def test_what_the_app_is_told() -> None:
    ready = {"outbound": {"cart": "127.0.0.1:1", "pay-ment": "[::1]:2"}, "outbound_shared": "127.0.0.1:3"}
    assert app_environment(ready) == {"MESH_OUTBOUND_CART": "127.0.0.1:1", "MESH_OUTBOUND_PAY_MENT": "[::1]:2",
                                      "MESH_OUTBOUND": "127.0.0.1:3"}
    assert app_environment({"outbound": {}, "outbound_shared": None}) == {}
    assert app_environment({}) == {}


def test_where_the_command_is(tmp_path: Path) -> None:
    runs, plain, folder = tmp_path / "runs", tmp_path / "plain", tmp_path / "folder"
    runs.write_text("#!/bin/sh\n")
    runs.chmod(0o755)
    plain.write_text("")
    folder.mkdir()
    path = f"/nonexistent:{tmp_path}"
    assert find("runs", path) == (str(runs), 0)
    assert find(str(runs), "") == (str(runs), 0)
    assert find("plain", path) == ("", 126)
    assert find(str(plain), path) == ("", 126)
    assert find(str(folder), path) == ("", 126)
    assert find("nowhere", path) == ("", 127)
    assert find(str(tmp_path / "nowhere"), path) == ("", 127)
    assert find("runs", "") == ("", 127)


def test_a_command_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--service", "cart", "--", "no-such-command"], {"PATH": "/nonexistent"}, [sys.executable]) == 127
    assert capsys.readouterr().err == "mesh run: no-such-command: not found\n"
