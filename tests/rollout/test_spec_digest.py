"""The digest of a spec changes with its content only."""

from __future__ import annotations

import pytest

from tests.rollout.build import release

DIGEST = f"host/app@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("artifact", "expected"),
    [
        (
            {"image": DIGEST},
            "3c6b83d2f66101c5d5c2a0f00ecf0b8c979c450463763b3be0369278c718e4df",
        ),
        (
            {"image": DIGEST, "args": ["--path=/a b", "ü"], "env": {"B": "2", "A": "1"}},
            "be371407193e6e129049a95956d7752e972c92a86ad40fe95156051fce8f4f52",
        ),
    ],
    ids=["plain", "rich"],
)
def test_the_digest_of_a_spec_never_changes(artifact: dict[str, object], expected: str) -> None:
    """With another digest, every unchanged spec would count as a new release."""
    assert release("1", artifact=artifact).digest == expected


def test_a_step_has_the_same_digest_in_either_form() -> None:
    short, long = (
        release("1", rollout={"steps": steps}).digest
        for steps in ([20, 100], [{"percent": 20}, {"percent": 100}])
    )
    assert short == long


def test_the_digest_depends_on_the_image_and_not_on_its_signature() -> None:
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
