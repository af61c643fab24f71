"""The rules of the tree that no other tool checks: mirrored tests, docstrings, sizes, compiled modules."""

from __future__ import annotations

import ast
import importlib
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests" / "unit"
MAX_LINES = 600
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")

# Modules without a unit test of their own, and where they are tested instead. Keep it short.
TESTED_ELSEWHERE: dict[str, str] = {
    # Shells around grpc.aio and the composition: they mean something only with a real server and real clients.
    "controlplane/discovery/service.py": "tests/e2e/test_controlplane_discovery.py",
    "controlplane/server.py": "tests/e2e/test_controlplane.py",
    # An interface.
    "mesh/wire/codec.py": "tests/unit/wire/test_h2.py",
}


def generated(path: Path) -> bool:
    return path.stem.endswith(("_pb2", "_pb2_grpc"))


MODULES = sorted(path.relative_to(ROOT) for package in ("mesh", "controlplane")
                 for path in (ROOT / package).rglob("*.py") if not generated(path))
SOURCES = sorted(path.relative_to(ROOT) for folder in ("mesh", "controlplane", "tests", "docker")
                 for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".pxd") and not generated(path))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPILED = {Path(entry["sources"][0]): entry["name"] for entry in PROJECT["tool"]["setuptools"]["ext-modules"]}


def unit_test_of(module: Path) -> Path:
    """`mesh/wire/hpack.py` -> `wire/test_hpack.py`, `controlplane/api/x.py` -> `controlplane/api/test_x.py`."""
    folder = module.parent.relative_to("mesh") if module.parts[0] == "mesh" else module.parent
    return UNIT / folder / f"test_{module.name}"


def test_every_module_has_its_test() -> None:
    missing = [f"{module} wants {unit_test_of(module).relative_to(ROOT)}" for module in MODULES
               if module.stem not in ("__init__", "__main__") and str(module) not in TESTED_ELSEWHERE
               and not unit_test_of(module).exists()]
    assert not missing, "\n".join(missing)


def test_the_exceptions_are_still_needed() -> None:
    for module, where in TESTED_ELSEWHERE.items():
        assert (ROOT / module).exists(), f"{module} is gone"
        assert not unit_test_of(Path(module)).exists(), f"{module} has its test now"
        assert (ROOT / where).exists(), f"{where}, which tests {module}, is gone"


def test_every_module_opens_with_a_docstring() -> None:
    bare = [str(module) for module in MODULES
            if (text := (ROOT / module).read_text()) and ast.get_docstring(ast.parse(text)) is None]
    assert not bare, "\n".join(bare)


def test_no_file_is_too_long() -> None:
    long = [f"{path}: {lines} lines" for path in SOURCES
            if (lines := len((ROOT / path).read_text().splitlines())) > MAX_LINES]
    assert not long, "\n".join(long)


def test_no_test_folder_is_a_package() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_declarations_and_compiled_modules_belong_together() -> None:
    declared = {path.relative_to(ROOT).with_suffix(".py") for package in ("mesh", "controlplane")
                for path in (ROOT / package).rglob("*.pxd")}
    # A .pxd may also only declare what others cimport (an interface without code of its own).
    with_code = {path for path in declared if (ROOT / path).exists()}
    assert with_code == set(COMPILED), "each compiled module has a .pxd and an entry in pyproject.toml"
    for source, name in COMPILED.items():
        assert name == ".".join(source.with_suffix("").parts)


@pytest.mark.parametrize("source", COMPILED, ids=str)
def test_what_is_tested_is_the_compiled_module(source: Path) -> None:
    built = Path(importlib.import_module(COMPILED[source]).__file__ or "")
    assert built.name.endswith(SUFFIX), f"{COMPILED[source]} is not compiled: make build"
    newest = max((ROOT / path).stat().st_mtime for path in (source, source.with_suffix(".pxd")))
    assert built.stat().st_mtime >= newest, f"{COMPILED[source]} is older than its source: make build"
