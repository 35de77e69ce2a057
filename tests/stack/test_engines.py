"""The real engine and the local one do the same to the same resources, all a stack's life long."""

import re
from collections import Counter

import pytest

from tests.stack.engines import ROOT
from tests.stack.lives import STACKS, Pair, changes, interrupted_life, life

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]


def goes_last(operations):
    """Whether nothing is made or changed any more once something is deleted for good."""
    verbs = [each.split()[0] for each in operations]
    deleting = verbs.index("delete") if "delete" in verbs else len(verbs)
    return {*verbs[deleting:]} <= {"delete", "delete-replaced"}


def in_this_order(wanted, operations):
    remaining = iter(operations)
    return all(each in remaining for each in wanted)


def check(step):
    print(f"{step}\n")
    assert Counter(step.real) == Counter(step.local)
    change = step.leads_to
    for operations in (step.real, step.local):
        # A refresh says "delete" of what it misses.
        assert "refresh" in step.title or goes_last(operations)
        if change is not None:
            assert in_this_order(change.in_order, operations)
        if change is not None and change.besides is not None:
            assert Counter(operations) == Counter([*change.in_order, *change.besides])


@pytest.mark.parametrize("stack", STACKS)
def test_both_engines_do_the_same_in_a_stacks_life(stack, tmp_path, cloud, subtests):
    for step in life(Pair(tmp_path, stack, cloud), stack):
        with subtests.test(step.title):
            check(step)
            if "again" in step.title:
                assert step.real == []
            if step.title == "what is left":  # taskpacks:data is keep
                assert set(step.real) == {"aws:dynamodb/table:Table", "aws:s3/bucket:Bucket"}


def test_an_up_that_was_interrupted_is_completed_by_the_next_and_makes_nothing_twice(
    tmp_path, cloud
):
    preview, up, again, refresh, destroy = interrupted_life(Pair(tmp_path, "local", cloud))
    for step in (preview, up, again, refresh, destroy):
        check(step)
    assert Counter(up.real) == Counter(preview.real)
    assert again.real == refresh.real == []


def test_every_row_of_the_docs_is_a_change_that_is_tested():
    text = (ROOT / "docs" / "deploying.md").read_text().partition("## What a change leads to")[2]
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)[1:]
    tested = {each.row for each in changes() if each.row}
    assert rows
    assert [row for row in rows if not any(row.startswith(each) for each in tested)] == []
    assert [each for each in tested if not any(row.startswith(each) for row in rows)] == []
