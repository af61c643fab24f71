from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.config import Config, parse_address, parse_age, parse_size
from mesh.errors import InvalidConfig


@pytest.mark.parametrize(("text", "expected"), [
    ("127.0.0.1:15010", ("127.0.0.1", 15010)), ("localhost:0", ("localhost", 0)), ("[::1]:80", ("::1", 80)),
    ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)), ("my-host.example:1", ("my-host.example", 1))])
def test_addresses(text, expected):
    assert parse_address(text, "--listen") == expected


@pytest.mark.parametrize("text", ["", "15010", ":15010", "host:", "host:x", "host:65536", "::1:80", "[::1]", "a b:1",
                                  "host:-1", "host:1:2", "host:1\n"])
def test_wrong_addresses_are_named_with_their_flag(text):
    with pytest.raises(InvalidConfig, match=r"^--listen: "):
        parse_address(text, "--listen")


@pytest.mark.parametrize(("text", "expected"), [
    ("256MiB", 256 << 20), ("1.5GiB", 3 << 29), ("2GB", 2 * 10**9), ("1048576", 1 << 20), ("10 kB", 10_000),
    ("7B", 7), ("1TiB", 1 << 40)])
def test_sizes(text, expected):
    assert parse_size(text, "--x") == expected


@pytest.mark.parametrize("text", ["", "MiB", "-1MiB", "1mib", "1 M", "1e3", "0x10", "1MiBs", "١MiB"])
def test_wrong_sizes(text):
    with pytest.raises(InvalidConfig, match=r"^--x: .* is not a size"):
        parse_size(text, "--x")


@pytest.mark.parametrize(("text", "expected"), [
    ("24h", 86_400.0), ("90m", 5400.0), ("1.5s", 1.5), ("7d", 604_800.0), ("60", 60.0), ("2500ms", 2.5)])
def test_ages(text, expected):
    assert parse_age(text, "--x") == expected


@pytest.mark.parametrize("text", ["", "h", "-1h", "1w", "1h30m", "nan", "inf", "1.5d"])
def test_wrong_ages(text):
    with pytest.raises(InvalidConfig, match="--x"):
        parse_age(text, "--x")


def test_bounds_and_defaults():
    assert Config().address == "127.0.0.1:15010"
    assert Config(host="::1", port=1).address == "[::1]:1"
    assert Config().data_dir == Path("mesh-data")
    with pytest.raises(InvalidConfig, match=r"--trace-max-size: .* less than 4MiB"):
        Config(trace_max_size=(4 << 20) - 1)
    with pytest.raises(InvalidConfig, match=r"--trace-max-age: .* outside"):
        Config(trace_max_age=0.5)
