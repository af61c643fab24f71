"""The pure parts of the benchmark: statistics, goals, tables, what other programs' output says."""

from __future__ import annotations

import dataclasses
import math
import random
from pathlib import Path
from typing import Any

import document
import external
import figures
import histogram
import profile_sidecar
import pytest
import report
import run
from cases import CASES, GROUPS, Case, Goal

VERSIONS = {"mesh": "this tree", "envoy": "1.40.0", "haproxy": "2.6.12", "haproxy pypi": "2.8.25", "nginx": "1.22.1"}
CASE = Case("tcp-32", "tcp", "TCP", "tcp", 32, ("mesh", "nginx"), "tcp",
            goals=(Goal("mesh", ratio=0.9, theirs=("nginx",)),))


def samples(**rows: list[float]) -> figures.Samples:
    return {name: [{"cpu_us": value} for value in found] for name, found in rows.items()}


@pytest.mark.parametrize("us", [0, 1, 2047, 2048, 2049, 4095, 4096, 10_000, 123_456, 2**31 - 1])
def test_a_latency_is_counted_within_a_thousandth(us: int) -> None:
    low = histogram.value_of(histogram.bucket_of(us))
    assert low <= us <= low * 1.001 + 1
    assert histogram.bucket_of(low) == histogram.bucket_of(us)


def test_buckets_are_in_order_and_each_begins_where_it_says() -> None:
    lows = [histogram.value_of(bucket) for bucket in range(histogram.BUCKETS - 1024)]
    assert lows == sorted(set(lows))
    assert all(histogram.bucket_of(low) == bucket for bucket, low in enumerate(lows))


def test_what_is_out_of_range_goes_to_the_ends() -> None:
    assert histogram.bucket_of(-5) == 0
    assert histogram.bucket_of(2**40) < histogram.BUCKETS


def test_quantiles_are_those_of_the_sorted_list() -> None:
    rng = random.Random(7)
    counted, values = histogram.Histogram(), [int(rng.expovariate(1 / 3000)) for _ in range(5000)]
    for value in values:
        counted.add(value)
    values.sort()
    for ratio in (0.5, 0.99, 0.999):
        exact = values[math.ceil(ratio * len(values)) - 1]
        assert counted.quantile(ratio) == pytest.approx(exact, rel=0.001, abs=1)
    counted.clear()
    assert (counted.total(), counted.quantile(0.5)) == (0, 0)


def test_cpu_per_request_and_per_gib() -> None:
    request = figures.derive({"done": 2000, "seconds": 0.5, "cpu_ns": 10_000_000}, "tcp")
    assert (request["cpu_us"], request["per_s"], request["busy_pct"]) == (5.0, 4000.0, 2.0)
    bulk = figures.derive({"done": 2 << 30, "seconds": 2.0, "cpu_ns": 1_000_000_000}, "bulk")
    assert (bulk["cpu_ms"], bulk["gib_s"]) == (500.0, 1.0)
    assert math.isnan(figures.derive({"done": 0, "seconds": 1.0, "cpu_ns": 5}, "grpc")["cpu_us"])
    assert figures.derive({"problem": "gone"}, "grpc") == {"problem": "gone"}


def test_the_middle_leaves_out_what_was_not_measured() -> None:
    rounds = [{"cpu_us": 9.0}, {"problem": "gone"}, {"cpu_us": 5.0}, {"cpu_us": 7.0}, {"cpu_us": math.nan}]
    assert figures.middle(rounds, "cpu_us") == 7.0
    assert figures.spread(rounds, "cpu_us") == (5.0, 9.0)
    assert math.isnan(figures.middle([{"problem": "gone"}], "cpu_us"))


def test_a_goal_is_judged_by_the_best_rival() -> None:
    goal = Goal("mesh", ratio=0.9, theirs=("haproxy", "nginx", "envoy"))
    verdict = figures.judge(goal, samples(mesh=[8.0, 7.0, 9.0], haproxy=[12.0], nginx=[10.0]))
    assert verdict is not None
    assert (verdict.value, verdict.bound, verdict.rival, verdict.met) == (8.0, 9.0, "nginx", True)
    missed = figures.judge(goal, samples(mesh=[9.9], nginx=[10.0]))
    assert missed is not None
    assert not missed.met
    assert missed.off == pytest.approx(1.1)
    assert figures.verdict_text(missed, VERSIONS) == "9.90 against 10.0 (nginx 1.22), ratio 0.99: missed by 10 %"


def test_more_is_better_where_the_goal_says_so() -> None:
    goal = Goal("mesh", "gib_s", 1.4, ("envoy", "nginx"), more=True)
    rows = {"mesh": [{"gib_s": 2.1}], "envoy": [{"gib_s": 1.5}], "nginx": [{"gib_s": 1.0}]}
    verdict = figures.judge(goal, rows)
    assert verdict is not None
    assert (verdict.rival, verdict.met, verdict.off) == ("envoy", True, pytest.approx(1.0))
    assert figures.goal_text(goal, VERSIONS) == "GiB/s ≥ 1.4 × the best of Envoy 1.40, nginx 1.22"


def test_a_limit_needs_no_rival() -> None:
    goal = Goal("mesh", "rss_mb", limit=45)
    verdict = figures.judge(goal, {"mesh": [{"rss_mb": 54.0}]})
    assert verdict is not None
    assert figures.verdict_text(verdict, VERSIONS) == "54.0 MB: missed by 20 %"
    assert figures.goal_text(goal, VERSIONS) == "≤ 45 MB"


def test_what_a_proxy_adds_is_above_the_direct_way() -> None:
    rows = {"direct": [{"p50_us": 40}], "mesh": [{"p50_us": 140}], "nginx": [{"p50_us": 160}]}
    verdict = figures.judge(Goal("mesh", "added_p50_us", 1.0, ("nginx",)), rows)
    assert verdict is not None
    assert (verdict.value, verdict.bound, verdict.met) == (100, 120, True)


def test_a_goal_without_figures_is_not_reached() -> None:
    goal = CASE.goals[0]
    assert figures.judge(goal, {}) is None
    assert figures.judge(goal, samples(mesh=[1.0])) is None
    verdict = figures.judge(goal, {"mesh": [{"problem": "no HTTP/1.1"}], **samples(nginx=[1.0])})
    assert verdict is not None
    assert not verdict.met
    assert figures.verdict_text(verdict, VERSIONS) == "not measured: no HTTP/1.1"


@pytest.mark.parametrize(("name", "shown"), [
    ("mesh, tracing 1", "mesh, tracing 1"), ("haproxy pypi", "HAProxy 2.8"), ("envoy pair", "Envoy 1.40 pair"),
    ("mesh http1 pair", "mesh pair"), ("direct", "direct"), ("nghttpx", "nghttpx")])
def test_rows_are_called_by_name_and_version(name: str, shown: str) -> None:
    assert figures.label(name, VERSIONS) == shown


def test_the_terminal_shows_medians_failures_and_problems() -> None:
    rows = samples(mesh=[8.0, 10.0, 9.0])
    rows["mesh"][0].update(failed=2, errors={"RST_STREAM 2": 2})
    rows["nginx"] = [{"problem": "ended at once"}]
    text = "\n".join(report.case_lines(CASE, rows, VERSIONS))
    assert "9.00       8.00–10.0" in text
    assert "2 RST_STREAM 2" in text
    assert "nginx 1.22                ended at once" in text


def data_of(results: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "a cpu", "cores": 2, "kernel": "6", "python": "3", "load_average": 0.5, "date": "today"}
    return {"machine": machine, "versions": VERSIONS, "rounds": 3, "seconds": 1.0, "left_out": [], "cases": results}


def test_the_page_has_every_group_and_goal() -> None:
    rows = samples(mesh=[9.0], nginx=[8.0])
    page = document.page(data_of({"tcp-32": rows, "http1-32": {"mesh": [{"problem": "no HTTP/1.1"}]}}))
    assert "{{" not in page
    assert "a cpu, 2 cores" in page
    assert "9.00 against 8.00 (nginx 1.22), ratio 1.12: missed by 25 %" in page
    assert "- mesh: no HTTP/1.1 (`http1-32`)" in page
    goals = sum(len(case.goals) for case in CASES)
    (table,) = [part for part in page.split("## ") if part.startswith("Goals")]
    assert table.count("\n| ") == goals + 1
    assert document.tables(data_of({"tcp-32": rows})).count("**TCP**") == 1


def test_cases_are_told_apart_and_belong_to_a_group() -> None:
    assert len({case.key for case in CASES}) == len(CASES)
    assert {case.group for case in CASES} == set(GROUPS)
    for case in CASES:
        for goal in case.goals:
            assert {goal.ours, *goal.theirs} <= set(case.proxies), case.key
            assert bool(goal.theirs) == bool(goal.ratio), case.key


def test_arguments_choose_cases() -> None:
    assert {case.key for case in run.choose(run.parse(["--case", "bulk"]))} == {"bulk-1", "bulk-4"}
    quick = run.choose(run.parse(["--quick"]))
    everything = {dataclasses.replace(case, conns=0) for case in CASES}
    assert {dataclasses.replace(case, conns=0) for case in quick} < everything
    assert max(case.conns for case in quick) == run.QUICK_IDLE


@pytest.mark.parametrize("argv", [["--case", "nope"], ["--proxy", "nope"], ["--rounds", "0"], ["--docs", "--quick"]])
def test_wrong_arguments_are_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.parse(argv)
    assert argv[0] in capsys.readouterr().err


def test_of_several_files_the_later_cases_win(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    first.write_text('{"versions": {"mesh": "1"}, "cases": {"x": 1, "y": 1}}')
    second.write_text('{"versions": {"nginx": "2"}, "cases": {"y": 2}}')
    merged = run.merge([first, second])
    assert (merged["cases"], merged["versions"]) == ({"x": 1, "y": 2}, {"mesh": "1", "nginx": "2"})
    second.write_text("{}")
    with pytest.raises(SystemExit, match=r"b\.json"):
        run.merge([first, second])


def test_h2load_is_understood() -> None:
    text = ("finished in 912.34ms, 10960.90 req/s, 1.61MB/s\n"
            "requests: 10000 total, 10000 started, 10000 done, 9990 succeeded, 10 failed, 4 errored, 1 timeout\n"
            "status codes: 9990 2xx, 0 3xx, 0 4xx, 6 5xx\n")
    found = external.parse_h2load(text)
    assert (found["done"], found["failed"]) == (9990, 11)
    assert found["seconds"] == pytest.approx(0.91234)
    with pytest.raises(external.Unusable):
        external.parse_h2load("no idea")


def test_wrk_is_understood() -> None:
    text = ("  Latency Distribution\n     50%  410.00us\n     75%    0.6ms\n     99%    1.20ms\n"
            "  76543 requests in 1.10s, 12.34MB read\n"
            "  Socket errors: connect 0, read 3, write 0, timeout 1\n  Non-2xx or 3xx responses: 43\n")
    found = external.parse_wrk(text)
    assert (found["done"], found["failed"], found["p50_us"], found["p99_us"]) == (76_500, 47, 410.0, 1200.0)
    assert found["seconds"] == pytest.approx(1.1)


@pytest.mark.parametrize(("name", "shown"), [
    ("???:__pyx_f_4mesh_4wire_5hpack_7Decoder_decode [/x/hpack.so]", "mesh.wire.hpack.Decoder.decode"),
    ("/build/Python/ceval.c:_PyEval_EvalFrameDefault [/usr/lib/libpython3.11.so]", "ceval.c:_PyEval_EvalFrameDefault"),
    ("./nptl/pthread_mutex_lock.c:pthread_mutex_lock@@GLIBC_2.2.5 [/lib/libc.so.6]",
     "pthread_mutex_lock.c:pthread_mutex_lock@@GLIBC_2.2.5")])
def test_compiled_functions_get_their_names_back(name: str, shown: str) -> None:
    assert profile_sidecar.readable(name) == shown


def test_profiles_are_compared_by_function() -> None:
    text = ("1,000,000 (100.0%)  PROGRAM TOTALS\n\n600,000 (60.0%)  ???:__pyx_f_4mesh_1a_go [/x.so]\n"
            "200,000 (20.0%)  ???:__pyx_f_4mesh_1a_go'2 [/x.so]\n100,000 (10.0%)  ???:malloc [/libc.so]\n")
    total, functions = profile_sidecar.parse_annotated(text, 1000)
    assert (total, functions) == (1000.0, {"mesh.a.go": 800.0, "malloc": 100.0})
    assert profile_sidecar.changes({"malloc": 90.0, "free": 50.0}, functions, 20.0) == [(800.0, "mesh.a.go"),
                                                                                       (-50.0, "free")]
