"""Makes a CSV file one in which a record is a line and a delimiter always separates.

Line ends and delimiters inside quotes, and carriage returns anywhere, are replaced by control
characters that the file does not use, byte for byte, and put back after sorting. So the
engine never parses or writes CSV, and every record comes out exactly as it went in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from taskpacks import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOM: Final = b"\xef\xbb\xbf"
QUOTE: Final = b'"'

_BLOCK_BYTES: Final = 1024 * 1024
# All control characters that text has no use for. NUL is left out: tools stumble over it.
_CANDIDATES: Final = bytes([*range(1, 9), 11, 12, *range(14, 32), 127])
_NOT_CANDIDATES: Final = bytes(set(range(256)) - set(_CANDIDATES))


@dataclass(frozen=True)
class Masks:
    """Control characters that stand for others; each occurs nowhere else in the file."""

    newline: bytes
    delimiter: bytes
    carriage_return: bytes
    separator: bytes
    """Occurs in no record: the engine takes it as the end of a column."""

    def replaced(self, delimiter: bytes) -> tuple[bytes, bytes]:
        """Gives what is masked and, in the same order, what masks it."""
        return b"\n\r" + delimiter, self.newline + self.carriage_return + self.delimiter


@dataclass(frozen=True)
class Prepared:
    """A file that is ready to be sorted."""

    path: Path
    masks: Masks
    delimiter: bytes
    masked: bool
    quoted: bool
    """Whether there is any quote in it."""
    bom: bool
    longest_bytes: int
    """The length of its longest line; 0 if the file has none."""

    @property
    def first(self) -> bytes:
        """The first record, masked, without its line end and the byte order mark."""
        with self.path.open("rb") as file:
            line = file.readline().rstrip(b"\n")
        return line.removeprefix(BOM).removesuffix(self.masks.carriage_return)

    def unmask(self, text: bytes) -> bytes:
        """Gives masked text as it was in the source."""
        original, masked = self.masks.replaced(self.delimiter)
        return text.translate(bytes.maketrans(masked, original))

    def fields(self, record: bytes) -> list[str]:
        """Gives the values of a masked record.

        Raises:
            UnicodeDecodeError: It is not UTF-8.
        """
        return [self.unmask(_unquoted(field)).decode() for field in record.split(self.delimiter)]

    def line_of(self, number: int) -> int:
        """Gives the line in the source at which a record starts; both count from 1."""
        line = 1
        with self.path.open("rb") as file:
            for _ in range(number - 1):
                line += 1 + file.readline().count(self.masks.newline)
        return line


def prepare(source: Path, masked: Path, delimiter: bytes) -> Prepared:
    """Masks a file, and removes the source; leaves it alone if there is nothing to mask.

    Args:
        source: A file of the task's own. A missing last line end is added to it.
        masked: Where to write.
        delimiter: One ASCII character.

    Raises:
        BadInputError: The file ends inside quotes, or uses nearly all control characters.
    """
    used = _survey(source)
    unused = [bytes([byte]) for byte in _CANDIDATES if byte not in used and byte != delimiter[0]]
    if len(unused) < len(Masks.__dataclass_fields__):
        raise BadInputError(
            "The source uses nearly every control character, which text does not; check that "
            "it is a CSV file, uncompressed and in UTF-8."
        )
    masks = Masks(*unused[: len(Masks.__dataclass_fields__)])
    _end_last_line(source)
    quoted = QUOTE[0] in used
    needed = quoted or b"\r"[0] in used
    with source.open("rb") as file:
        bom = file.read(len(BOM)) == BOM
        file.seek(0)
        if needed:
            with masked.open("wb") as sink:
                longest = _mask(file, sink, masks, delimiter)
        else:
            longest = _longest_line(iter(lambda: file.read(_BLOCK_BYTES), b""))
    if needed:
        source.unlink()
    return Prepared(
        path=masked if needed else source,
        masks=masks,
        delimiter=delimiter,
        masked=needed,
        quoted=quoted,
        bom=bom,
        longest_bytes=longest,
    )


def restore(prepared: Prepared, result: Path, restored: Path) -> Path:
    """Undoes `prepare` on a sorted file.

    Returns:
        The restored file, or the result itself if there was nothing to undo.
    """
    if not prepared.masked and not prepared.bom:
        return result
    with result.open("rb") as file, restored.open("wb") as sink:
        if prepared.bom:
            sink.write(BOM)
        while block := file.read(_BLOCK_BYTES):
            sink.write(prepared.unmask(block))
    result.unlink()
    return restored


def _survey(source: Path) -> set[int]:
    """Gives the control characters in use, and the quote and carriage return if they are."""
    used: set[int] = set()
    with source.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            used.update(block.translate(None, _NOT_CANDIDATES))
            used.update(byte for byte in b'"\r' if byte in block)
    return used


def _end_last_line(source: Path) -> None:
    with source.open("r+b") as file:
        if not file.read(1):
            return
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.seek(0)
            crlf = file.readline().endswith(b"\r\n")
            file.seek(0, 2)
            file.write(b"\r\n" if crlf else b"\n")


def _mask(source: BinaryIO, sink: BinaryIO, masks: Masks, delimiter: bytes) -> int:
    inside = False

    def blocks() -> Iterator[bytes]:
        nonlocal inside
        table = bytes.maketrans(*masks.replaced(delimiter))
        while block := source.read(_BLOCK_BYTES):
            # Parts alternate between outside and inside of quotes. A doubled quote leaves
            # and enters again, with nothing between.
            parts = block.split(QUOTE)
            start = 0 if inside else 1
            within = QUOTE.join(parts[start::2]).translate(table)
            if len(parts) > start:
                parts[start::2] = within.split(QUOTE)
            inside ^= len(parts) % 2 == 0
            done = QUOTE.join(parts).replace(b"\r", masks.carriage_return)
            sink.write(done)
            yield done

    longest = _longest_line(blocks())
    if inside:
        sink.flush()
        with open(sink.name, "rb") as file:  # noqa: PTH123 - an open file has a name, not a Path
            *_, last = enumerate(file, 1)
            record = last[0]
            file.seek(0)
            line = record + sum(
                text.count(masks.newline) for _, text in zip(range(record - 1), file, strict=False)
            )
        raise BadInputError(
            f"The source ends inside quotes: the record that starts at line {line} lacks a "
            "closing one; inside a quoted field a quote is written twice."
        )
    return longest


def _longest_line(blocks: Iterator[bytes]) -> int:
    longest = unfinished = 0
    for block in blocks:
        first, *others = block.split(b"\n")
        unfinished += len(first)
        if others:
            longest = max(longest, unfinished, *map(len, others))
            unfinished = len(others[-1])
    return max(longest, unfinished)


def _unquoted(field: bytes) -> bytes:
    if field.startswith(QUOTE):
        return field[1:-1].replace(QUOTE * 2, QUOTE)
    return field
