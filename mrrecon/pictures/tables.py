"""Tables of records: grouped, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mrrecon.atomic import write_text

__all__ = ["grouped", "markdown_table", "write_csv"]

Record = TypeVar("Record")
Key = TypeVar("Key", bound=Hashable)


def grouped(records: Iterable[Record], key: Callable[[Record], Key]) -> dict[Key, list[Record]]:
    """Records by what they have in common, in the order of their first.

    >>> grouped([1, 2, 3], lambda n: "odd" if n % 2 else "even")
    {'odd': [1, 3], 'even': [2]}
    """
    groups: dict[Key, list[Record]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return groups


def markdown_table(head: Sequence[Any], body: Iterable[Sequence[Any]], texts: int = 1) -> str:
    """Markdown table; so many of its first columns are texts, the others numbers.

    >>> print(markdown_table(["method", "setting", "R = 4"], [["cg-sense", "default", "35.10"]], texts=2))
    | method   | setting | R = 4 |
    |----------|---------|------:|
    | cg-sense | default | 35.10 |
    """
    rows = [[str(cell).replace("|", "/") for cell in row] for row in (head, *body)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rule = "|".join("-" * (width + 1) + ("-" if i < texts else ":") for i, width in enumerate(widths))
    lines = [
        " | ".join(
            text.ljust(w) if i < texts else text.rjust(w) for i, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    first, *others = (f"| {line} |" for line in lines)
    return "\n".join([first, f"|{rule}|", *others])


def write_csv(records: Iterable[Mapping[str, Any]], names: Sequence[str], path: Path) -> Path:
    """Write some of the values of records; what a record lacks stays empty.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, names, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "; ".join(map(str, v)) if isinstance(v, list) else v for k, v in r.items()} for r in records)
    return write_text(path, buffer.getvalue())
