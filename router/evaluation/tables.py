"""Reads one table of an evaluation's folder: a CSV file, packed or plain. Whatever is wrong with it is named.

Knows nothing of what the columns mean. A damaged file is an error; rows that say nothing are counted.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar, cast

from outrider.broker.errors import OutriderError

Tell = Callable[[str], None]
T = TypeVar("T")


class DataUnusable(OutriderError):
    """The folder lacks a file or a column that an evaluation needs, or a file is damaged."""

    code = "data_unusable"
    default_hint = "docs/router.md, section Evaluation, names the files and their columns"


class NotUsed(Exception):
    """This row says nothing that could be used; the message completes `12 rows ...`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and where it stands. A short row lacks its last columns."""

    values: dict[str, str | None]
    place: str

    def text(self, column: str) -> str:
        """Raises NotUsed in a row that is too short."""
        value = self.values.get(column)
        if value is None:
            raise NotUsed("with too few columns")
        return value

    def number(self, column: str, blank: float | None = None) -> float:
        """A finite number. Raises NotUsed, also for an empty cell if `blank` is None."""
        text = self.text(column).strip()
        if not text and blank is not None:
            return blank
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise NotUsed(f"without a number as {column}")
        return value

    def size(self, column: str) -> int:
        """A whole number from 0; an empty cell is 0. Raises NotUsed."""
        value = self.number(column, 0.0)
        if value < 0:
            raise NotUsed(f"with a negative {column}")
        return int(value)

    def positive(self, column: str) -> float:
        """A finite number above 0. Raises NotUsed."""
        try:
            value = self.number(column)
        except NotUsed:
            value = 0.0
        if value <= 0:
            raise NotUsed(f"without a positive {column}")
        return value

    def key(self, column: str) -> int:
        """A whole number by which rows of two files belong together. Raises DataUnusable."""
        text = self.text(column)
        try:
            return int(text)
        except ValueError:
            raise DataUnusable(f"{self.place}: {column} {text[:40]!r} is not a whole number") from None


def read_table(
    folder: Path, name: str, columns: str, make: Callable[[Row], T], tell: Tell, *, is_needed: bool = True
) -> list[T] | None:
    """What `make` makes of each row but those for which it raises NotUsed; None if there is no such file.

    Raises DataUnusable when the file is needed and missing, cannot be read, or lacks a column.
    """
    path = _path(folder, name)
    if path is None:
        if is_needed:
            raise DataUnusable(f"{folder / name}.csv.gz is missing")
        return None
    made: list[T] = []
    lost: Counter[str] = Counter()
    for row in _rows(path, columns):
        try:
            made.append(make(row))
        except NotUsed as why:
            lost[str(why)] += 1
    if lost:
        reasons = ", ".join(f"{count:,} {why}" for why, count in lost.items())
        tell(f"{name}: {lost.total():,} of {lost.total() + len(made):,} rows are not used ({reasons})")
    return made


def is_folder(path: Path) -> bool:
    """Raises DataUnusable when one may not even look."""
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DataUnusable:
    return DataUnusable(f"{path} cannot be read: {error.strerror or error}")


def _path(folder: Path, name: str) -> Path | None:
    try:
        return next((p for end in ("csv.gz", "csv") if (p := folder / f"{name}.{end}").exists()), None)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _rows(path: Path, columns: str) -> Iterator[Row]:
    read = 0
    try:
        with _open(path) as file:
            rows = csv.DictReader(_lines(file, path))
            _check_header(path, rows.fieldnames, columns)
            for values in rows:
                read = rows.line_num
                # What stands beyond the last column is under None, which nobody asks for.
                yield Row(cast("dict[str, str | None]", values), f"{path}, line {read}")
    except csv.Error as error:
        raise DataUnusable(f"{path}, after line {read}: {error}") from None
    except EOFError:
        raise DataUnusable(f"{path} is not whole: its data end after line {read}, copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        if not read and isinstance(error, gzip.BadGzipFile):
            raise DataUnusable(f"{path} is not gzip data ({error}); a plain file ends in .csv") from None
        raise DataUnusable(f"{path} is damaged after line {read} ({error}), copy it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _lines(file: Iterable[bytes], path: Path) -> Iterator[str]:
    """Decoded one by one, so that the line of a wrong byte is known."""
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataUnusable(f"{path}, line {number} is not UTF-8 text ({error.reason})") from None
        yield text


def _check_header(path: Path, found: Iterable[str] | None, columns: str) -> None:
    if not found:
        raise DataUnusable(f"{path} is empty: it has no header")
    missing = set(columns.split()) - set(found)
    if missing:
        raise DataUnusable(f"{path} lacks the columns {', '.join(sorted(missing))}")
