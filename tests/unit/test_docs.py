"""The documents say what the code does: reason codes, flags and variables, make targets, links, the compose file."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
import yaml

from controlplane.command import parse
from mesh.balance import Rng
from mesh.cli.group import COMMANDS
from mesh.dataplane.custom import OwnPolicy
from mesh.demo.shop import MEMBERS
from mesh.errors import REASONS
from mesh.model import Endpoint, Service
from mesh.model.custom import CustomMode, CustomPolicy
from mesh.resource.files import parse_documents
from mesh.sidecar.config import OPTIONS
from mesh.wire.hpack import make_head

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
STATUS = {code.value[0]: code.name for code in grpc.StatusCode}
COMPOSE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]


def test_the_table_of_reason_codes_is_the_one_in_the_code() -> None:
    rows = [line for line in (ROOT / "docs" / "reason-codes.md").read_text().splitlines() if line.startswith("| `")]
    assert rows == [
        f"| `{reason.code}` | {reason.fault.value} | {reason.grpc_status} {STATUS[reason.grpc_status]} "
        f"| {reason.http_status} | {'yes' if reason.sent_anything else 'no'} | {reason.message} |"
        for reason in REASONS.values()]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_flag_and_variable_is_in_the_operators_guide(option: Any) -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    assert f"`{option.switch}" in guide
    assert not option.variable or f"`{option.variable}`" in guide


def test_every_flag_of_the_control_plane_is_in_the_operators_guide(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    flags = set(re.findall(r"--[a-z-]+", capsys.readouterr().out)) - {"--help"}
    guide = (ROOT / "docs" / "operate.md").read_text()
    assert len(flags) >= 5
    assert not [flag for flag in flags if f"`{flag} " not in guide]


def test_the_resources_in_the_operators_guide_can_be_applied() -> None:
    texts = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "operate.md").read_text(), re.DOTALL)
    assert len(texts) >= 3
    for text in texts:
        resources = parse_documents(text.encode(), "shop.yaml")
        services = {each.name for each in resources if isinstance(each, Service)}
        assert {each.service for each in resources if isinstance(each, Endpoint)} <= services


def test_every_command_is_in_the_operators_guide() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text() + (ROOT / "README.md").read_text()
    assert not [name for name in COMMANDS if f"mesh {name}" not in guide and f"make {name}" not in guide]


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text()):
        assert "://" in target or (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.MULTILINE)) <= targets


def test_the_compose_file_is_the_same_shop() -> None:
    for member in MEMBERS:
        assert member.name in COMPOSE
        sidecar = COMPOSE[f"{member.name}-sidecar"]
        assert sidecar["network_mode"] == f"service:{member.name}"
        settings = sidecar["environment"]
        assert (settings["MESH_SERVICE"], settings["MESH_INSTANCE"]) == (member.service, member.name)
        assert int(settings.get("MESH_WEIGHT", "1")) == member.weight
        assert settings.get("MESH_PROTOCOL", "grpc") == member.protocol


def test_every_variable_of_a_sidecar_container_is_one_of_the_sidecars() -> None:
    known = {option.variable for option in OPTIONS}
    for name, service in COMPOSE.items():
        if name.endswith("-sidecar"):
            assert {key for key in service["environment"] if key.startswith("MESH_")} <= known


@pytest.mark.parametrize("name", ["sidecar", "controlplane"])
def test_what_the_images_copy_exists_and_is_not_ignored(name: str) -> None:
    text = (ROOT / "docker" / f"{name}.Dockerfile").read_text()
    ignored = (ROOT / "docker" / f"{name}.Dockerfile.dockerignore").read_text().splitlines()
    copied = " ".join(re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)).split()
    assert {"mesh", "controlplane", "pyproject.toml", "setup.py"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_policy_in_the_guide_to_policies_of_ones_own_works() -> None:
    guide = (ROOT / "docs" / "policies.md").read_text()
    source = next(each for each in re.findall(r"```python\n(.*?)```", guide, re.DOTALL) if "import" in each)
    guard: Any = SimpleNamespace(call=lambda function, *given: function(*given))
    policy = OwnPolicy("cart", CustomPolicy("CheapestWithRoom", source, CustomMode.LIVE), Rng(1), guard,
                       lambda: 0.0)

    def candidate(name: str, in_flight: int, **metadata: str) -> Any:
        return SimpleNamespace(name=name, in_flight=in_flight, metadata=metadata)

    some = (candidate("dear", 0, cost="2"), candidate("full", 4, room="4", cost="0.5"),
            candidate("cheap", 3, cost="0.5"))
    policy.head = make_head([(b":method", b"GET"), (b":path", b"/")])
    assert policy.pick(some, 1, 0.0).name == "cheap"
    policy.on_result(some[2], 0.9, True, 0.0)
    assert policy.pick(some, 1, 0.5).name == "dear"
    policy.head = make_head([(b":method", b"POST"), (b"x-customer", b"ada")])
    assert len({policy.pick(some, 1, 5.0).name for _ in range(5)}) == 1
    policy.head = make_head([(b":method", b"POST")])
    assert policy.pick(some, 1, 5.0) is None
    assert (policy.faults, policy.last_fault) == ({}, "")
