"""A release's digest: what names its template, so that it may change with what is asked for and
with nothing else."""

from __future__ import annotations

import pytest

from tests.rollout.build import release

DIGEST = f"host/app@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("artifact", "expected"),
    [
        (
            {"image": DIGEST},
            "d12d8a5c6fc4a0f07f7d7778b23c2c825b1dee23a556c584db5a11d16e25349c",
        ),
        (
            {"image": DIGEST, "args": ["--path=/a b", "ü"], "env": {"B": "2", "A": "1"}},
            "10cf6f3ce9c761fd65e85b4e652ed87805ab3297514ae6440cd5a4be515bcc21",
        ),
    ],
    ids=["plain", "rich"],
)
def test_the_same_spec_has_the_same_digest_for_ever(
    artifact: dict[str, object], expected: str
) -> None:
    """Another value here would give every model that serves a new template at its next release,
    though nothing was asked for."""
    assert release("1", artifact=artifact).digest == expected


def test_who_signed_an_image_changes_no_digest_and_the_image_does() -> None:
    plain, signed, other = (
        release("1", artifact=artifact).digest
        for artifact in (
            {"image": DIGEST},
            {"image": DIGEST, "signature": "A" * 88},
            {"image": f"{DIGEST[:-1]}1"},
        )
    )
    assert plain == signed
    assert plain != other
