from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.alarm_rules import Alarm, UnknownAlarmError, added, alarm_of, evaluate, gated

ALARM = Alarm(
    name="depth",
    namespace="AWS/SQS",
    metric="ApproximateNumberOfMessagesVisible",
    dimensions=(("QueueName", "tasks"),),
    statistic="Maximum",
    period_seconds=60,
    evaluation_periods=3,
    datapoints_to_alarm=3,
    threshold=5,
    comparison="GreaterThanOrEqualToThreshold",
)
DESCRIBED = {
    "AlarmName": "depth",
    "AlarmArn": "arn",
    "Namespace": "AWS/SQS",
    "MetricName": "ApproximateNumberOfMessagesVisible",
    "Dimensions": [{"Name": "QueueName", "Value": "tasks"}],
    "Statistic": "Maximum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
}
RETAINED = "retained"


def points(text: str) -> list[float | None]:
    return [{"0": 0.0, "X": 9.0, "-": None}[sign] for sign in text.split()]


# The two tables of
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
@pytest.mark.parametrize(
    ("to_alarm", "data", "expectations"),
    [
        (3, "0 - X - X", ("OK", "OK", "OK", "OK")),
        (3, "0 - - - -", ("OK", "OK", "OK", "OK")),
        (3, "- - - - -", ("INSUFFICIENT_DATA", RETAINED, "ALARM", "OK")),
        (3, "0 X X - X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (3, "- - X - -", ("ALARM", RETAINED, "ALARM", "OK")),
        (2, "0 - X - X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (2, "0 0 X 0 X", ("ALARM", "ALARM", "ALARM", "ALARM")),
        (2, "0 - X - -", ("OK", "OK", "ALARM", "OK")),
        (2, "- - - - 0", ("OK", "OK", "ALARM", "OK")),
        (2, "- - - X -", ("ALARM", RETAINED, "ALARM", "OK")),
        # from the text below the tables
        (3, "- - - - X", ("OK", RETAINED, "ALARM", "OK")),
        (3, "- - - X -", ("OK", RETAINED, "ALARM", "OK")),
        (3, "- - X - 0", ("OK", "OK", "OK", "OK")),
    ],
)
def test_missing_data_is_treated_as_the_documentation_tables_say(to_alarm, data, expectations):
    alarm = replace(ALARM, datapoints_to_alarm=to_alarm)
    treatments = ("missing", "ignore", "breaching", "notBreaching")
    for treatment, expected in zip(treatments, expectations, strict=True):
        for present in ("OK", "ALARM", "INSUFFICIENT_DATA"):
            verdict = evaluate(replace(alarm, treat_missing_data=treatment), points(data), present)
            assert verdict.state == (present if expected is RETAINED else expected), treatment


@pytest.mark.parametrize(
    ("comparison", "at_threshold", "above", "below"),
    [
        ("GreaterThanOrEqualToThreshold", "ALARM", "ALARM", "OK"),
        ("GreaterThanThreshold", "OK", "ALARM", "OK"),
        ("LessThanThreshold", "OK", "OK", "ALARM"),
        ("LessThanOrEqualToThreshold", "ALARM", "OK", "ALARM"),
    ],
)
def test_each_comparison_treats_the_threshold_itself_as_it_says(
    comparison, at_threshold, above, below
):
    alarm = replace(ALARM, comparison=comparison, evaluation_periods=1, datapoints_to_alarm=1)
    for value, expected in ((5.0, at_threshold), (6.0, above), (4.0, below)):
        assert evaluate(alarm, [None, None, value], "OK").state == expected


def test_the_reason_reads_as_cloudwatchs_own():
    verdict = evaluate(
        replace(ALARM, evaluation_periods=1, datapoints_to_alarm=1), [None, None, 12.0], "OK"
    )
    assert verdict.reason == (
        "Threshold Crossed: 1 out of the last 1 datapoints [12] was greater than or equal to "
        "the threshold (5) (minimum 1 datapoint for OK -> ALARM transition)."
    )
    assert verdict.short == "12 ≥ 5"


def test_filled_data_points_are_named_in_the_reason():
    alarm = replace(
        ALARM, evaluation_periods=1, datapoints_to_alarm=1, treat_missing_data="notBreaching"
    )
    verdict = evaluate(alarm, [None] * 3, "INSUFFICIENT_DATA")
    assert "and 1 missing datapoint treated as [NonBreaching]" in verdict.reason
    assert verdict.short == "missing not ≥ 5"


@given(
    data=st.lists(st.sampled_from([0.0, 9.0]), min_size=3, max_size=12),
    periods=st.integers(1, 3),
    to_alarm=st.integers(1, 3),
    treatment=st.sampled_from(["missing", "ignore", "breaching", "notBreaching"]),
    present=st.sampled_from(["OK", "ALARM", "INSUFFICIENT_DATA"]),
)
def test_without_missing_data_m_of_the_last_n_decide_and_nothing_else(
    data, periods, to_alarm, treatment, present
):
    alarm = replace(
        ALARM,
        evaluation_periods=periods,
        datapoints_to_alarm=min(to_alarm, periods),
        treat_missing_data=treatment,
    )
    breaching = data[-periods:].count(9.0)
    expected = "ALARM" if breaching >= alarm.datapoints_to_alarm else "OK"
    assert evaluate(alarm, data, present).state == expected


def test_datapoints_to_alarm_are_the_evaluation_periods_unless_said():
    assert alarm_of(DESCRIBED).datapoints_to_alarm == 3
    assert alarm_of(DESCRIBED | {"DatapointsToAlarm": 2}).datapoints_to_alarm == 2
    assert alarm_of(DESCRIBED).treat_missing_data == "missing"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"Metrics": [{"Id": "e", "Expression": "a+b"}]}, "metric math"),
        ({"Statistic": None, "ExtendedStatistic": "p99"}, "None"),
        ({"ComparisonOperator": "GreaterThanUpperThreshold"}, "GreaterThanUpperThreshold"),
        ({"Period": 10}, "10 s"),
    ],
)
def test_an_alarm_that_is_not_evaluated_here_is_refused_by_name(change, named):
    with pytest.raises(UnknownAlarmError, match=f"alarm depth.*{named}"):
        alarm_of(DESCRIBED | change)


def stat(metric):
    dimensions = [{"Name": "QueueName", "Value": "tasks"}]
    return {
        "Metric": {"Namespace": "AWS/SQS", "MetricName": metric, "Dimensions": dimensions},
        "Period": 60,
        "Stat": "Maximum",
    }


def test_a_value_that_counts_only_while_another_is_above_zero_is_the_one_known_math():
    alarm = alarm_of(
        DESCRIBED
        | {
            "Statistic": None,
            "Metrics": [
                {"Id": "e", "Expression": "IF(open > 0, age, 0)"},
                {"Id": "open", "MetricStat": stat("Visible")},
                {"Id": "age", "MetricStat": stat("Age")},
            ],
        }
    )
    assert (alarm.metric, alarm.gate_metric, alarm.statistic) == ("Age", "Visible", "Maximum")


def test_a_gated_value_is_zero_while_the_gate_is_shut_and_missing_where_either_is():
    assert gated([7, 7, None, 7], [1, 0, 1, None]) == [7, 0, None, None]


def test_a_sum_is_of_what_is_there():
    assert added([1.0, None, None], [2.0, 3.0, None]) == [3.0, 3.0, None]
    assert added([1.0, None]) == [1.0, None]


def test_the_sum_of_one_metric_over_several_dimensions_is_read():
    def stat(rule):
        metric = {
            "Namespace": "AWS/Events",
            "MetricName": "FailedInvocations",
            "Dimensions": [{"Name": "RuleName", "Value": rule}],
        }
        return {"Metric": metric, "Stat": "Sum", "Period": 300}

    metrics = [
        {"Id": "e", "Expression": "SUM([a, b])"},
        {"Id": "a", "MetricStat": stat("one")},
        {"Id": "b", "MetricStat": stat("two")},
    ]
    alarm = alarm_of({**DESCRIBED, "Metrics": metrics})
    assert (alarm.metric, alarm.period_seconds) == ("FailedInvocations", 300)
    assert alarm.dimensions == (("RuleName", "one"),)
    assert alarm.added_dimensions == ((("RuleName", "two"),),)
    metrics[2]["MetricStat"]["Metric"]["MetricName"] = "Invocations"
    with pytest.raises(UnknownAlarmError, match="metric math"):
        alarm_of({**DESCRIBED, "Metrics": metrics})
