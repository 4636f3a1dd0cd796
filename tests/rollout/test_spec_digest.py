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
            "b32222bf009834ed8abc7346d6ffaf183620715fbe86937713a633b4a4773119",
        ),
        (
            {"image": DIGEST, "args": ["--path=/a b", "ü"], "env": {"B": "2", "A": "1"}},
            "664c7706e60bd62c3566a2e23dc343d47122bf6539923e393771b84e0e1dea2b",
        ),
    ],
    ids=["plain", "rich"],
)
def test_the_digest_of_a_spec_never_changes(artifact: dict[str, object], expected: str) -> None:
    """With another digest, every unchanged spec would count as a new release."""
    assert release("1", artifact=artifact).digest == expected


def test_a_step_has_the_same_digest_with_and_without_its_default_hold() -> None:
    short, long = (
        release("1", rollout={"steps": steps}).digest
        for steps in (
            [{"percent": 20}, {"percent": 100}],
            [{"percent": 20, "hold_seconds": 480}, {"percent": 100, "hold_seconds": 60}],
        )
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
