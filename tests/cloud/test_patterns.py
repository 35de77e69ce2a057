from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.cloud.patterns import BadPatternError, matches

EVENT = {
    "source": "aws.cloudwatch",
    "detail-type": "CloudWatch Alarm State Change",
    "resources": ["arn:a", "arn:b"],
    "detail": {
        "alarmName": "pi-depth-high-1a2b3c4",
        "state": {"value": "ALARM"},
        "count": 5,
        "flag": True,
        "empty": None,
        "items": [{"name": "x", "size": 1}, {"name": "y", "size": 2}],
    },
}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({"source": ["aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2", "aws.cloudwatch"]}, True),
        ({"source": ["aws.ec2"]}, False),
        ({"detail": {"state": {"value": ["ALARM"]}}}, True),
        ({"detail": {"state": {"value": ["OK"]}}}, False),
        ({"source": ["aws.cloudwatch"], "detail": {"state": {"value": ["OK"]}}}, False),
        ({"resources": ["arn:b"]}, True),
        ({"resources": ["arn:c"]}, False),
        ({"detail": {"empty": [None]}}, True),
        ({"detail": {"flag": [True]}}, True),
        ({"detail": {"flag": [1]}}, False),
        ({"detail": {"missing": ["x"]}}, False),
        ({"detail": {"missing": {"deeper": ["x"]}}}, False),
        ({"detail": {"alarmName": [{"prefix": "pi-"}]}}, True),
        ({"detail": {"alarmName": [{"prefix": "csv-"}]}}, False),
        ({"detail": {"alarmName": [{"prefix": {"equals-ignore-case": "PI-"}}]}}, True),
        ({"detail": {"alarmName": [{"suffix": "1a2b3c4"}]}}, True),
        ({"detail": {"alarmName": [{"suffix": {"equals-ignore-case": "1A2B3C4"}}]}}, True),
        ({"detail": {"alarmName": [{"equals-ignore-case": "PI-depth-HIGH-1a2b3c4"}]}}, True),
        ({"detail": {"alarmName": [{"wildcard": "pi-*-high-*"}]}}, True),
        ({"detail": {"alarmName": [{"wildcard": "pi-*-low-*"}]}}, False),
        ({"detail": {"alarmName": [{"wildcard": "pi-\\*-high-*"}]}}, False),
        ({"detail": {"alarmName": [{"anything-but": "other"}]}}, True),
        ({"detail": {"alarmName": [{"anything-but": ["pi-depth-high-1a2b3c4"]}]}}, False),
        ({"detail": {"alarmName": [{"anything-but": {"prefix": "pi-"}}]}}, False),
        ({"detail": {"alarmName": [{"anything-but": {"suffix": "-x"}}]}}, True),
        ({"detail": {"alarmName": [{"anything-but": {"wildcard": "pi*"}}]}}, False),
        ({"detail": {"missing": [{"anything-but": "x"}]}}, False),
        ({"detail": {"alarmName": [{"exists": True}]}}, True),
        ({"detail": {"alarmName": [{"exists": False}]}}, False),
        ({"detail": {"missing": [{"exists": False}]}}, True),
        ({"detail": {"empty": [{"exists": True}]}}, True),
        ({"detail": {"count": [{"numeric": ["=", 5]}]}}, True),
        ({"detail": {"count": [{"numeric": [">", 0, "<=", 5]}]}}, True),
        ({"detail": {"count": [{"numeric": [">", 5]}]}}, False),
        ({"detail": {"flag": [{"numeric": ["=", 1]}]}}, False),
        ({"detail": {"items": {"name": ["y"]}}}, True),
        ({"detail": {"items": {"name": ["y"], "size": [1]}}}, False),
        ({"$or": [{"source": ["aws.ec2"]}, {"detail": {"count": [5]}}]}, True),
        ({"$or": [{"source": ["aws.ec2"]}, {"detail": {"count": [6]}}]}, False),
        ({"detail": {"$or": [{"count": [6]}, {"flag": [True]}]}}, True),
    ],
)
def test_an_event_matches_as_eventbridge_documents(pattern, expected):
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ({"source": [{"begins-with": "aws"}]}, "begins-with"),
        ({"source": [{"anything-but": {"begins-with": "aws"}}]}, "begins-with"),
        ({"other": [{"begins-with": "aws"}]}, "begins-with"),
        ({"$or": [{"source": [{"cidr": "10.0.0.0/8"}]}]}, "cidr"),
        ({"source": "aws.ec2"}, "an object or an array"),
        ({"source": []}, "an object or an array"),
        ({"source": [{"prefix": "a", "suffix": "b"}]}, "exactly one operator"),
        ({"detail": {"count": [{"numeric": ["!", 5]}]}}, "numeric"),
        ({"source": [{"exists": "yes"}]}, "exists"),
        ({"$or": "x"}, r"\$or"),
    ],
)
def test_a_pattern_that_eventbridge_would_refuse_is_an_error_that_names_it(pattern, named):
    with pytest.raises(BadPatternError, match=named):
        matches(pattern, EVENT)


leaves = st.one_of(st.text(max_size=5), st.integers(-9, 9), st.booleans(), st.none())
events = st.recursive(
    st.dictionaries(st.text(min_size=1, max_size=3).filter(lambda k: k != "$or"), leaves),
    lambda inner: st.dictionaries(
        st.text(min_size=1, max_size=3).filter(lambda k: k != "$or"), inner, min_size=1
    ),
    max_leaves=6,
)


def exact(event):
    return {
        name: exact(value) if isinstance(value, dict) else [value] for name, value in event.items()
    }


@given(event=events)
def test_the_pattern_of_an_events_own_values_matches_it(event):
    assert matches(exact(event), event)


@given(value=st.text(max_size=8), others=st.lists(st.text(max_size=8), min_size=1))
def test_anything_but_is_the_opposite_of_the_list(value, others):
    event = {"a": value}
    assert matches({"a": [{"anything-but": others}]}, event) != matches({"a": others}, event)
