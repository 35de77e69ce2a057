"""The engine's decisions as pure functions."""

from __future__ import annotations

import pulumi_aws
import pytest

from local.engine import StateError, UnsupportedError
from local.engine.diff import changed_properties, keep_ignored, replacing
from local.engine.handlers import HANDLERS
from local.engine.handlers.base import AutoName
from local.engine.properties import Property, drifted, same
from local.engine.state import Record, deletion_order, hashed, is_hashed, matches
from local.engine.urns import Alias, alias_urns, make_urn
from local.engine.wire import UNKNOWN, decode, encode, has_unknown

STACK = "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"
PAIR = "urn:pulumi:dev::shop::shop:stack:Pair::both"


def test_a_urn_leaves_the_stack_out_of_the_chain_of_types():
    def made(parent):
        return make_urn(stack="dev", project="shop", parent=parent, type_token="a:b:C", name="x")

    assert made("") == made(STACK) == "urn:pulumi:dev::shop::a:b:C::x"
    assert made(PAIR) == "urn:pulumi:dev::shop::shop:stack:Pair$a:b:C::x"


def test_aliases_are_a_resources_own_and_its_parents():
    found = alias_urns(
        (Alias(name="was"), Alias(no_parent=True), Alias(urn="urn:whole"), Alias(type="a:b:D")),
        stack="dev",
        project="shop",
        parent=PAIR,
        parent_aliases=("urn:pulumi:dev::shop::shop:stack:Pair::old",),
        type_token="a:b:C",
        name="both-x",
    )
    chain = "urn:pulumi:dev::shop::shop:stack:Pair$"
    assert found == (
        f"{chain}a:b:C::was",
        "urn:pulumi:dev::shop::a:b:C::both-x",
        "urn:whole",
        f"{chain}a:b:D::both-x",
        f"{chain}a:b:C::old-x",
        "urn:pulumi:dev::shop::a:b:C::old-x",
        f"{chain}a:b:D::old-x",
    )


@pytest.mark.parametrize(
    ("spec", "recorded", "wanted", "expected"),
    [
        (Property(), 1, 1.0, True),
        (Property(), 1, 2, False),
        (Property(default=0), None, 0, True),
        (Property(default=0), 5, None, False),
        (Property(json=True), '{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
        (Property(json=True), "not json", "not json", True),
        (Property(unordered=True), [2, 1], [1, 2], True),
        (Property(), [2, 1], [1, 2], False),
        (Property(), "a", UNKNOWN, False),
        (Property(), {"a": ["x"]}, {"a": [UNKNOWN]}, False),
    ],
)
def test_two_values_are_the_same_when_they_mean_the_same(spec, recorded, wanted, expected):
    assert same(spec, recorded, wanted) is expected


@pytest.mark.parametrize(
    ("spec", "recorded", "actual", "expected"),
    [
        (Property(), {"a": 1}, {"a": 1, "added": 2}, False),
        (Property(exact=True), {"a": 1}, {"a": 1, "added": 2}, True),
        (Property(), [{"a": 1}], [{"a": 1, "added": 2}], False),
        (Property(), [1], [1, 2], True),
        (Property(), None, 5, False),
        (Property(default=0), None, 5, True),
        (Property(json=True), '{"a": 1}', '{"a":1,"b":2}', False),
    ],
)
def test_defaults_that_aws_adds_are_no_drift_unless_exactness_is_asked(
    spec, recorded, actual, expected
):
    assert drifted(spec, recorded, actual) is expected


def test_secrets_are_compared_by_their_hash():
    stored = hashed({"a": 1})
    assert is_hashed(stored)
    assert matches(stored, {"a": 1})
    assert not matches(stored, {"a": 2})
    assert hashed("x") != hashed("x")
    assert changed_properties({}, {"p": stored}, {"p": {"a": 1}}) == frozenset()
    assert changed_properties({}, {"p": stored}, {"p": {"a": 2}}) == {"p"}
    assert changed_properties({}, {"p": stored}, {}) == {"p"}


def test_ignored_paths_take_the_recorded_value_or_its_absence():
    old = {"tags": {"a": "1", "b.c": "2"}, "list": [1, 2], "gone": 3}
    new = {"tags": {"a": "9", "b.c": "9", "d": "9"}, "list": [9, 9, 9], "fresh": 4}
    paths = ["tags.a", 'tags["b.c"]', "tags.d", "list[1]", "gone", "fresh", "no.such.place"]
    assert keep_ignored(old, new, paths, "it") == {
        "tags": {"a": "1", "b.c": "2"},
        "list": [9, 2, 9],
        "gone": 3,
    }
    assert new["tags"]["a"] == "9"


@pytest.mark.parametrize("path", ["", "a[", "a[*]", "a..b", "a.*"])
def test_a_path_that_cannot_be_followed_is_refused(path):
    with pytest.raises(UnsupportedError, match="cannot be honoured"):
        keep_ignored({}, {}, [path], "it")


def test_replace_on_changes_names_whole_properties():
    assert replacing(["*"], frozenset({"a", "b"}), "it") == {"a", "b"}
    assert replacing(["a", "c"], frozenset({"a", "b"}), "it") == {"a"}


def record(urn, *needs, parent=""):
    return Record(urn=urn, type="t", custom=True, parent=parent, dependencies=list(needs))


def test_dependants_and_children_are_deleted_first_whatever_order_they_stand_in():
    records = [record("a"), record("b", "a"), record("c", parent="b"), record("d", "a", "c")]
    assert [found.urn for found in deletion_order(records)] == ["d", "c", "b", "a"]
    assert [found.urn for found in deletion_order(records[::-1])] == ["d", "c", "b", "a"]


def test_both_halves_of_a_replacement_wait_for_their_dependants():
    old, new, user = record("a"), record("a"), record("b", "a")
    order = deletion_order([old, user, new])
    assert order[0] is user


def test_a_circle_in_the_state_is_refused():
    with pytest.raises(StateError, match="in a circle"):
        deletion_order([record("a", "b"), record("b", "a")])


def test_names_are_cut_to_what_aws_allows_and_lowered_where_it_must_be():
    name = AutoName(max_length=20, lower=True).new("A-Very-Long-Logical-Name")
    assert len(name) == 20
    assert name == name.lower()
    assert name.startswith("a-very-long-")


def test_the_wire_gives_back_whole_numbers_secrets_and_unknowns():
    struct = encode({"n": 3, "f": 0.5, "b": True, "l": [1, {"x": None}], "s": "w"}, ["s"])
    values, secrets = decode(struct, subject="it")
    assert values == {"n": 3, "f": 0.5, "b": True, "l": [1, {}], "s": "w"}
    assert type(values["n"]) is int
    assert secrets == {"s"}
    assert has_unknown({"a": [f"before {UNKNOWN}"]})


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_every_property_is_one_of_pulumi_aws(handler):
    package, _, rest = handler.resource_type.removeprefix("aws:").partition("/")
    module = {"lambda": "lambda_"}.get(package, package)  # a word of Python's own
    resource = getattr(getattr(pulumi_aws, module), rest.rpartition(":")[2])
    known = {
        getter.fget._pulumi_name if hasattr(getter.fget, "_pulumi_name") else name
        for name, getter in vars(resource).items()
        if isinstance(getter, property)
    }
    assert handler.properties.keys() <= known
