"""`decode_json`: strict, bounded, and quick to refuse."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.spec.message import Invalid, decode_json
from rollout.spec.strict_json import MAX_BYTES

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


def refusal(data: bytes) -> str:
    with pytest.raises(Invalid) as refused:
        decode_json(data)
    return str(refused.value)


@given(JSON)
def test_json_comes_back_as_it_was(value: object) -> None:
    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    with suppress(Invalid):
        decode_json(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "must be JSON: Expecting value at line 1, column 1"),
        (b"{", "must be JSON"),
        (b"{'a': 1}", "must be JSON"),
        (b'{"a": 1} {}', "must be JSON: Extra data"),
        (b"\xef\xbb\xbf{}", "must be JSON"),
        (b'"\xff"', "must be UTF-8, got byte 0xff at 1"),
        (b'{"a": {"b": 1, "c": 2, "b": 1}}', "must not repeat a name in one object: b"),
        (b'{"a": NaN}', "must contain only JSON numbers, got NaN"),
        (b"[-Infinity]", "must contain only JSON numbers, got -Infinity"),
        (b"[1e309]", "must not contain a number beyond 1.8e308"),
        (
            b"[" + b"9" * 19 + b"]",
            "must not contain an integer of more than 18 digits, got one of 19",
        ),
        (
            b"[" + b"9" * 60000 + b"]",
            "must not contain an integer of more than 18 digits, got one of 60000",
        ),
        (b'{"a": "\\ud800"}', "must not contain a lone surrogate"),
        (b"[" * 20 + b"]" * 20, "must not be nested deeper than 16 levels"),
        (b"[" * MAX_BYTES, "must not be nested deeper than 16 levels"),
        (b'{"a":' * 12000 + b"1", "must not be nested deeper than 16 levels"),
        (b" " * (MAX_BYTES + 1), "must be at most 65536 bytes, got 65537"),
    ],
    ids=lambda part: repr(part)[:40].replace("\\", "/"),
)
def test_what_readers_of_json_may_disagree_on_is_refused_with_the_reason(
    data: bytes, why: str
) -> None:
    assert why in refusal(data)


def test_a_refusal_of_a_large_message_is_short() -> None:
    assert len(refusal(b'{"' + b"x" * 60000 + b'": 1, "' + b"x" * 60000 + b'": 2}')) < 300
