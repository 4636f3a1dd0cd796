"""The marker of a fact: a test of one statement about Compute Engine, with its source.

    @fact("API reference, updatePolicy.maxSurge")
    @fact("API reference, versions[].targetSize", assumed="percentages round half up")

`assumed` marks what is UNCONFIRMED: the source is silent and the emulator behaves as stated. If you
know better from a real project, correct the fact and the emulator. Sources: "API reference" is the
discovery document of compute.v1; "documentation" is a page under cloud.google.com/compute/docs or
/load-balancing/docs; "observed" is what Google's clients or the service were seen to do, and who
saw it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def fact(source: str, *, assumed: str = "") -> Callable[[Test], Test]:
    """Record the source of a fact on its test."""

    def mark(test: Test) -> Test:
        test.source, test.assumed = source, assumed  # type: ignore[attr-defined]
        return test

    return mark
