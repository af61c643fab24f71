"""Configuration files: YAML, TOML or JSON by suffix, read into plain values that know their line.

What lives here: reading, syntax errors and line numbers. What this must not know: which keys exist and what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from mesh.errors import InvalidConfig

MAX_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A parsed file: `values` by top-level key."""

    path: str
    text: str
    values: dict[str, object]

    def place(self, *keys: str) -> str:
        """Return `sidecar.yaml:7: outbound.cart`, where the line is that of the innermost key found in the text."""
        position, line = 0, 1
        for key in keys:
            found = _find(self.text, key, position)
            if found is None:
                break
            position, line = found, self.text.count("\n", 0, found) + 1
        return f"{self.path}:{line}: {'.'.join(keys)}"


def _find(text: str, key: str, start: int) -> int | None:
    pattern = re.compile(rf"""(?:^|(?<=[\s{{,\["'])){re.escape(key)}["']?\s*[:=\]]""", re.MULTILINE)
    for match in pattern.finditer(text, start):
        if "#" not in text[text.rfind("\n", 0, match.start()) + 1:match.start()]:
            return match.start()
    return None


def read_file(path: str) -> ConfigFile:
    """Read and parse `path`; raises InvalidConfig, `<path>:<line>: ...` where there is a line."""
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MAX_BYTES:
        raise InvalidConfig(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(f"{path}:{line}: not UTF-8: byte 0x{raw[error.start]:02x}") from None
    values = _parse(path, text)
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise InvalidConfig(f"{path}:1: a mapping of options is needed, got {type(values).__name__}")
    for key in values:
        if not isinstance(key, str):
            raise InvalidConfig(f"{path}: {key!r} is not the name of an option")
    return ConfigFile(path, text, values)


def _parse(path: str, text: str) -> Any:
    suffix = PurePath(path).suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _parse_yaml(path, text)
    if suffix == ".toml":
        import tomllib

        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            message = str(error)
            line = re.search(r"at line (\d+)", message)
            number = line[1] if line else str(text.count("\n") + 1)
            raise InvalidConfig(f"{path}:{number}: {re.sub(r' [(]at .*', '', message)}") from None
    if suffix == ".json":
        import json

        try:
            return json.loads(text, object_pairs_hook=lambda pairs: _unique(path, pairs))
        except json.JSONDecodeError as error:
            raise InvalidConfig(f"{path}:{error.lineno}: {error.msg}") from None
        except RecursionError:
            raise InvalidConfig(f"{path}: nested too deeply") from None
    raise InvalidConfig(f"{path}: the name must end in .yaml, .yml, .toml or .json")


def _unique(path: str, pairs: list[tuple[str, object]]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key, value in pairs:
        if key in values:
            raise InvalidConfig(f"{path}: {key} is given twice")
        values[key] = value
    return values


def _parse_yaml(path: str, text: str) -> Any:
    import yaml  # 1 MB and 25 ms that a sidecar without a YAML file is spared

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            seen = set()
            for key, _ in node.value:
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value} is given twice", problem_mark=key.start_mark)
                seen.add(key.value)
            mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=True)
            return mapping

    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InvalidConfig(f"{path}:{line}: {_one_line(error.problem or error.context or 'not YAML')}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidConfig(f"{path}: {_one_line(str(error)) or 'nested too deeply'}") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())
