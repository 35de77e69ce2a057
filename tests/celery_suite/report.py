"""Compares two runs of the same tests."""

MISSING = {"outcome": "not run", "seconds": 0.0, "why": "the run ended before it"}
PASSED = "passed"


def differences(plain, ours):
    """Finds the tests that pass with the plain worker and do not with ours.

    Args:
        plain: Test -> its line, of the plain worker's run.
        ours: The same of ours.

    Returns:
        Test -> why it does not pass with ours, in the order of the run.
    """
    found = {}
    for test, line in plain.items():
        other = ours.get(test, MISSING)
        if line["outcome"] == PASSED and other["outcome"] != PASSED:
            found[test] = f"{other['outcome']}: {other['why']}"
    return found


def split(found, allowed):
    """Splits differences by a list of allowed ones.

    Args:
        found: From `differences`.
        allowed: Test -> reason.

    Returns:
        What is not allowed, and which allowed tests pass after all.
    """
    refused = {test: why for test, why in found.items() if test not in allowed}
    return refused, [test for test in allowed if test not in found]


def table(plain, ours):
    """Returns a line for each test that some worker does not pass or skip, and the counts."""
    tests = list(dict.fromkeys([*plain, *ours]))
    lines = [f"{'plain':8} {'ours':8} test"]
    counts = {}
    for test in tests:
        pair = tuple(lines_of.get(test, MISSING)["outcome"] for lines_of in (plain, ours))
        counts[pair] = counts.get(pair, 0) + 1
        if pair not in {(PASSED, PASSED), ("skipped", "skipped")}:
            lines.append(f"{pair[0]:8} {pair[1]:8} {test}")
    lines += [
        f"{count:4} tests: {left} with plain, {right} with ours"
        for (left, right), count in sorted(counts.items())
    ]
    return "\n".join(lines)
