"""Names for a group's new VMs."""

from __future__ import annotations

import random
import re
from collections.abc import Container

ALPHABET = "0123456789bcdfghjklmnpqrstvwxz"


class NameGenerator:
    """Base name plus four random characters; or the next number if the base ends in `#` signs:
    `vm-##` gives vm-01.
    """

    __slots__ = ("_chance", "_number")

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._number = 0

    def new(self, base: str, taken: Container[str]) -> str:
        hashes = re.search(r"#+$", base)
        while True:
            if hashes:
                self._number += 1
                name = base[: hashes.start()] + str(self._number).zfill(len(hashes[0]))
            else:
                name = f"{base}-" + "".join(self._chance.choices(ALPHABET, k=4))
            if name not in taken:
                return name
