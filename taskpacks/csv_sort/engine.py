"""DuckDB as a sorter of masked records, out of core, within the worker's memory."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Final

import duckdb

from taskpacks import BadInputError
from taskpacks.csv_sort import keys

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from taskpacks import WorkerContext
    from taskpacks.csv_sort.masking import Prepared

MEMORY_OVERHEAD_MIB: Final = 256
"""The memory of two Python processes and the engine's own code, measured."""
MEMORY_SHARE: Final = 0.7
"""The engine's share of the rest: its limit is not exact, and files pass through the page cache."""
MEMORY_MIB_MIN: Final = 64
MEMORY_MIB_PER_THREAD: Final = 128
RECORDS_IN_MEMORY: Final = 64
"""The longest record may be this part of the engine's memory, which holds many at a time."""

_BUFFER_BYTES_MIN: Final = 4 * 1024 * 1024
_RAGGED, _QUOTES = "TASKPACKS_RAGGED", "TASKPACKS_QUOTES"


@dataclass(frozen=True, kw_only=True)
class Order:
    """The file to sort, and how."""

    prepared: Prepared
    by: Sequence[tuple[keys.Key, int]]
    """Keys and the numbers of their columns, counted from 1."""
    columns: int
    """That every record must have."""
    header: bool


def settings(context: WorkerContext) -> dict[str, int]:
    """Decides what the engine may use: "memory_mib" and "threads"."""
    share = int((context.memory_budget_mib - MEMORY_OVERHEAD_MIB) * MEMORY_SHARE)
    memory_mib = max(MEMORY_MIB_MIN, share)
    threads = min(int(context.vcpus) // context.processes, memory_mib // MEMORY_MIB_PER_THREAD)
    return {"memory_mib": memory_mib, "threads": max(1, threads)}


def sort(context: WorkerContext, order: Order, folder: Path, result: Path) -> int:
    """Sorts a masked file into another.

    Args:
        context: Where the task runs.
        order: What to sort, and how.
        folder: Of the task's own; holds the file and the result, and what does not fit in
            memory.
        result: Where to write.

    Returns:
        How many records there are.

    Raises:
        BadInputError: Records are malformed, or too long for the memory.
    """
    prepared = order.prepared
    limits = settings(context)
    record_bytes_max = limits["memory_mib"] * 1024 * 1024 // RECORDS_IN_MEMORY
    if prepared.longest_bytes > record_bytes_max:
        raise BadInputError(
            f"The source has a record of {prepared.longest_bytes} bytes: with "
            f"{context.memory_budget_mib} MiB of memory at most {record_bytes_max} can be sorted; "
            "check the quotes, or give the deployment more memory_mib."
        )
    connection = duckdb.connect(
        config={
            "memory_limit": f"{limits['memory_mib']}MiB",
            "threads": limits["threads"],
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "preserve_insertion_order": True,
        }
    )
    try:
        connection.execute("SET enable_progress_bar = false")
        # What the query may touch, whatever stands in it.
        connection.execute(f"SET allowed_directories = [{_literal(str(folder))}]")
        connection.execute("SET enable_external_access = false")
        return _interruptible(connection, _query(order, result))
    except duckdb.OutOfMemoryException as error:
        raise BadInputError(
            f"The source has records of up to {prepared.longest_bytes} bytes, too many of them "
            f"for {context.memory_budget_mib} MiB of memory; give the deployment more memory_mib."
        ) from error
    except duckdb.Error as error:
        refusal = _refusal(str(error), prepared)
        if refusal is None:
            raise
        raise BadInputError(refusal) from error
    finally:
        connection.close()


def _query(order: Order, result: Path) -> str:
    prepared = order.prepared
    delimiter = f"chr({prepared.delimiter[0]})"
    orderings = [
        keys.ordering(
            key, _value(prepared, f"split_part(body, {delimiter}, {column})"), f"key{number}"
        )
        for number, (key, column) in enumerate(order.by)
    ]
    stepwise = "numbered"
    for step in zip_longest(*(ordering.steps for ordering in orderings), fillvalue=()):
        stepwise = f"(SELECT *, {', '.join(chain.from_iterable(step))} FROM {stepwise})"  # noqa: S608 - see keys.py
    selected = [*chain.from_iterable(ordering.columns for ordering in orderings)]
    terms = [*chain.from_iterable(ordering.terms for ordering in orderings)]
    field = rf'(?:[^"{_in_class(prepared.delimiter)}]*|"(?:[^"]|"")*")'
    pattern = f"{field}(?:{re.escape(prepared.delimiter.decode())}{field})*"
    quotes = f"""
        WHEN contains(body, '"') AND NOT regexp_full_match(body, {_literal(pattern)})
        THEN error('{_QUOTES} ' || number)"""
    kept = "number = 1 OR body <> ''" if order.columns > 1 else "true"
    fields = f"(strlen(body) - strlen(replace(body, {delimiter}, '')) + 1)"
    separator = _literal(prepared.masks.separator.decode())
    return f"""
        COPY (
            WITH numbered AS (
                SELECT coalesce(line, '') AS record, {_body(prepared)} AS body,
                    row_number() OVER () AS number
                FROM read_csv({_literal(str(prepared.path))}, columns = {{'line': 'VARCHAR'}},
                    auto_detect = false, header = false, delim = {separator}, quote = '',
                    escape = '', comment = '', new_line = '\\n', strict_mode = true,
                    parallel = false, max_line_size = {prepared.longest_bytes + 2},
                    buffer_size = {max(_BUFFER_BYTES_MIN, 2 * prepared.longest_bytes + 4)})
            ), keyed AS (
                SELECT number, {", ".join(selected)}, CASE {quotes if prepared.quoted else ""}
                    WHEN {fields} <> {order.columns}
                    THEN error('{_RAGGED} ' || number || ' ' || {fields})
                    ELSE record END AS record
                FROM {stepwise} WHERE {kept}
            )
            SELECT record FROM keyed
            ORDER BY {"number = 1 DESC, " if order.header else ""}{", ".join(terms)}, number
        ) TO {_literal(str(result))} (FORMAT csv, HEADER false, DELIMITER {separator},
            QUOTE '', ESCAPE '')
    """  # noqa: S608 - of the input only numbers are in it: see keys.py


def _body(prepared: Prepared) -> str:
    """SQL for a record without the carriage return of its line end."""
    if not prepared.masked:
        return "record"
    return (
        f"CASE WHEN ends_with(record, {_chr(prepared.masks.carriage_return)}) "
        "THEN left(record, -1) ELSE record END"
    )


def _value(prepared: Prepared, field: str) -> str:
    """SQL for a field's text, without its quotes and masks."""
    if not prepared.masked:
        return field
    original, masks = prepared.masks.replaced(prepared.delimiter)
    unquoted = (
        f"CASE WHEN starts_with({field}, '\"') THEN "
        f"replace(substr({field}, 2, length({field}) - 2), '\"\"', '\"') ELSE {field} END"
    )
    return f"translate({unquoted}, {_chr(masks)}, {_chr(original)})"


def _interruptible(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Runs a query in a thread, so that a cancelled task can interrupt it at once."""
    outcome: list[int | Exception] = []
    done = threading.Event()

    def work() -> None:
        try:
            [(count,)] = connection.execute(query).fetchall()
            outcome.append(int(count))
        except Exception as error:  # noqa: BLE001 - raised again where the query was asked for
            outcome.append(error)
        finally:
            done.set()

    threading.Thread(target=work, name="csv_sort", daemon=True).start()
    try:
        # Not join: in Python 3.11 one that an exception cuts calls the thread ended.
        done.wait()
    finally:
        while not done.wait(timeout=0.1):
            connection.interrupt()
    [found] = outcome
    if isinstance(found, Exception):
        raise found
    return found


def _refusal(message: str, prepared: Prepared) -> str | None:
    """Says what is wrong with the source, if that is what the engine's message is about."""
    if found := re.search(rf"{_RAGGED} (\d+) (\d+)", message):
        line = prepared.line_of(int(found[1]))
        return (
            f"Line {line} of the source has {found[2]} fields, and its first line has "
            f"{len(prepared.fields(prepared.first))}; every record must have the same number. "
            "Check the delimiter and the quotes."
        )
    if found := re.search(rf"{_QUOTES} (\d+)", message):
        line = prepared.line_of(int(found[1]))
        return (
            f"The record at line {line} of the source has a quote in the middle of a field: a "
            "field with quotes in it starts and ends with one, and those inside are doubled."
        )
    if "utf-8" in message and (found := re.search(r"on Line: (\d+)", message)):
        return not_utf8(prepared.line_of(int(found[1])))
    return None


def not_utf8(line: int) -> str:
    """Says that a line is in another encoding, and what to do."""
    return f"Line {line} of the source is not UTF-8; convert the file, with iconv for example."


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _chr(characters: bytes) -> str:
    return " || ".join(f"chr({byte})" for byte in characters)


def _in_class(delimiter: bytes) -> str:
    return re.escape(delimiter.decode()) if delimiter in b"\\]^-" else delimiter.decode()
