"""Text of others controls no terminal."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from console.output import print_fields, print_items, print_line, print_table
from console.text import escape, span


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain text, ü and 東京", "plain text, ü and 東京"),
        ("\x1b[31mred\x1b]0;title\x07", "\\x1b[31mred\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),  # a control sequence in one character
        ("two\nlines\r\tand", "two\\nlines\\r\\tand"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),  # changes the direction of writing
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),  # not visible
        ("line\u2028separator", "line\\u2028separator"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_a_terminal_would_act_on_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped


@given(st.text())
def test_escaped_text_is_printable(text: str) -> None:
    assert all(each.isprintable() for each in escape(text))


@pytest.mark.parametrize(
    "text", ["[red]x[/red]", "[link=http://evil]x[/link]", "[/]", "[@click=a]"]
)
def test_markup_in_text_of_others_is_text(text: str) -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    print_line(console, text)
    print_table(console, ("a", "b"), [(text, text)], wide="b")
    print_fields(console, [("name", text), (text, "value")])
    print_items(console, text, [text])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count(text) == 7


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (86400 * 3 + 4 * 3600 + 59, "3 d 4 h"),
    ],
)
def test_a_span_has_two_units_at_most(seconds: float, text: str) -> None:
    assert span(timedelta(seconds=seconds)) == text
