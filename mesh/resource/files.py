"""Files of resources: YAML, JSON or TOML in, values out; every complaint names the place.

What lives here: reading and parsing, and from which line a field came. What this must not know: what the fields mean
(that is `documents`, where the two forms of a document are described).

YAML may hold several documents; anchors and aliases work, merge keys (`<<`) don't. A key given twice is refused in all
three. Errors are InvalidConfig for a file that can't be read or parsed, InvalidResource for what is in it:
`shop.yaml:12: services[0].retry.max_attempts: 99 is outside 1..10` (JSON and TOML without the line).
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from mesh.errors import InvalidConfig, InvalidResource
from mesh.model.values import Endpoint
from mesh.resource.documents import Resource, from_document

# A gRPC message may have 4 MiB, so more could not be applied anyway.
MAX_BYTES = 4 * 1024 * 1024
# What aliases may blow a YAML file up to ("billion laughs"): more than 4 MiB can hold without them.
MAX_NODES = 2_000_000
MAX_DEPTH = 64

Lines = dict[str, int]
# Where the source of a policy of one's own stands in a Service: a file beside the document is put in its place.
_CUSTOM = ("balance", "custom")


def load_documents(path: str | os.PathLike[str]) -> list[Resource]:
    """Return the resources of a file, in order. The suffix decides: .json, .toml, anything else is YAML."""
    name = os.fspath(path)
    return parse_documents(_read(path), name, os.path.dirname(name) or os.curdir)


def load_plain(path: str | os.PathLike[str]) -> list[tuple[object, Callable[[str], str]]]:
    """Return the documents of a file as plain values, whatever they describe, each with what tells where in the file a
    path of it stands."""
    return list(_plain(_read(path), os.fspath(path)))


def parse_documents(data: bytes, name: str, directory: str | None = None) -> list[Resource]:
    """Return the resources of a file's content; `name` stands in messages, and its suffix says what it is.

    `directory`: where files that it names are looked for; None: it may name none.
    """
    resources: list[Resource] = []
    places: dict[str, str] = {}
    for document, place_of in _plain(data, name):
        try:
            if directory is not None:
                _embed(document, directory)
            for path, resource in from_document(document):
                key = _key(resource)
                if key in places:
                    raise InvalidResource(path, f"{key} is there already, at {places[key]}")
                places[key] = place_of(path)
                resources.append(resource)
        except InvalidResource as error:
            raise InvalidResource(place_of(error.field), error.problem) from None
        except RecursionError:
            raise InvalidConfig(f"{name}: nested too deeply") from None
    if not resources:
        raise InvalidResource(name, "holds no resource")
    return resources


def _read(path: str | os.PathLike[str]) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidConfig(f"{os.fspath(path)}: {error.strerror or error}") from None


def _plain(data: bytes, name: str) -> Iterator[tuple[object, Callable[[str], str]]]:
    if len(data) > MAX_BYTES:
        raise InvalidConfig(f"{name}: larger than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{name}: not UTF-8 at byte {error.start}") from None
    suffix = os.path.splitext(name)[1].lower()
    parse = {".json": _parse_json, ".toml": _parse_toml}.get(suffix, _parse_yaml)
    try:
        for document, lines in parse(text, name):
            yield document, functools.partial(_place, name, lines)
    except RecursionError:
        raise InvalidConfig(f"{name}: nested too deeply") from None


def _embed(document: object, directory: str) -> None:
    """Put sources in the place of the files that hold them: `balance.custom.file` of each Service."""
    if not isinstance(document, dict):
        return
    services = document.get("services")
    for index, service in enumerate(services if isinstance(services, list) else []):
        _embed_in(service, f"services[{index}].", directory)
    if document.get("kind") == "Service":
        _embed_in(document, "", directory)


def _embed_in(service: object, prefix: str, directory: str) -> None:
    custom = service
    for key in _CUSTOM:
        custom = custom.get(key) if isinstance(custom, dict) else None
    if not isinstance(custom, dict) or custom.get("file") is None:
        return
    path = f"{prefix}{'.'.join(_CUSTOM)}.file"
    file = custom["file"]
    if not isinstance(file, str) or not file or "\0" in file:
        raise InvalidResource(path, "expected the name of a file")
    if custom.get("source") is not None:
        raise InvalidResource(path, "source is given as well: one or the other")
    try:
        with open(os.path.join(directory, file), "rb") as opened:
            data = opened.read(MAX_BYTES + 1)
        text = data.decode()
    except OSError as error:
        raise InvalidResource(path, f"{file}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InvalidResource(path, f"{file}: not UTF-8 at byte {error.start}") from None
    del custom["file"]
    custom["source"] = text


def _key(resource: Resource) -> str:
    return f"endpoint/{resource.resource}" if isinstance(resource, Endpoint) else f"service/{resource.name}"


def _place(name: str, lines: Lines, path: str) -> str:
    """`shop.yaml:12: services[0].name`; a path that stands nowhere (a missing field) has the line of its parent."""
    at = path
    while at and at not in lines:
        at = at[:max(at.rfind("."), at.rfind("["), 0)]
    line = lines.get(at)
    where = name if line is None else f"{name}:{line}"
    return f"{where}: {path}" if path else where


def _parse_json(text: str, name: str) -> Iterator[tuple[object, Lines]]:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in pairs:
            if key in found:
                raise InvalidConfig(f"{name}: the key {key!r} is given twice in one object")
            found[key] = value
        return found

    try:
        document = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise InvalidConfig(f"{name}:{error.lineno}: not JSON: {error.msg}") from None
    except InvalidConfig:
        raise
    except ValueError as error:  # a number of too many digits
        raise InvalidConfig(f"{name}: not JSON: {error}") from None
    yield document, {}


def _parse_toml(text: str, name: str) -> Iterator[tuple[object, Lines]]:
    import tomllib

    try:
        document = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError has the line in its text
        raise InvalidConfig(f"{name}: not TOML: {error}") from None
    yield document, {}


def _parse_yaml(text: str, name: str) -> Iterator[tuple[object, Lines]]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_depth(yaml.parse(text, Loader=loader), name)
        for root in yaml.compose_all(text, Loader=loader):
            lines: Lines = {}
            document = _Reader(name, lines).read(root, "")
            if document is not None:
                yield document, lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise InvalidConfig(f"{where}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidConfig(f"{name}: not YAML: {' '.join(str(error).split())}") from None


def _refuse_depth(events: Any, name: str) -> None:
    """Refuse what is nested deeper than MAX_DEPTH: libyaml's composer recurses in C and would overrun the stack."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            depth += 1
            if depth > MAX_DEPTH:
                raise InvalidConfig(f"{name}:{event.start_mark.line + 1}: nested deeper than {MAX_DEPTH} levels")
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            depth -= 1


class _Reader:
    """Turns a tree of YAML nodes into plain values and notes the line of each."""

    def __init__(self, name: str, lines: Lines) -> None:
        import yaml

        self.yaml = yaml
        self.name = name
        self.lines = lines
        self.scalars = yaml.constructor.SafeConstructor()
        self.nodes = 0

    def read(self, node: Any, path: str) -> object:
        self.nodes += 1
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if self.nodes > MAX_NODES:
            raise InvalidConfig(f"{self.name}:{line}: aliases make this larger than {MAX_NODES:,} nodes")
        if isinstance(node, self.yaml.MappingNode):
            found: dict[object, object] = {}
            for key_node, value_node in node.value:
                key = self.scalar(key_node)
                line = key_node.start_mark.line + 1
                if key in found:
                    raise InvalidConfig(f"{self.name}:{line}: the key {key!r} is given twice in one mapping")
                below = f"{path}.{key}" if path else str(key)
                self.lines[below] = line
                self.lines[f"{path}[{key!r}]"] = line
                found[key] = self.read(value_node, below)
            return found
        if isinstance(node, self.yaml.SequenceNode):
            return [self.read(entry, f"{path}[{index}]") for index, entry in enumerate(node.value)]
        return self.scalar(node)

    def scalar(self, node: Any) -> Any:
        line = node.start_mark.line + 1
        if not isinstance(node, self.yaml.ScalarNode):
            raise InvalidConfig(f"{self.name}:{line}: a key must be a plain word")
        try:
            value = self.scalars.construct_object(node)
            if isinstance(value, int) and value.bit_length() > 64:
                raise OverflowError
        except (ValueError, OverflowError):  # 2024-99-99 looks like a date
            shown = repr(node.value[:40])
            raise InvalidConfig(f"{self.name}:{line}: {shown} can't be read; put it in quotes") from None
        return value
