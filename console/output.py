"""Writes views as tables or as JSON.

Tables fit the width of the terminal, 80 columns elsewhere, and have no frames. Colours only stress
what the words say; rich leaves them out with NO_COLOR, on a dumb terminal, and in a pipe.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from console.text import plain

STYLES = {
    "succeeded": "green",
    "pass": "green",
    "settled": "green",
    "rolled_back": "red",
    "refused": "red",
    "fail": "red",
    "error": "red",
    "rolling_back": "red",
    "aborted": "yellow",
    "superseded": "yellow",
    "inconclusive": "yellow",
    "paused": "yellow",
}


def to_json(view: Any, *, is_line: bool = False) -> str:
    """Views as JSON, with their fields' names; `from_` is written `from`. Times are RFC 3339,
    whatever is not ASCII is escaped, and a number that is not finite is null.
    """
    return json.dumps(_plain_value(view), indent=None if is_line else 2)


def _plain_value(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {
            name.rstrip("_"): _plain_value(getattr(value, name))
            for name in value.__dataclass_fields__
        }
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_value(each) for each in value]
    return value


def print_json(console: Console, view: Any, *, is_line: bool = False) -> None:
    console.out(to_json(view, is_line=is_line), highlight=False)


def print_line(console: Console, text: object, style: str = "") -> None:
    """One line of text, which a terminal may wrap."""
    console.print(plain(text, style), soft_wrap=True, highlight=False)


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], wide: str = ""
) -> None:
    """A table with one line for each row if there is room. The column `wide` takes what is left;
    all others keep their width as long as they can.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        is_wide = name == wide
        table.add_column(name.upper(), overflow="fold", ratio=1 if is_wide else None, no_wrap=False)
    for row in rows:
        table.add_row(*(plain(cell, STYLES.get(str(cell), "")) for cell in row))
    console.print(table)


def print_fields(console: Console, fields: Iterable[tuple[str, object]]) -> None:
    """Names and values; those without a value are left out."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        if value not in (None, "", ()):
            table.add_row(plain(name), plain(value, STYLES.get(str(value), "")))
    console.print(table)


def print_items(console: Console, title: str, items: Iterable[str]) -> None:
    """A title and a list below it; nothing without items."""
    found = [*items]
    if found:
        console.print()
        console.print(plain(title, "bold"))
        for each in found:
            table = Table.grid(padding=(0, 1, 0, 0))
            table.add_column(width=3)
            table.add_column(overflow="fold")
            table.add_row("  -", plain(each))
            console.print(table)
