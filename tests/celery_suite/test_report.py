"""Tests of the comparison of two runs of Celery's own tests."""

import pytest

from tests.celery_suite.report import differences, split, table
from tests.celery_suite.sources import locked_celery


def line(outcome, why=""):
    return {"outcome": outcome, "seconds": 1.0, "why": why}


def test_only_what_passes_with_plain_and_not_with_ours_is_a_difference():
    plain = {
        "both": line("passed"),
        "neither": line("failed"),
        "ours alone": line("failed"),
        "plain alone": line("passed"),
        "left out by ours": line("passed"),
        "never run by ours": line("passed"),
    }
    ours = {
        "both": line("passed"),
        "neither": line("failed"),
        "ours alone": line("passed"),
        "plain alone": line("failed", "call: assert 3 == 1"),
        "left out by ours": line("skipped", "no chords"),
    }
    assert differences(plain, ours) == {
        "plain alone": "failed: call: assert 3 == 1",
        "left out by ours": "skipped: no chords",
        "never run by ours": "not run: the run ended before it",
    }


def test_an_allowed_difference_is_not_refused_and_one_that_is_none_is_named():
    found = {"a": "failed: x", "b": "failed: y"}
    assert split(found, {"a": "because", "c": "because"}) == ({"b": "failed: y"}, ["c"])


def test_the_table_has_what_does_not_pass_with_both_and_counts_all():
    text = table(
        {"a": line("passed"), "b": line("passed")}, {"a": line("passed"), "b": line("failed")}
    )
    assert "failed   b" in text
    assert " a" not in text
    assert "1 tests: passed with plain, failed with ours" in text
    assert "1 tests: passed with plain, passed with ours" in text


def test_celery_is_found_in_a_lock_file_with_its_hashes():
    lock = (
        "billiard==4.3.2 \\\n    --hash=sha256:00\n"
        "celery==5.7.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"
        "celery-types==0.26.0 \\\n    --hash=sha256:cc\n"
    )
    version, lines = locked_celery(lock)
    assert version == "5.7.0"
    assert lines == "celery==5.7.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n"


def test_a_lock_file_without_celery_is_refused():
    with pytest.raises(SystemExit, match="make lock"):
        locked_celery("celery-types==0.26.0 \\\n    --hash=sha256:cc\n")
