"""Reads text files that people write: CSV, JSON lines and lines of words, with all problems of a file in one error.

A file is JSON lines if its name ends in .jsonl or its text begins with a brace or bracket, otherwise CSV. CSV may be
separated by commas, semicolons or tabs; beside the latter two, numbers may have a decimal comma. Columns are found by
their names, in any order. Text is UTF-8, with or without a byte-order mark, or UTF-16 with one.
"""

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from headhunt_svc.errors import DatasetError, list_problems

MOST_LISTED = 20
SEPARATORS = ",;\t"
M = TypeVar("M", bound=BaseModel)


def _names(header: str, separator: str) -> list[str]:
    """The names of the columns, without empty ones at the end; none in what is no CSV."""
    try:
        cells = next(csv.reader([header], delimiter=separator, skipinitialspace=True))
    except csv.Error:  # a cell of more than 131072 characters
        return []
    names = [name.strip().lower() for name in cells]
    while names and not names[-1]:
        names.pop()
    return names


class RowFile:
    """One file: its text, and the problems that its reader and its user note, to raise them all at once.

    advice: the way out, for the message about a file that cannot be read. content: of the file, where it was read.

    Raises:
        DatasetError: the file cannot be read.
    """

    def __init__(self, path: Path, advice: str, content: bytes | None = None) -> None:
        self.path = path
        self._problems: list[tuple[int, str]] = []
        try:
            content = path.read_bytes() if content is None else content
        except (OSError, ValueError) as exc:
            raise DatasetError(f"{path} cannot be read ({exc}): {advice}") from exc
        encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        try:
            self.text = content.decode(encoding)
        except UnicodeDecodeError as exc:
            number, byte = exc.object[: exc.start].count(b"\n") + 1, exc.object[exc.start]
            problem = f"byte 0x{byte:02x} is not {exc.encoding.upper()}"
            raise DatasetError(f"{path}:{number}: {problem}: save the file as UTF-8 (Excel: CSV UTF-8)") from exc

    @property
    def is_json_lines(self) -> bool:
        """Is every line a JSON value? If not, the file is CSV."""
        return self.path.suffix.lower() == ".jsonl" or self.text.lstrip().startswith(("{", "["))

    def lines(self) -> Iterator[tuple[int, str]]:
        """Numbered lines that are not empty."""
        return ((n, line) for n, line in enumerate(io.StringIO(self.text, newline=None), 1) if line.strip())

    def rows(self, model: type[M]) -> Iterator[tuple[int, M]]:
        """Valid rows, with the numbers of the lines that they begin in; the others are noted as problems."""
        for number, raw in self.lines() if self.is_json_lines else self._cells(model):
            try:
                row = model.model_validate_json(raw) if isinstance(raw, str) else model.model_validate(raw)
            except ValidationError as exc:
                self.add(number, exc)
            else:
                yield number, row

    def _cells(self, model: type[BaseModel]) -> Iterator[tuple[int, dict[str, str | None]]]:
        """The cells of each row by the name of their column."""
        fields = model.model_fields
        number, header = next(self.lines(), (1, ""))
        separator = max(SEPARATORS, key=lambda s: len(fields.keys() & _names(header, s)))
        names = _names(header, separator)
        columns = [name for name in names if name in fields]
        needed = [name for name, field in fields.items() if field.is_required()]
        missing = set(needed) - set(columns)
        unknown = set(names) - set(columns) if model.model_config.get("extra") == "forbid" else set()
        if missing or unknown or not columns or len(columns) > len(set(columns)):
            self.add(number, f"the header must be {','.join(needed or fields)}")
            return
        kinds = {name: {fields[name].annotation, *get_args(fields[name].annotation)} for name in columns}
        numbers = {name for name in columns if kinds[name] & {int, float}}
        for first, cells in self._csv(separator, skipinitialspace=f"{separator} " in header):
            if first <= number or not any(map(str.strip, cells)):
                continue
            row: dict[str, str | None] = dict(zip(names, cells, strict=False))
            for name in numbers & row.keys():
                cell = cells[names.index(name)].strip()
                row[name] = (cell if separator == "," else cell.replace(",", ".")) or None
            if any(map(str.strip, cells[len(names) :])):
                row["too many cells"] = None
            yield first, row

    def _csv(self, separator: str, skipinitialspace: bool) -> Iterator[tuple[int, list[str]]]:
        """Rows of CSV, with the numbers of the lines that they begin in; wrong quotes are noted as problems."""
        text = io.StringIO(self.text, newline="")
        rows = csv.reader(text, delimiter=separator, skipinitialspace=skipinitialspace, strict=True)
        while True:
            first = rows.line_num + 1
            try:
                yield first, next(rows)
            except csv.Error as exc:
                self.add(first, f"this is no CSV ({exc}): check the quotes")
            except StopIteration:
                return

    def add(self, number: int, problem: str | ValueError) -> None:
        """Note a problem of line `number`."""
        if not isinstance(problem, ValidationError):
            self._problems.append((number, str(problem)))
            return
        for error in problem.errors(include_url=False):
            parts: tuple[Any, ...] = (".".join(map(str, error["loc"])), error["msg"].removeprefix("Value error, "))
            self._problems.append((number, ": ".join(part for part in parts if part)))

    @property
    def problems(self) -> list[str]:
        """What was noted, in the order of the lines."""
        return [f"line {number}: {text}" for number, text in sorted(self._problems)]

    def check(self, *others: "RowFile") -> None:
        """Raise DatasetError with all problems, if there are any."""
        messages = [f"{file.path}:{n}: {text}" for file in (self, *others) for n, text in sorted(file._problems)]
        if messages:
            raise DatasetError(list_problems(messages, MOST_LISTED))
