from random import Random
from statistics import fmean

import pytest

from simulate import loads


def written(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text, "utf-8")
    return path


def test_a_trace_is_read_in_any_order_and_begins_at_zero(tmp_path):
    path = written(tmp_path, "task_seconds,time,what\n5,130,a\n60,100.5,b\n\n")
    load = loads.trace(path)
    assert load.arrivals == [0, 29.5]
    assert load.task_seconds == [60, 5]
    assert load.name == "trace"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "line 1: the header is ''"),
        ("time,seconds\n1,2\n", "lacks task_seconds"),
        ("time,task_seconds\n", "has a header and no rows"),
        ("time,task_seconds\n1,2\n3\n", "line 3: task_seconds is ''"),
        ("time,task_seconds\n1,2\nnoon,3\n", "line 3: time is 'noon'"),
        ("time,task_seconds\n1,-2\n", "line 2: task_seconds is '-2': it must be a number of"),
        ("time,task_seconds\n1,nan\n", "line 2: task_seconds is 'nan'"),
        ("time,task_seconds\ninf,1\n", "line 2: time is 'inf'"),
    ],
)
def test_a_trace_that_is_none_is_refused_with_line_value_rule_and_remedy(tmp_path, text, told):
    with pytest.raises(loads.TraceError) as refused:
        loads.trace(written(tmp_path, text))
    assert told in str(refused.value)
    assert str(tmp_path) in str(refused.value)
    assert ";" in str(refused.value)


def test_a_trace_that_is_not_there_is_told(tmp_path):
    with pytest.raises(loads.TraceError, match="No such file"):
        loads.trace(tmp_path / "none.csv")


def test_a_trace_that_is_not_text_is_told(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"time,task_seconds\n\xff\xfe,1\n")
    with pytest.raises(loads.TraceError, match="UTF-8"):
        loads.trace(path)


def test_durations_keep_their_mean_whatever_the_spread():
    for spread in (0, 0.5, 1.5):
        draw = loads.durations(100, spread, Random(1))
        assert fmean(draw() for _ in range(50_000)) == pytest.approx(100, rel=0.1)


def test_poisson_comes_at_its_rate():
    load = loads.poisson(600, 10, loads.durations(1), rng=Random(1))
    assert len(load.arrivals) == pytest.approx(6000, rel=0.05)
    assert load.arrivals == sorted(load.arrivals)
    assert load.arrivals[-1] < 36_000


def test_the_tide_is_out_at_midnight_and_high_at_noon():
    load = loads.tide(600, 24, loads.durations(1), rng=Random(1))
    night = sum(time < 7200 or time > 79_200 for time in load.arrivals)
    noon = sum(36_000 < time < 50_400 for time in load.arrivals)
    assert noon > 10 * night


def test_bursts_come_at_once_upon_a_trickle():
    load = loads.bursts(6, 300, every_hours=3, hours=12, draw=loads.durations(1), rng=Random(1))
    assert [load.arrivals.count(3600 * hour) for hour in (1.5, 4.5, 7.5, 10.5)] == [300] * 4
    assert len(load.arrivals) > 1200


def test_one_comes_each_so_many_seconds():
    assert loads.spread_evenly(240, 0.25, loads.durations(1)).arrivals == [0, 240, 480]


def test_several_kinds_of_tasks_come_in_their_shares():
    draw = loads.mixed({2: 90, 1200: 10}, Random(1))
    drawn = [draw() for _ in range(10_000)]
    assert drawn.count(1200) == pytest.approx(1000, rel=0.1)
    assert drawn.count(2) == 10_000 - drawn.count(1200)


def test_no_rate_brings_no_messages():
    assert loads.poisson(0, 10, loads.durations(1), rng=Random(1)).arrivals == []


def test_arrivals_that_are_not_in_order_are_refused():
    with pytest.raises(ValueError, match="not ascending"):
        loads.Load("x", [2, 1], [1, 1])
    with pytest.raises(ValueError, match="needs both"):
        loads.Load("x", [1], [])
