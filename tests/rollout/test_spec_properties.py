"""Properties of all messages: merging, storage, and that only `Invalid` is raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from rollout.spec.merge import merge
from rollout.spec.message import Invalid, ReleaseRequested, parse, resolve
from rollout.spec.model import Sections, Spec, digest, dump, load
from schemas.generate import message_schema

SCHEMA_OF_MESSAGES = Draft202012Validator(message_schema())
LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=10,
)
OBJECT = st.dictionaries(st.sampled_from("abc"), JSON, max_size=3)

# Values that are valid somewhere in a spec, to be put anywhere.
LIKELY: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, 1, 2, 3, 5, 100, 0.5, 1.0, "", "/", "/x", "*", "none", "external", "rate",
     "tiny:1", "us-central1", "A", "us-central1-a", "g2-standard-12", "nvidia-l4", "0 8 * * *", [],
     [100], [10, 50, 100], {"percent": 100}, {}, "x\n", "\ud800", float("nan")]
)  # fmt: skip
NESTED = st.one_of(LIKELY, JSON)


def shaped(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Messages with the fields of a spec and valid or arbitrary values."""
    if "properties" in schema:
        fields = {name: shaped(inner) for name, inner in schema["properties"].items()}
        return st.one_of(st.fixed_dictionaries({}, optional=fields), NESTED) if fields else NESTED
    if "enum" in schema:
        return st.one_of(st.sampled_from(schema["enum"]), NESTED)
    if "items" in schema:
        return st.one_of(st.lists(shaped(schema["items"]), max_size=3), NESTED)
    if isinstance(schema.get("additionalProperties"), dict):
        names = st.sampled_from(["a", "A", "day", "slipway-x", "", "1", "[key]", "a.b"])
        return st.one_of(
            st.dictionaries(names, shaped(schema["additionalProperties"]), max_size=3), NESTED
        )
    if "anyOf" in schema:
        return st.one_of([shaped(option) for option in schema["anyOf"]])
    if "integer" in schema["type"]:
        return st.one_of(st.integers(0, 12), st.integers(), NESTED)
    return st.one_of(st.floats(0.1, 1), NESTED)


RELEASE = message_schema()["else"]
PATCH = st.fixed_dictionaries(
    {}, optional={name: shaped(RELEASE["properties"][name]) for name in Sections.model_fields}
)


def valid_patches() -> st.SearchStrategy[dict[str, Any]]:
    """Patches that are mostly valid."""
    scaling = st.fixed_dictionaries(
        {},
        optional={
            "min": st.none() | st.integers(1, 4),
            "max": st.none() | st.integers(4, 9),
            "cpu": (
                st.none()
                | st.fixed_dictionaries(
                    {}, optional={"target": st.floats(0.1, 1), "predictive": st.booleans()}
                )
            ),
            "load_balancing": st.none() | st.just({}),
            "cool_down_seconds": st.none() | st.integers(0, 600),
        },
    )
    machine = st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from([None, "g2-standard-12", "a2-highgpu-2g", "e2-standard-4"]),
            "labels": (
                st.none()
                | st.dictionaries(
                    st.sampled_from(["a", "b"]), st.none() | st.sampled_from(["1", "2"])
                )
            ),
        },
    )
    rollout = st.fixed_dictionaries(
        {},
        optional={
            "unavailable": st.sampled_from([None, 0, 3]),
            "steps": st.sampled_from([None, [100], [50, {"percent": 100}]]),
        },
    )
    serving = st.fixed_dictionaries(
        {}, optional={"startup_seconds": st.none() | st.integers(1, 3600)}
    )
    sections = {"scaling": scaling, "machine": machine, "rollout": rollout, "serving": serving}
    return st.fixed_dictionaries(
        {}, optional={name: st.none() | section for name, section in sections.items()}
    )


def first() -> Spec:
    return resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": "tiny:1"}}), None)


@contextmanager
def legible() -> Iterator[None]:
    """Only `Invalid` is raised, and its text can be encoded."""
    refusals = []
    try:
        yield
    except Invalid as refused:
        refusals.append(refused)
    assert all(refused.problems and str(refused).encode() for refused in refusals)


@given(OBJECT)
def test_an_empty_patch_changes_nothing(target: dict[str, Any]) -> None:
    assert merge(target, {}) is not target
    assert repr(merge(target, {})) == repr(target)


@given(JSON, OBJECT)
def test_a_patch_applied_twice_is_a_patch_applied_once(
    target: object, patch: dict[str, Any]
) -> None:
    once = merge(target, patch)
    assert repr(merge(once, patch)) == repr(once)


@given(JSON, JSON.filter(lambda value: not isinstance(value, dict)))
def test_a_patch_that_is_not_an_object_replaces_the_target(target: object, patch: object) -> None:
    assert merge(target, patch) is patch


@given(OBJECT, OBJECT)
def test_unnamed_members_stay_and_null_removes_members(
    target: dict[str, Any], patch: dict[str, Any]
) -> None:
    merged = merge(target, patch)
    assert all(merged[name] is target[name] for name in target if name not in patch)
    assert not any(name in merged for name, value in patch.items() if value is None)


@given(OBJECT, OBJECT)
def test_merging_changes_neither_argument(target: dict[str, Any], patch: dict[str, Any]) -> None:
    before = repr((target, patch))
    merge(target, patch)
    assert repr((target, patch)) == before


@given(JSON)
def test_any_value_is_a_message_or_invalid(value: object) -> None:
    with legible():
        parse(value)


@settings(max_examples=150)
@given(PATCH)
def test_any_patch_with_the_fields_of_a_spec_resolves_or_is_invalid(patch: dict[str, Any]) -> None:
    for base in (None, first()):
        with legible():
            spec = resolve(ReleaseRequested("tiny", "2", patch), base)
            assert load(dump(spec)) == spec


@settings(max_examples=150)
@given(PATCH)
def test_the_schema_accepts_every_message_that_parse_accepts(patch: dict[str, Any]) -> None:
    message = {"model": "tiny", "version": "2", **patch}
    try:
        parse(message)
    except Invalid:
        return
    SCHEMA_OF_MESSAGES.validate(message)


@given(valid_patches(), valid_patches())
def test_a_spec_survives_storage_and_inheritance_unchanged(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    spec = resolve(
        ReleaseRequested("tiny", "2", other), resolve(ReleaseRequested("tiny", "2", one), first())
    )
    again = load(dump(spec))
    assert again == load(dump(spec), digest(spec)) == spec
    assert digest(again) == digest(spec)
    assert resolve(ReleaseRequested("tiny", "3"), again) == spec


@given(valid_patches(), valid_patches())
def test_two_releases_resolve_like_one_release_with_both_patches(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Defaults of the first release leave no trace."""
    in_two = resolve(
        ReleaseRequested("tiny", "3", other), resolve(ReleaseRequested("tiny", "2", one), first())
    )
    stated = merge(merge({"artifact": {"image": "tiny:1"}}, one), other)
    assert resolve(ReleaseRequested("tiny", "3", stated), None) == in_two
