from __future__ import annotations

import os
from pathlib import Path

import pytest

from mesh.model import Protocol
from mesh.sidecar import config_values as values
from mesh.sidecar.config_values import Address, Outbound, duration


@pytest.mark.parametrize(("raw", "seconds"), [("30s", 30.0), ("250ms", 0.25), ("5m", 300.0), ("1h", 3600.0),
                                              ("1.5s", 1.5), (2, 2.0), (0.5, 0.5), ("7", 7.0), (" 1s ", 1.0)])
def test_durations(raw: object, seconds: float) -> None:
    assert duration(raw) == seconds


@pytest.mark.parametrize("raw", ["", "s", "-1s", "1 s", "1d", "nan", "inf", "1e3", True, None, [], "١s"])
def test_no_durations(raw: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        duration(raw)


def test_addresses_are_written_so_that_they_can_be_read_again() -> None:
    for written in ("127.0.0.1:80", "[::1]:80", "web-1.local:65535"):
        assert str(values.address(written)) == written
    for written in ("cart=127.0.0.1:80", "cart=[::1]:0/tcp"):
        assert str(values.outbound(written)) == written


@pytest.mark.parametrize(("raw", "expected"), [
    ("80", Address("127.0.0.1", 80)), (80, Address("127.0.0.1", 80)), (" h:1 ", Address("h", 1)),
    ("fe80::1%eth0:1", None), ("[fe80::1%eth0]:1", Address("fe80::1%eth0", 1)),
])
def test_where_to_listen(raw: object, expected: Address | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match="ambiguous"):
            values.listen(raw)
    else:
        assert values.listen(raw) == expected


@pytest.mark.parametrize("raw", ["", ":", "h:", ":1", "h:-1", "h:+1", "h:0x1", "h:１", "[]:1", "h:1:2", "-h:1",
                                 True, 1.5, None])
def test_no_addresses(raw: object) -> None:
    with pytest.raises(ValueError, match=r"is not|is ambiguous|is needed|is neither"):
        values.listen(raw)


def test_an_advertised_host_may_go_without_a_port() -> None:
    assert values.advertise("10.0.0.7") == Address("10.0.0.7", 0)
    assert values.advertise("[::1]") == Address("::1", 0)
    assert values.advertise("10.0.0.7:9") == Address("10.0.0.7", 9)


def test_outbound() -> None:
    assert values.outbound("stock=15003/TCP") == Outbound("stock", Address("127.0.0.1", 15003), Protocol.TCP)
    with pytest.raises(ValueError, match=r"is not NAME=\[HOST:\]PORT"):
        values.outbound("15003")


@pytest.mark.parametrize(("raw", "count"), [("1", 1), (4, 4), (" 128 ", 128)])
def test_workers(raw: object, count: int) -> None:
    assert values.workers(raw) == count


@pytest.mark.parametrize("raw", ["0", "129", "-1", "many", "1.5", True, ""])
def test_what_is_no_number_of_workers(raw: object) -> None:
    with pytest.raises(ValueError, match=r"outside|not a whole number"):
        values.workers(raw)


@pytest.mark.parametrize("raw", ["-1", "1001", "0.5", "often", True, ""])
def test_what_is_no_time_to_spin(raw: object) -> None:
    with pytest.raises(ValueError, match=r"outside|not a whole number"):
        values.spin(raw)
    assert [values.spin(good) for good in ("0", 50, " 1000 ")] == [0, 50, 1000]


def test_auto_is_a_worker_per_usable_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5})
    assert values.usable_cores(str(tmp_path / "none")) == 4
    for text, cores in (("max 100000\n", 4), ("150000 100000\n", 2), ("50000 100000\n", 1), ("900000 100000\n", 4),
                        ("nonsense", 4)):
        (tmp_path / "cpu.max").write_text(text)
        assert values.usable_cores(str(tmp_path / "cpu.max")) == cores
    monkeypatch.setattr(values, "usable_cores", lambda: 500)
    assert values.workers("Auto") == 128


@pytest.mark.parametrize(("raw", "octets"), [("4MiB", 4_194_304), ("1GB", 10**9), (8_000_000, 8_000_000),
                                             ("1024GiB", 1 << 40)])
def test_sizes(raw: object, octets: int) -> None:
    assert values.size(raw) == octets


@pytest.mark.parametrize("raw", ["", "1", "3MiB", "1025GiB", "1.5GiB", "1 GiB", "-1GB", True, None, "1TB"])
def test_no_sizes(raw: object) -> None:
    with pytest.raises(ValueError, match=r"is not a size|is outside 4MiB\.\.1TiB"):
        values.size(raw)


@pytest.mark.parametrize(("raw", "value"), [("1", 1.0), ("0.05", 0.05), (0.5, 0.5), (1, 1.0)])
def test_ratios(raw: object, value: float) -> None:
    assert values.ratio(raw) == value


@pytest.mark.parametrize("raw", ["0", "1.01", "-1", "nan", "half", "", True, None])
def test_what_is_no_ratio(raw: object) -> None:
    with pytest.raises(ValueError, match="is no ratio above 0 and up to 1"):
        values.ratio(raw)


@pytest.mark.parametrize(("raw", "value"), [("true", True), ("False", False), (True, True), (False, False),
                                            (" TRUE ", True)])
def test_truth(raw: object, value: bool) -> None:
    assert values.truth(raw) is value


@pytest.mark.parametrize("raw", ["", "1", "yes", None, 0])
def test_what_is_neither_true_nor_false(raw: object) -> None:
    with pytest.raises(ValueError, match="is neither true nor false"):
        values.truth(raw)
