"""The kinds of value that a spec is made of, each asked by itself: limits that count first, names,
machines, cron, decoding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout.model import (
    Baking,
    Phase,
    Retiring,
    RollingBack,
    Settled,
    Stepping,
    phase_name,
    step_name,
)
from rollout.spec.cron import cron_problem
from rollout.spec.defaults import fill_defaults, inheritable
from rollout.spec.machines import (
    CHOSEN,
    FIXED,
    accelerator_problem,
    fixed_accelerator,
    is_of_unknown_series,
)
from rollout.spec.merge import merge, without_nulls
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import Accelerator, Machine, Placement, Sections, Spec, at_most, dump
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import MAX_BYTES, MAX_DIGITS, decode_json
from rollout.spec.types import Allowed, DefaultsTo, is_model_name
from schemas.generate import replace_marked
from tests.rollout.build import NOON, instances, release

# ---- Limits


def test_a_limit_counts_before_anything_is_looked_at() -> None:
    count: Any = at_most(2).func
    for full in ([object(), object()], (1, 2), {"a": 1, "b": 2}):
        assert count(full) == (tuple(full) if isinstance(full, list) else full)
    for over in ([1, 2, 3], (1, 2, 3), {"a": 1, "b": 2, "c": 3}):
        with pytest.raises(ValueError, match=r"^too many$"):
            count(over)


@pytest.mark.parametrize("value", ["a long text", 12345, None, {1, 2, 3}])
def test_a_limit_is_about_lists_and_maps_alone(value: object) -> None:
    count: Any = at_most(2).func
    assert count(value) is value


# ---- Names


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("tiny", True),
        ("a" * 40, True),
        ("a" * 41, False),
        ("Tiny", False),
        ("tiny-", False),
        ("", False),
    ],
)
def test_a_models_name_is_one_by_itself_too(name: str, is_one: bool) -> None:
    assert is_model_name(name) is is_one


def test_a_group_that_names_no_zones_has_three() -> None:
    assert Placement().zone_count == 3
    assert Placement(zones=("us-central1-a",)).zone_count == 1


@pytest.mark.parametrize(
    ("phase", "name"),
    [
        (Settled(), "settled"),
        (Stepping(0, NOON), "step_1"),
        (Stepping(11, NOON), "step_12"),
        (Baking(NOON), "baking"),
        (RollingBack("aborted", "aborted", "", NOON), "rolling_back"),
        (Retiring(NOON, ""), "retiring"),
    ],
)
def test_a_phase_is_called_as_people_know_it(phase: Phase, name: str) -> None:
    assert phase_name(phase) == name
    assert step_name(4) == "step_5"


@pytest.mark.parametrize(
    ("action", "status", "is_settled"),
    [("NONE", "RUNNING", True), ("NONE", "STAGING", False), ("VERIFYING", "RUNNING", False)],
)
def test_an_instance_is_settled_when_it_runs_and_nothing_is_done_to_it(
    action: str, status: str, is_settled: bool
) -> None:
    [one] = instances(release("1"), 1, action=action)
    assert replace(one, status=status).is_settled == is_settled


# ---- Machines


def test_a_machine_that_brings_accelerators_says_how_many() -> None:
    assert fixed_accelerator("g2-standard-48") == Accelerator(type="nvidia-l4", count=4)
    assert fixed_accelerator("n1-standard-4") is None


@pytest.mark.parametrize(
    ("machine_type", "is_unknown"),
    [
        ("n1-standard-1", False),
        ("e2-micro", False),
        ("a4-highgpu-8g", False),
        ("z9-standard-4", True),
        ("ct6e-standard-4t", True),
    ],
)
def test_a_series_is_known_or_may_bring_anything(machine_type: str, is_unknown: bool) -> None:
    assert is_of_unknown_series(machine_type) == is_unknown


@pytest.mark.parametrize("kind", CHOSEN)
def test_n1_takes_accelerators_by_the_counts_they_come_in(kind: str) -> None:
    for count in range(1, 10):
        machine = Machine(type="n1-standard-4", accelerator=Accelerator(type=kind, count=count))
        assert (accelerator_problem(machine) is None) == (count in CHOSEN[kind])
    assert accelerator_problem(Machine(type="n1-standard-4")) is None


def test_a_machine_that_brings_accelerators_may_be_given_the_very_same() -> None:
    for machine_type, (kind, count) in FIXED.items():
        assert (
            accelerator_problem(
                Machine(type=machine_type, accelerator=Accelerator(type=kind, count=count))
            )
            is None
        )
        assert accelerator_problem(Machine(type=machine_type)) is None


# ---- Cron


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("* * * *", "has 4 fields instead of 5"),
        ("* * * * * *", "has 6 fields instead of 5"),
        ("60 * * * *", "has no valid minute"),
        ("* 24 * * *", "has no valid hour"),
        ("* * 0 * *", "has no valid day of month"),
        ("* * 32 * *", "has no valid day of month"),
        ("* * * 0 *", "has no valid month"),
        ("* * * 13 *", "has no valid month"),
        ("* * * * 8", "has no valid day of week"),
        ("* * * * JAN", "has no valid day of week"),
        ("* * * SUN *", "has no valid month"),
        ("60 24 * * *", "has no valid minute"),
        ("1/0 * * * *", "has no valid minute"),
        ("1/ * * * *", "has no valid minute"),
        ("1/123 * * * *", "has no valid minute"),
        ("*-5 * * * *", "has no valid minute"),
        ("5-4 * * * *", "has no valid minute"),
        ("050 * * * *", "has no valid minute"),
        ("0 0 30 2 *", "names a day that its months do not have"),
        ("0 0 31 2,4,6,9,11 *", "names a day that its months do not have"),
        ("0 0 30-31 FEB *", "names a day that its months do not have"),
    ],
)
def test_what_is_wrong_with_a_cron_line_is_said(line: str, problem: str) -> None:
    assert cron_problem(line) == problem


@pytest.mark.parametrize(
    "line",
    [
        *(
            "59 23 31 12 7",
            "0 0 1 1 0",
            "00 00 01 01 00",
            "5-5 * * * *",
            "0-59 * * * *",
            "0/59 * * * *",
            "1,2,3 * * * *",
        ),
        *(
            "0 0 29 2 *",
            "0 0 29 FEB *",
            "0 0 31 dec Sat",
            "0 0 31 JAN *",
            "0 0 31 3 *",
            "0 0 31 5 *",
            "0 0 31 7 *",
            "0 0 31 8 *",
        ),
        *(
            "0 0 31 10 *",
            "0 0 30 4,2 *",
            "0 0 30 6 *",
            "0 0 30 9 *",
            "0 0 30 11 *",
            "0 0 30 2 1",
            "0 0 2-30/28 2 *",
            "0 0 20/10 4 *",
        ),
    ],
)
def test_a_cron_line_that_can_come_true_is_taken(line: str) -> None:
    assert cron_problem(line) is None


def test_a_step_counts_from_its_first_day() -> None:
    assert cron_problem("0 0 */29 2 *") is None  # the 1st as well
    assert cron_problem("0 0 30/1 2 *") == "names a day that its months do not have"
    assert cron_problem("0 0 30-31/1 2 */2") == "names a day that its months do not have"


# ---- Decoding


def refusal(data: bytes) -> str:
    with pytest.raises(Invalid) as refused:
        decode_json(data)
    return str(refused.value)


def test_a_message_of_just_the_size_is_read_and_a_byte_more_is_not() -> None:
    assert MAX_BYTES == 65536
    assert decode_json(b" " * (MAX_BYTES - 2) + b"{}") == {}
    assert (
        refusal(b" " * (MAX_BYTES - 1) + b"{}") == "message: must be at most 65536 bytes, got 65537"
    )


def test_numbers_of_just_the_length_are_read_and_a_digit_more_is_not() -> None:
    assert MAX_DIGITS == 18
    assert decode_json(b"-" + b"9" * 18) == -(10**18 - 1)
    assert (
        refusal(b"-" + b"9" * 19)
        == "message: must not contain an integer of more than 18 digits, got one of 20"
    )
    assert decode_json(b"1.5e10") == 1.5e10
    assert refusal(b"[-1e309]") == "message: must not contain a number beyond 1.8e308"


@pytest.mark.parametrize(
    ("data", "told"),
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
def test_a_refusal_says_what_and_where(data: bytes, told: str) -> None:
    assert refusal(data) == told


# ---- Defaults and merging


def whole(**patch: Any) -> Spec:
    return resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": "tiny:1"}} | patch), None)


def test_what_followed_from_other_fields_is_named_and_not_inherited() -> None:
    spec = whole()
    assert spec.defaulted == (
        "machine.image",
        "rollout.surge",
        "scaling.cool_down_seconds",
        "scaling.cpu",
        "serving.liveness_path",
        "traffic.max_utilization",
        "traffic.path",
    )
    inherited = inheritable(spec)
    assert "defaulted" not in inherited
    for path in spec.defaulted:
        section, field = path.split(".")
        assert field not in inherited[section], path
    assert inherited["artifact"] == {"image": "tiny:1", "args": [], "env": {}, "secrets": {}}
    assert inherited["scaling"]["max"] == 5


def test_what_is_set_is_left_alone() -> None:
    spec = whole(traffic={"path": "/x", "max_utilization": 0.5}, machine={"type": "g2-standard-24"})
    assert (spec.traffic.path, spec.traffic.max_utilization) == ("/x", 0.5)
    assert "traffic.path" not in spec.defaulted
    assert "machine.accelerator" in spec.defaulted
    assert (
        fill_defaults(
            Sections(**{name: getattr(spec, name) for name in Sections.model_fields}), "other"
        ).defaulted
        == ()
    )
    assert dump(spec)["defaulted"] == list(spec.defaulted)


def test_merging_goes_into_objects_alone() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": {"e": None, "f": 3}}}) == {
        "a": {"c": 2, "d": {"f": 3}}
    }
    assert merge({"a": 1}, {"b": None}) == {"a": 1}
    assert without_nulls({"a": None, "b": {"c": None}, "d": [None, {"e": None}]}) == {
        "b": {},
        "d": [None, {"e": None}],
    }
    assert without_nulls(3) == 3


# ---- What is written between marks


def test_a_part_takes_the_place_of_what_stands_between_its_marks_once() -> None:
    text = (
        "a\n<!-- x: by hand -->\nold\n\nolder\n<!-- end of x -->\nb\n<!-- y: -->\n\n<!-- end of y"
        " -->\n"
    )
    made = replace_marked(text, "x", "new \\1")
    assert (
        made
        == "a\n<!-- x: by hand -->\n\nnew \\1\n\n<!-- end of x -->\nb\n<!-- y: -->\n\n<!-- end of y"
        " -->\n"
    )
    assert replace_marked(made, "x", "new \\1") == made
    with pytest.raises(ValueError, match=r"^no place is marked z$"):
        replace_marked(text, "z", "new")


# ---- References


@pytest.mark.parametrize(
    ("section", "field", "given", "read"),
    [
        ("traffic", "certificate", "mine", "global/sslCertificates/mine"),
        ("traffic", "certificate", "global/sslCertificates/mine", "global/sslCertificates/mine"),
        ("artifact", "weights", "https://example.com:443/a/b", "https://example.com:443/a/b"),
    ],
)
def test_a_reference_is_read_as_it_stands_or_filled_up(
    section: str, field: str, given: str, read: str
) -> None:
    image = {"image": "tiny:1"} if section == "artifact" else {}
    assert getattr(getattr(whole(**{section: image | {field: given}}), section), field) == read


@pytest.mark.parametrize(
    "weights",
    ["https://169.254.169.254/a/b", "https://localhost/a/b", "gs://bucket/./a", "gs://bucket/../a"],
)
def test_weights_are_looked_at_host_by_host_and_step_by_step(weights: str) -> None:
    with pytest.raises(Invalid, match="weights"):
        whole(artifact={"image": "tiny:1", "weights": weights})


def test_what_is_said_of_a_default_is_in_the_schema() -> None:
    core: Any = "any"
    handler: Any = dict(any={"type": "any"}).get
    assert DefaultsTo("as it was").__get_pydantic_json_schema__(core, handler) == {
        "type": "any",
        "x-default": "as it was",
    }
    assert Allowed("a word").__get_pydantic_json_schema__(core, handler) == {
        "type": "any",
        "x-allowed": "a word",
    }
