"""Trouble that the store and the bus share. Kept apart so that neither imports the other."""

from __future__ import annotations


class Unavailable(Exception):
    """The service did not answer, or not in time: nothing is known of the outcome. Try again later;
    never assume done."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
