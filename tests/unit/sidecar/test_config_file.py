from __future__ import annotations

from pathlib import Path

import pytest

from mesh.errors import InvalidConfig
from mesh.sidecar.config_file import MAX_BYTES, read_file


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


@pytest.mark.parametrize(("name", "text"), [
    ("s.yaml", "a: 1\nb: {c: [x, 2.5]}\n"), ("s.YML", "a: 1\nb: {c: [x, 2.5]}\n"),
    ("s.toml", "a = 1\n[b]\nc = ['x', 2.5]\n"), ("s.json", '{"a": 1, "b": {"c": ["x", 2.5]}}'),
])
def test_plain_values(tmp_path: Path, name: str, text: str) -> None:
    assert read_file(write(tmp_path, name, text)).values == {"a": 1, "b": {"c": ["x", 2.5]}}


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null"])
def test_an_empty_file_holds_nothing(tmp_path: Path, text: str) -> None:
    assert read_file(write(tmp_path, "s.yaml", text)).values == {}


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("s.yaml", "weight: 1\nweight: 2\n", ":2: weight is given twice"),
    ("s.yaml", "outbound:\n  a: 1\n  a: 2\n", ":3: a is given twice"),
    ("s.yaml", "weight: [\n", ":2: did not find expected node content"),
    ("s.yaml", "- weight\n", ":1: a mapping of options is needed, got list"),
    ("s.yaml", "1: 2\n", ": 1 is not the name of an option"),
    ("s.yaml", "!!python/object:os.system {}\n", ":1: could not determine a constructor for the tag "
                                                 "'tag:yaml.org,2002:python/object:os.system'"),
    ("s.yaml", b"weight: 1\nzone: \xff\n", ":2: not UTF-8: byte 0xff"),
    ("s.toml", "weight = 1\nzone = \n", ":2: Invalid value"),
    ("s.toml", "zone = '", ":1: Expected"),
    ("s.json", '{"weight": 1,\n', ":2: Expecting property name enclosed in double quotes"),
    ("s.json", '{"weight": 1, "weight": 2}', ": weight is given twice"),
    ("s.json", "[" * 100_000, ": nested too deeply"),
    ("s.txt", "", ": the name must end in .yaml, .yml, .toml or .json"),
])
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, text: str | bytes, expected: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(InvalidConfig) as caught:
        read_file(path)
    assert str(caught.value).startswith(path + expected)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("path", "expected"), [
    ("/nonexistent/s.yaml", "/nonexistent/s.yaml: No such file or directory"), ("/", "/: Is a directory"),
    ("a\0b", "a\0b: embedded null byte"),
])
def test_what_cannot_be_opened(path: str, expected: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        read_file(path)
    assert str(caught.value) == expected


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "s.yaml", b" " * (MAX_BYTES + 1))
    with pytest.raises(InvalidConfig, match="larger than 1048576 bytes"):
        read_file(path)


def test_places(tmp_path: Path) -> None:
    file = read_file(write(tmp_path, "s.yaml", "# b: 0\na: 1 # c: 2\nb:\n  c: 3\n  'd': 4\ne: {c: 5}\n"))
    assert file.place("b") == f"{file.path}:3: b"
    assert file.place("b", "c") == f"{file.path}:4: b.c"
    assert file.place("b", "d") == f"{file.path}:5: b.d"
    assert file.place("e", "c") == f"{file.path}:6: e.c"
    assert file.place("e", "nowhere") == f"{file.path}:6: e.nowhere"
    toml = read_file(write(tmp_path, "s.toml", "a = 1\n[b]\nc = 3\n"))
    assert toml.place("b", "c") == f"{toml.path}:3: b.c"
