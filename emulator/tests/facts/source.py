"""The marker of a fact: a test of one statement about Compute Engine, with where the statement
comes from.

    @fact("API reference, updatePolicy.maxSurge")
    @fact("API reference, versions[].targetSize", assumed="percentages round half up")

`assumed`: UNCONFIRMED. The source leaves it open and the stand-in holds what is said there; who
knows better from a real project corrects both. Sources: "API reference" is the discovery document
of compute.v1; "documentation" a page under cloud.google.com/compute/docs or /load-balancing/docs;
"observed" what Google's clients or the service were seen to do, with who saw it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])


def fact(source: str, *, assumed: str = "") -> Callable[[Test], Test]:
    """Keep a test's source with it."""

    def mark(test: Test) -> Test:
        test.source, test.assumed = source, assumed  # type: ignore[attr-defined]
        return test

    return mark
