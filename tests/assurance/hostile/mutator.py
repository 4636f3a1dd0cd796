"""Mutates a message as a sender's mistakes would: within its JSON, one field at a time. Used by
fuzz.py.

Randomly changed bytes hardly ever pass the parser. Here fields are removed, moved, or replaced by
another message's value of the same field or by a value that no field may have; the fuzzer continues
with whatever reached new code.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

JUNK: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        0.5,
        100,
        65_535,
        65_536,
        2**31,
        2**63,
        10**17,
        1e17,
        1e308,
        5e-324,
        -0.0,
    ),
    *(
        "",
        " ",
        "0",
        "null",
        "\x00",
        "\n",
        "\u202e",
        "\ud800",
        "é",
        "/",
        "..",
        "*",
        "a" * 64,
        "A",
        "169.254.169.254",
    ),
    *([], {}, [None], [[]], [{}], {"": None}),
)
Place = tuple[Any, Any]  # a container, and the name or the index of a value in it


class Mutator:
    """`mutate_text` changes a text at random, as libFuzzer changes bytes."""

    def __init__(self, seeds: Iterable[bytes], mutate_text: Callable[[bytes], bytes]) -> None:
        self.values_by_name: dict[str, list[Any]] = {}
        self.mutate_text = mutate_text
        for seed in seeds:
            for holder, name in _places(_read(seed)):
                self._remember(name, holder[name])

    def mutate(self, data: bytes, chance: Random) -> bytes | None:
        """The message with one to three changes, or None if the bytes are not a message."""
        message = _read(data)
        if not isinstance(message, dict):
            return None
        for _ in range(chance.randint(1, 3)):
            places = _places(message)
            if places:
                self._change(*chance.choice(places), chance)
        if chance.random() < 0.2:
            message[chance.choice(list(self.values_by_name))] = self._value_from_elsewhere(
                chance.choice(list(self.values_by_name)), chance
            )
        return json.dumps(message).encode()

    def _change(self, holder: Any, name: Any, chance: Random) -> None:
        match chance.randrange(6):
            case 0:
                del holder[name]
            case 1:
                holder[name] = copy.deepcopy(chance.choice(JUNK))
            case 2 | 3:
                holder[name] = self._value_from_elsewhere(name, chance)
            case 4 if isinstance(holder[name], dict) and self.values_by_name:
                more = chance.choice(list(self.values_by_name))
                holder[name][more] = self._value_from_elsewhere(more, chance)
            case _:
                holder[name] = self._near(holder[name], chance)

    def _value_from_elsewhere(self, name: Any, chance: Random) -> Any:
        """A value that a field of this name has in another message."""
        return copy.deepcopy(chance.choice(self.values_by_name.get(str(name)) or JUNK))

    def _near(self, value: Any, chance: Random) -> Any:
        match value:
            case bool():
                return not value
            case int() | float():
                return chance.choice(
                    (value + 1, value - 1, -value, value * 10, value + 0.5, str(value))
                )
            case str():
                return self.mutate_text(value.encode(errors="replace")).decode(errors="replace")
            case list():
                return chance.choice(
                    ([*value, *value], value[1:], value[::-1], {"0": value}, value * 70)
                )
            case _:
                return [value]

    def _remember(self, name: Any, value: Any) -> None:
        known = self.values_by_name.setdefault(str(name), [])
        if value not in known and len(known) < 50:
            known.append(value)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _places(value: Any) -> list[Place]:
    """Every place in a value, without recursion: it may be deep."""
    found: list[Place] = []
    left = [value]
    while left:
        holder = left.pop()
        names: Iterable[Any] = (
            holder
            if isinstance(holder, dict)
            else range(len(holder))
            if isinstance(holder, list)
            else ()
        )
        for name in names:
            found.append((holder, name))
            left.append(holder[name])
    return found
