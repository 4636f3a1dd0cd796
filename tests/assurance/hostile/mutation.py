"""Changes a message the way that a sender errs: within its JSON, one field at a time. Used by
tests/assurance/hostile/fuzz.py.

Bytes changed at random are hardly ever a message that comes past the parser. Here fields are left
out, moved, swapped for what the same field says elsewhere, or for what no field may say; the fuzzer
goes on from whatever of that reached new code."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from random import Random
from typing import Any

STRANGE: tuple[Any, ...] = (
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
Place = tuple[Any, Any]  # what holds a value, and the name or the number that it has there


class Mutator:
    """`texts` changes a text by chance; it is libFuzzer's own way to change bytes."""

    def __init__(self, seeds: Iterable[bytes], texts: Callable[[bytes], bytes]) -> None:
        self.said: dict[str, list[Any]] = {}
        self.texts = texts
        for seed in seeds:
            for holder, name in _places(_read(seed)):
                self._learn(name, holder[name])

    def changed(self, data: bytes, chance: Random) -> bytes | None:
        """The message with one to three changes, or None where the bytes are no message."""
        message = _read(data)
        if not isinstance(message, dict):
            return None
        for _ in range(chance.randint(1, 3)):
            places = _places(message)
            if places:
                self._change(*chance.choice(places), chance)
        if chance.random() < 0.2:
            message[chance.choice(list(self.said))] = self._other(
                chance.choice(list(self.said)), chance
            )
        return json.dumps(message).encode()

    def _change(self, holder: Any, name: Any, chance: Random) -> None:
        match chance.randrange(6):
            case 0:
                del holder[name]
            case 1:
                holder[name] = copy.deepcopy(chance.choice(STRANGE))
            case 2 | 3:
                holder[name] = self._other(name, chance)
            case 4 if isinstance(holder[name], dict) and self.said:
                more = chance.choice(list(self.said))
                holder[name][more] = self._other(more, chance)
            case _:
                holder[name] = self._near(holder[name], chance)

    def _other(self, name: Any, chance: Random) -> Any:
        """What a field of that name says elsewhere."""
        return copy.deepcopy(chance.choice(self.said.get(str(name)) or STRANGE))

    def _near(self, value: Any, chance: Random) -> Any:
        match value:
            case bool():
                return not value
            case int() | float():
                return chance.choice(
                    (value + 1, value - 1, -value, value * 10, value + 0.5, str(value))
                )
            case str():
                return self.texts(value.encode(errors="replace")).decode(errors="replace")
            case list():
                return chance.choice(
                    ([*value, *value], value[1:], value[::-1], {"0": value}, value * 70)
                )
            case _:
                return [value]

    def _learn(self, name: Any, value: Any) -> None:
        known = self.said.setdefault(str(name), [])
        if value not in known and len(known) < 50:
            known.append(value)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _places(value: Any) -> list[Place]:
    """Every place in it, without recursion: nobody promised that it is not deep."""
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
