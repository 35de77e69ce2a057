"""The pack's task: fetch, mask, sort, restore, publish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskpacks import BadInputError, storage
from taskpacks.csv_sort import engine, keys, masking
from taskpacks.errors import quoted

if TYPE_CHECKING:
    from celery import Celery

    from taskpacks import WorkerContext
    from taskpacks.csv_sort.masking import Prepared


SCRATCH_PER_BYTE: Final = 3
"""The source, its masked form or its runs on disk, and the sorted result."""


def sort(
    context: WorkerContext,
    source: object,
    destination: str,
    by: list[Any],
    *,
    header: bool = True,
    delimiter: str = ",",
) -> dict[str, Any]:
    """Sorts a CSV file. Records keep every byte; equal ones keep the source's order.

    Args:
        context: Where the task runs.
        source: URI of a CSV file in UTF-8, or the result of a task that wrote one.
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
    source = storage.source_of(source)
    storage.check_destination(destination, context.uri_schemes, source=source)
    size = storage.check_source(source, context.uri_schemes)
    with context.scratch_folder(needs_bytes=SCRATCH_PER_BYTE * size) as folder:
        storage.fetch(source, folder / "source.csv", context.uri_schemes)
        prepared = masking.prepare(
            folder / "source.csv", folder / "masked.csv", delimiter.encode("ascii")
        )
        columns = _columns(prepared, header=header)
        sorted_file = folder / "sorted.csv"
        rows = 0
        if columns:
            order = engine.Order(
                prepared=prepared,
                by=[(key, keys.position(key, columns, header=header)) for key in wanted],
                columns=len(columns),
                header=header,
            )
            rows = engine.sort(context, order, folder, sorted_file) - int(header)
        else:
            sorted_file.touch()
        prepared.path.unlink()
        result = masking.restore(prepared, sorted_file, folder / "restored.csv")
        size = storage.publish(result, destination, context.uri_schemes)
    return {"rows": rows, "destination": destination, "bytes": size}


def register(app: Celery, context: WorkerContext) -> None:
    """Registers the pack's Celery task."""

    @app.task(name="csv_sort.sort", shared=False)
    def sort_(
        source: str | dict[str, Any],
        destination: str,
        by: list[Any],
        header: bool = True,
        delimiter: str = ",",
    ) -> dict[str, Any]:
        return sort(context, source, destination, by, header=header, delimiter=delimiter)

    del sort_  # the app keeps it


def _check_layout(header: object, delimiter: object) -> None:
    if not isinstance(header, bool):
        raise BadInputError(f"header is {quoted(header)}: it must be true or false.")
    if (
        not isinstance(delimiter, str)
        or len(delimiter) != 1
        or not delimiter.isascii()
        or delimiter in '"\r\n\0'
    ):
        raise BadInputError(
            f"delimiter is {quoted(delimiter)}: it must be one ASCII character, and no quote or "
            "line end, such as ',' or ';' or a tab."
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
        raise BadInputError(engine.not_utf8(1)) from error
