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
        ({"source": [{"prefix": "aws."}]}, True),
        ({"source": ["shop", {"prefix": "aws.ec2"}]}, False),
        ({"detail": {"count": [{"prefix": "5"}]}}, False),
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
        ({"detail": {"items": {"name": ["y"]}}}, True),
        ({"detail": {"items": {"name": ["y"], "size": [1]}}}, False),
    ],
)
def test_an_event_matches_as_eventbridge_documents(pattern, expected):
    assert matches(pattern, EVENT) is expected


@pytest.mark.parametrize(
    ("pattern", "named"),
    [
        ({"source": [{"suffix": "watch"}]}, "suffix"),
        ({"other": [{"exists": False}]}, "exists"),
        ({"$or": [{"source": ["aws.ec2"]}]}, r"\$or"),
        ({"source": "aws.ec2"}, "an object or an array"),
        ({"source": []}, "an object or an array"),
    ],
)
def test_a_pattern_with_an_operator_or_a_bare_leaf_is_an_error_that_names_it(pattern, named):
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
