from __future__ import annotations

from dataclasses import replace

from controlplane.status.sidecars import KEEP, SidecarReport, Sidecars


class Stream:
    def __init__(self, id_: str) -> None:
        self.id = id_

    def report(self, told_revision: int) -> SidecarReport:
        return SidecarReport(self.id, "b", True, 1.0, None, told_revision, told_revision, (), ())


def test_connected_sidecars_are_listed_by_id_as_they_are_now():
    sidecars = Sidecars()
    for id_ in ("web/1", "cart/0"):
        sidecars.connected(id_, Stream(id_))
    assert [(report.id, report.acked_revision) for report in sidecars.list(7, 0.0)] == [("cart/0", 7), ("web/1", 7)]


def test_a_sidecar_that_left_stays_as_it_was_for_an_hour():
    sidecars, stream = Sidecars(), Stream("web/1")
    sidecars.connected("web/1", stream)
    sidecars.disconnected("web/1", stream, 7, 100.0)
    assert sidecars.list(9, 100.0 + KEEP) == [replace(stream.report(7), connected=False)]
    assert sidecars.list(9, 101.0 + KEEP) == []


def test_the_end_of_an_old_stream_does_not_take_the_newer_one_off():
    sidecars, old, new = Sidecars(), Stream("web/1"), Stream("web/1")
    sidecars.connected("web/1", old)
    sidecars.connected("web/1", new)
    sidecars.disconnected("web/1", old, 7, 100.0)
    assert [report.connected for report in sidecars.list(9, 100.0)] == [True]


def test_a_sidecar_that_comes_back_is_one_row():
    sidecars = Sidecars()
    for _ in range(2):
        stream = Stream("web/1")
        sidecars.connected("web/1", stream)
        sidecars.disconnected("web/1", stream, 7, 100.0)
    sidecars.connected("web/1", Stream("web/1"))
    assert [report.connected for report in sidecars.list(9, 100.0)] == [True]


def test_the_number_of_those_that_left_is_bounded(monkeypatch):
    monkeypatch.setattr("controlplane.status.sidecars.MAX_GONE", 2)
    sidecars = Sidecars()
    for number in range(4):
        stream = Stream(f"web/{number}")
        sidecars.connected(stream.id, stream)
        sidecars.disconnected(stream.id, stream, 7, float(number))
    assert [report.id for report in sidecars.list(9, 4.0)] == ["web/2", "web/3"]
