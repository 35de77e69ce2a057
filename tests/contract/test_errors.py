"""Messages show the beginning of values, whatever the values are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskpacks.errors import ERROR_CHARACTERS_MAX, listed, nearest, quoted, shortened

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(VALUES)
def test_a_quoted_value_has_200_characters_at_most(value):
    assert len(quoted(value)) <= 200


@pytest.mark.parametrize("value", ["it's", ["a", {"b": None}], 10**30, "x" * 198, (), b"1"])
def test_a_short_value_is_quoted_whole(value):
    assert quoted(value) == repr(value)


def test_a_long_list_is_quoted_with_its_first_ten_elements():
    assert quoted(list(range(100))) == "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"


def test_a_value_nested_without_end_is_quoted():
    value = []
    for _ in range(100_000):
        value = [value]
    assert len(quoted(value)) <= 200


def test_ten_of_many_values_are_listed_and_the_rest_is_counted():
    assert listed("abc") == "a, b, c"
    assert listed(range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2 more"
    assert len(listed(["x" * 3000] * 12)) < 2100


def test_the_nearest_of_many_names_lists_ten():
    names = [f"name-{number:03}" for number in range(300)]
    assert nearest("name-01", names).startswith(" Did you mean 'name-")
    assert nearest("other", names).endswith("name-009, and 290 more.")
    assert nearest("other", []) == " There are none."


def test_a_long_text_ends_with_a_mark():
    assert shortened("x" * ERROR_CHARACTERS_MAX) == "x" * ERROR_CHARACTERS_MAX
    assert shortened("abcdef", 4) == "abc…"
