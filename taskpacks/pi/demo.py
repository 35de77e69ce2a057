"""The pack's sample tasks, and a check that shares no code with `tasks.py`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery import chain, signature

from taskpacks import storage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from celery import Signature

    from taskpacks import DemoContext

MILLION: Final = 1_000_000
MILLION_ENDS_WITH: Final = "5779458151"
"""Digits 999 991 to 1 000 000: https://www.piday.org/million/"""
SMALL: Final = tuple(1000 + 2000 * number // 29 for number in range(30))
"""1000 to 3000 digits, thirty times."""


SORTER: Final = "csv_sort"
CHAINED: Final = 2000
"""As many digits go on to another pack."""


def samples(context: DemoContext) -> Sequence[Signature]:
    """Gives one long calculation, thirty short ones, and one that goes through another pack."""
    million = signature(
        "pi.calculate",
        kwargs={"digits": MILLION, "output": f"{context.output}/pi-{MILLION}.txt"},
    )
    short = [signature("pi.calculate", kwargs={"digits": n}) for n in SMALL]
    if SORTER not in context.sends_to:
        return [million, *short]
    there = chain(
        signature(
            "pi.calculate",
            kwargs={"digits": CHAINED, "output": f"{context.output}/pi-{CHAINED}.csv"},
        ),
        # Its source is the result of the one before.
        signature(
            "csv_sort.sort",
            kwargs={
                "destination": f"{context.output}/pi-{CHAINED}-sorted.csv",
                "by": [1],
                "header": False,
            },
        ),
    )
    return [there, million, *short]


def check(context: DemoContext, task: Signature, result: Mapping[str, Any]) -> str:
    """Compares the million's end with what is published, and the others with Machin's formula."""
    del context
    if task["task"] == "celery.chain":
        return _check_chained(result)
    digits = task["kwargs"]["digits"]
    if digits == MILLION:
        return _check_million(result)
    expected = machin(digits)
    if result["pi"] != expected:
        wrong = next(
            i
            for i, pair in enumerate(zip(result["pi"], expected, strict=False))
            if pair[0] != pair[1]
        )
        raise AssertionError(f"pi to {digits} digits differs from Machin's at character {wrong}")
    return f"all {digits} digits are those of Machin's formula"


def machin(digits: int) -> str:
    """Gives pi as "3." and that many digits, truncated, by Machin's formula in plain integers.

    pi = 16 arctan(1/5) - 4 arctan(1/239); ten more digits than asked for absorb the error of
    one unit a term.
    """
    one = 10 ** (digits + 10)
    text = str((16 * _arctan_of_inverse(5, one) - 4 * _arctan_of_inverse(239, one)) // 10**10)
    return f"{text[0]}.{text[1:]}"


def _arctan_of_inverse(x: int, one: int) -> int:
    power = total = one // x
    divisor, sign = 1, 1
    while power:
        power //= x * x
        divisor, sign = divisor + 2, -sign
        total += sign * (power // divisor)
    return total


def _check_chained(result: Mapping[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sorted.csv"
        storage.fetch(result["destination"], file, storage.SCHEMES)
        text = file.read_text(encoding="ascii")
    if text != f"{machin(CHAINED)}\n":
        raise AssertionError(f"{result['destination']} is not pi to {CHAINED} digits, in one line")
    return f"{CHAINED} digits went from pi.calculate to csv_sort.sort, and are all there"


def _check_million(result: Mapping[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pi.txt"
        storage.fetch(result["output"], file, storage.SCHEMES)
        text = file.read_text(encoding="ascii")
    if len(text) != MILLION + 2 or not text.startswith("3.14159"):
        raise AssertionError(f"{result['output']} holds {len(text)} characters of something else")
    for end in (text[-10:], result["last_digits"]):
        if end != MILLION_ENDS_WITH:
            raise AssertionError(f"the million ends with {end}, not with {MILLION_ENDS_WITH}")
    return f"digits 999 991 to 1 000 000 are {MILLION_ENDS_WITH}, as published"
