"""What must hold of any bytes that are taken for a message: refused in words, or the same after every way that a spec goes."""

from __future__ import annotations

import json
from functools import lru_cache

from infra.resources import instance_template
from infra.resources.instance_template import metadata, user_data
from rollout.events import Invalid, ReleaseRequested, decode_json, parse, resolve
from rollout.spec import Spec, digest, dump, incompatible, load


def check(data: bytes) -> bool:
    """Whether it is a message that Slipway takes. Raises AssertionError where the property is broken, and whatever else comes."""
    try:
        asked = parse(decode_json(data))
    except Invalid as refused:
        return _is_legible(refused)
    if not isinstance(asked, ReleaseRequested):
        return True
    return [_resolves(asked, base) for base in (None, first(asked.model))] != [False, False]


@lru_cache(100)
def first(model: str) -> Spec:
    return resolve(ReleaseRequested(model, "0", {"artifact": {"image": "tiny:1"}}), None)


def _resolves(asked: ReleaseRequested, base: Spec | None) -> bool:
    try:
        spec = resolve(asked, base)
    except Invalid as refused:
        return _is_legible(refused)
    again = load(json.loads(json.dumps(dump(spec))))
    assert again == spec, "a spec is not the same after its document"
    assert digest(again) == digest(spec)
    assert resolve(ReleaseRequested(asked.model, "2"), spec) == spec, "a release that says nothing changes something"
    assert not any(map(_is_silent, incompatible(first(asked.model), spec)))
    assert instance_template.name(asked.model, again) == instance_template.name(asked.model, spec)
    assert metadata(spec).get("user-data") in (None, user_data()), "what machines run depends on what was asked for"
    return True


def _is_legible(refused: Invalid) -> bool:
    """False, as the message was refused: in words that can be written down, and not in endless ones."""
    assert refused.problems
    assert 0 < len(str(refused).encode()) < 60_000
    return False


def _is_silent(problem: object) -> bool:
    return not str(problem)
