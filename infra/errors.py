"""The exception that store, bus and Compute Engine share."""

from __future__ import annotations


class Unavailable(Exception):
    """The service did not answer in time, so the outcome is unknown. Try again later; never assume
    success.
    """

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
