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
            "3e358ca87306c57bd0f6888a950d38dcec9a6466e3566457ed15aba3c398c36d",
        ),
        (
            {"image": DIGEST, "args": ["--path=/a b", "ü"], "env": {"B": "2", "A": "1"}},
            "5fd5ac94a4ad854c60b31436de289e0c29aa9a88ae50c3a357ebf8667083db6f",
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
