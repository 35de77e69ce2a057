"""The pack's task: DuckDB sorts records out of core, within the worker's memory."""

from __future__ import annotations

import re
import threading
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Final

import duckdb

from taskpacks import BadInputError, storage
from taskpacks.csv_sort import keys, masking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celery import Celery

    from taskpacks import WorkerContext
    from taskpacks.csv_sort.masking import Prepared

MEMORY_OVERHEAD_MIB: Final = 256
"""What two Python processes and the engine's own code take, measured."""
MEMORY_SHARE: Final = 0.7
"""Of the rest: the engine's limit is not exact, and files pass through the page cache."""
MEMORY_MIB_MIN: Final = 64
MEMORY_MIB_PER_THREAD: Final = 128
RECORDS_IN_MEMORY: Final = 64
"""The longest record may be this part of the engine's memory, which holds many at a time."""

_BUFFER_BYTES_MIN: Final = 4 * 1024 * 1024
_RAGGED, _QUOTES = "TASKPACKS_RAGGED", "TASKPACKS_QUOTES"


def sort(
    context: WorkerContext,
    source: str,
    destination: str,
    by: list[Any],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> dict[str, Any]:
    """Sorts a CSV file. Records keep every byte; equal ones keep the source's order.

    Args:
        context: Where the task runs.
        source: URI of a CSV file in UTF-8.
        destination: URI of the result; must not be the source.
        by: The keys, most important first: see `keys.parse`.
        header: Whether the first record names the columns, and so stays first.
        delimiter: One ASCII character.

    Returns:
        "rows" without the header, "destination" and its "bytes".

    Raises:
        BadInputError: An argument or the source cannot be used.
    """
    wanted = keys.parse(by)
    _check_layout(header, delimiter)
    storage.check_destination(destination, context.uri_schemes, source=source)
    with context.scratch_folder() as folder:
        storage.fetch(source, folder / "source.csv", context.uri_schemes)
        prepared = masking.prepare(
            folder / "source.csv", folder / "masked.csv", delimiter.encode("ascii")
        )
        columns = _columns(prepared, header=header)
        positions = (
            [keys.position(key, columns, header=header) for key in wanted] if columns else []
        )
        sorted_file = folder / "sorted.csv"
        if columns:
            query = _query(prepared, sorted_file, wanted, positions, len(columns), header=header)
            rows = _run(context, query, folder, prepared) - int(header)
        else:
            rows = 0
            sorted_file.touch()
        prepared.path.unlink()
        result = masking.restore(prepared, sorted_file, folder / "restored.csv")
        size = storage.publish(result, destination, context.uri_schemes)
    return {"rows": rows, "destination": destination, "bytes": size}


def register(app: Celery, context: WorkerContext) -> None:
    """Registers the pack's Celery task."""

    @app.task(name="csv_sort.sort", shared=False)
    def sort_(
        source: str, destination: str, by: list[Any], header: bool = True, delimiter: str = ","
    ) -> dict[str, Any]:
        return sort(context, source, destination, by, header=header, delimiter=delimiter)

    del sort_  # the app keeps it


def engine_settings(context: WorkerContext) -> dict[str, int]:
    """Decides what the engine may use: "memory_mib" and "threads"."""
    share = int((context.memory_mib - MEMORY_OVERHEAD_MIB) * MEMORY_SHARE)
    memory_mib = max(MEMORY_MIB_MIN, share)
    threads = min(int(context.vcpus), memory_mib // MEMORY_MIB_PER_THREAD)
    return {"memory_mib": memory_mib, "threads": max(1, threads)}


def _check_layout(header: object, delimiter: object) -> None:
    if not isinstance(header, bool):
        raise BadInputError(f"header is {header!r}: it must be true or false.")
    if (
        not isinstance(delimiter, str)
        or len(delimiter) != 1
        or not delimiter.isascii()
        or delimiter in '"\r\n\0'
    ):
        raise BadInputError(
            f"delimiter is {delimiter!r}: it must be one ASCII character, and no quote or line "
            "end, such as ',' or ';' or a tab."
        )


def _columns(prepared: Prepared, *, header: bool) -> list[str]:
    if not prepared.longest_bytes and not prepared.path.stat().st_size:
        if header:
            raise BadInputError(
                "The source is empty, and so has no header; give header=false for a file "
                "that may be empty."
            )
        return []
    try:
        return prepared.fields(prepared.first)
    except UnicodeDecodeError as error:
        raise BadInputError(_not_utf8(1)) from error


def _query(
    prepared: Prepared,
    result: Path,
    wanted: Sequence[keys.Key],
    positions: Sequence[int],
    columns: int,
    *,
    header: bool,
) -> str:
    delimiter = f"chr({prepared.delimiter[0]})"
    orderings = [
        keys.ordering(
            key, _value(prepared, f"split_part(body, {delimiter}, {column})"), f"key{number}"
        )
        for number, (key, column) in enumerate(zip(wanted, positions, strict=True))
    ]
    stepwise = "numbered"
    for step in zip_longest(*(ordering.steps for ordering in orderings), fillvalue=()):
        stepwise = f"(SELECT *, {', '.join(chain.from_iterable(step))} FROM {stepwise})"
    selected = [*chain.from_iterable(ordering.columns for ordering in orderings)]
    terms = [*chain.from_iterable(ordering.terms for ordering in orderings)]
    field = rf'(?:[^"{_in_class(prepared.delimiter)}]*|"(?:[^"]|"")*")'
    pattern = f"{field}(?:{re.escape(prepared.delimiter.decode())}{field})*"
    quotes = f"""
        WHEN contains(body, '"') AND NOT regexp_full_match(body, {_literal(pattern)})
        THEN error('{_QUOTES} ' || number)"""
    kept = "number = 1 OR body <> ''" if columns > 1 else "true"
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
                    WHEN strlen(body) - strlen(replace(body, {delimiter}, '')) <> {columns - 1}
                    THEN error('{_RAGGED} ' || number || ' '
                        || (strlen(body) - strlen(replace(body, {delimiter}, '')) + 1))
                    ELSE record END AS record
                FROM {stepwise} WHERE {kept}
            )
            SELECT record FROM keyed
            ORDER BY {"number = 1 DESC, " if header else ""}{", ".join(terms)}, number
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


def _run(context: WorkerContext, query: str, folder: Path, prepared: Prepared) -> int:
    settings = engine_settings(context)
    record_bytes_max = settings["memory_mib"] * 1024 * 1024 // RECORDS_IN_MEMORY
    if prepared.longest_bytes > record_bytes_max:
        raise BadInputError(
            f"The source has a record of {prepared.longest_bytes} bytes: with "
            f"{context.memory_mib} MiB of memory at most {record_bytes_max} can be sorted; "
            "check the quotes, or give the deployment more memory_mib."
        )
    connection = duckdb.connect(
        config={
            "memory_limit": f"{settings['memory_mib']}MiB",
            "threads": settings["threads"],
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
        return _interruptible(connection, query)
    except duckdb.OutOfMemoryException as error:
        raise BadInputError(
            f"The source has records of up to {prepared.longest_bytes} bytes, too many of them "
            f"for {context.memory_mib} MiB of memory; give the deployment more memory_mib."
        ) from error
    except duckdb.Error as error:
        refusal = _refusal(str(error), prepared)
        if refusal is None:
            raise
        raise BadInputError(refusal) from error
    finally:
        connection.close()


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
        return _not_utf8(prepared.line_of(int(found[1])))
    return None


def _not_utf8(line: int) -> str:
    return f"Line {line} of the source is not UTF-8; convert the file, with iconv for example."


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _chr(characters: bytes) -> str:
    return " || ".join(f"chr({byte})" for byte in characters)


def _in_class(delimiter: bytes) -> str:
    return re.escape(delimiter.decode()) if delimiter in b"\\]^-" else delimiter.decode()
