"""`decode_json` is strict and limited in size and depth."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.spec.message import Invalid, decode_json
from rollout.spec.strict_json import MAX_BYTES, MAX_DIGITS

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
def test_valid_json_is_decoded_unchanged(value: object) -> None:
    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
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
def test_ambiguous_json_is_refused_with_the_reason(data: bytes, why: str) -> None:
    assert why in refusal(data)


def test_a_refusal_of_a_large_message_is_short() -> None:
    assert len(refusal(b'{"' + b"x" * 60000 + b'": 1, "' + b"x" * 60000 + b'": 2}')) < 300


def test_a_message_of_the_maximum_size_is_decoded_and_one_more_byte_is_refused() -> None:
    assert MAX_BYTES == 65536
    assert decode_json(b" " * (MAX_BYTES - 2) + b"{}") == {}
    assert (
        refusal(b" " * (MAX_BYTES - 1) + b"{}") == "message: must be at most 65536 bytes, got 65537"
    )


def test_an_integer_of_the_maximum_length_is_decoded_and_one_more_digit_is_refused() -> None:
    assert MAX_DIGITS == 18
    assert decode_json(b"-" + b"9" * 18) == -(10**18 - 1)
    assert (
        refusal(b"-" + b"9" * 19)
        == "message: must not contain an integer of more than 18 digits, got one of 20"
    )
    assert decode_json(b"1.5e10") == 1.5e10
    assert refusal(b"[-1e309]") == "message: must not contain a number beyond 1.8e308"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            b'{"a": 1,\n "b" 2}',
            "message: must be JSON: Expecting ':' delimiter at line 2, column 6",
        ),
        (b'"ab\xc3"', "message: must be UTF-8, got byte 0xc3 at 3"),
        (b'"\x05"', "message: must be JSON: Invalid control character at at line 1, column 2"),
        (
            b'{"a": 1, "b": 2, "c": 3, "b": 4, "a": 5}',
            "message: must not repeat a name in one object: a",
        ),
        (
            b'{"\\u202e": 1, "\\u202e": 2}',
            'message: must not repeat a name in one object: "\\u202e"',
        ),
        (b"[NaN]", "message: must contain only JSON numbers, got NaN"),
        (b"[" * 60000, "message: must not be nested deeper than 16 levels"),
    ],
)
def test_a_refusal_names_the_problem_and_the_place(data: bytes, why: str) -> None:
    assert refusal(data) == why
