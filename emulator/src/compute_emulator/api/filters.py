"""The `filter` of list requests: comparisons, AND, OR, NOT and brackets, and the older `field eq
regex`.

    name = "a*b"    name != x    labels.app:llm    size >= 3    (a=1) (b=2)    name eq 'web-.*'

Adjacent comparisons mean AND. `:` matches a substring of a string, a member of a list, or any
present value with `*`. `eq` and `ne` take a regular expression that must match the whole value.
Source: Compute API reference, parameter `filter` of list methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from compute_emulator.errors import Invalid, JsonObject

Matcher = Callable[[JsonObject], bool]
TOKEN = re.compile(
    r"""\s*(?:
        (?P<bracket>[()])
      | (?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>!=|<=|>=|=|<|>|:)
      | (?P<word>[^\s()=!<>:"']+)
    )""",
    re.VERBOSE,
)


@lru_cache(maxsize=256)
def matcher(expression: str) -> Matcher:
    """Raises `Invalid` for a malformed expression."""
    return _Reader(expression).read()


class _Reader:
    """Recursive descent over the tokens: or -> and -> not -> comparison."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(expression.rstrip()):
            found = TOKEN.match(expression, at)
            if found is None:
                raise self.invalid()
            self.tokens.append((str(found.lastgroup), found.group(str(found.lastgroup))))
            at = found.end()
        self.at = 0

    def invalid(self) -> Invalid:
        return Invalid("filter", self.expression, "Invalid list filter expression.")

    def read(self) -> Matcher:
        result = self._any()
        if self.at != len(self.tokens):
            raise self.invalid()
        return result

    def _peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self.at >= len(self.tokens):
            raise self.invalid()
        self.at += 1
        return self.tokens[self.at - 1]

    def _any(self) -> Matcher:
        parts = [self._all()]
        while self._peek() == "OR":
            self._next()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else lambda item: any(part(item) for part in parts)

    def _all(self) -> Matcher:
        parts = [self._one()]
        while self._peek() not in ("", ")", "OR"):
            if self._peek() == "AND":
                self._next()
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda item: all(part(item) for part in parts)

    def _one(self) -> Matcher:
        if self._peek() == "NOT" or self._peek().startswith("-"):
            kind, sign = self._next()
            if len(sign) > 1 and sign != "NOT":  # `-name=x` is `NOT name=x`
                self.at -= 1
                self.tokens[self.at] = (kind, sign[1:])
            inner = self._one()
            return lambda item: not inner(item)
        if self._peek() == "(":
            self._next()
            inside = self._any()
            if self._next()[1] != ")":
                raise self.invalid()
            return inside
        return self._comparison()

    def _comparison(self) -> Matcher:
        kind, name = self._next()
        sign = self._next()[1]
        value_kind, value = self._next()
        if kind != "word" or value_kind not in ("word", "quoted"):
            raise self.invalid()
        if value[:1] in "\"'":
            value = (
                re.sub(r"\\(.)", r"\1", value[1:-1]) if sign not in ("eq", "ne") else value[1:-1]
            )
        path = name.split(".")
        try:
            test = _test(sign, value)
        except (KeyError, re.error) as unreadable:
            raise self.invalid() from unreadable
        return lambda item: test(_member(item, path))


def _member(item: Any, path: list[str]) -> Any:
    for at, name in enumerate(path):
        if isinstance(item, list):
            return [_member(each, path[at:]) for each in item]
        item = item.get(name) if isinstance(item, dict) else None
    return item


def _test(sign: str, value: str) -> Callable[[Any], bool]:
    match sign:
        case "eq" | "ne":
            pattern = re.compile(value)
            return lambda given: (pattern.fullmatch(_text(given)) is not None) == (sign == "eq")
        case "=":
            return _equal(value)
        case "!=":
            equal = _equal(value)
            return lambda given: not equal(given)
        case ":":
            return _has(value)
        case _:
            return _order(sign, value)


def _text(given: Any) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    return "" if given is None else str(given)


def _equal(value: str) -> Callable[[Any], bool]:
    pattern = re.compile(re.escape(value).replace(r"\*", ".*"))
    return lambda given: pattern.fullmatch(_text(given)) is not None


def _has(value: str) -> Callable[[Any], bool]:
    def test(given: Any) -> bool:
        if value == "*":
            return given is not None
        if isinstance(given, list):
            return any(test(each) for each in given)
        if isinstance(given, dict):
            return value in given
        return value.strip("*") in _text(given)

    return test


def _order(sign: str, value: str) -> Callable[[Any], bool]:
    compare: dict[str, Callable[[Any, Any], bool]] = {
        "<": lambda a, b: bool(a < b),
        "<=": lambda a, b: bool(a <= b),
        ">": lambda a, b: bool(a > b),
        ">=": lambda a, b: bool(a >= b),
    }
    chosen = compare[sign]

    def test(given: Any) -> bool:
        try:
            return chosen(float(given), float(value))
        except (TypeError, ValueError):
            return given is not None and chosen(str(given), value)

    return test
