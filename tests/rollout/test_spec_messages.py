"""Messages that `parse` accepts, and the problems of those that it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rollout.spec.message import (
    CommandGiven,
    Invalid,
    ReleaseRequested,
    decode_json,
    parse,
    resolve,
)
from rollout.spec.model import Spec

EXAMPLES = Path(__file__).parents[2] / "examples"
IMAGE = "us-docker.pkg.dev/p/r/tiny:1"


def message(**sections: Any) -> dict[str, Any]:
    return {"model": "tiny", "version": "1", "artifact": {"image": IMAGE}} | sections


def problems_of(payload: object) -> list[str]:
    with pytest.raises(Invalid) as refused:
        parse(payload)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.stem)
def test_every_example_resolves(path: Path) -> None:
    example = parse(decode_json(path.read_bytes()))
    if isinstance(example, ReleaseRequested):
        first = parse(decode_json((EXAMPLES / "cpu-metric-schedule.json").read_bytes()))
        assert isinstance(first, ReleaseRequested)
        base = resolve(first, None) if path.stem == "next-release" else None
        assert isinstance(resolve(example, base), Spec)


def test_there_is_an_example_of_each_kind() -> None:
    kinds = {
        "smallest",
        "l4-vllm",
        "h100",
        "cpu-metric-schedule",
        "next-release",
        "command-rollback",
    }
    assert {path.stem for path in EXAMPLES.glob("*.json")} == kinds


def test_a_minimal_event_keeps_its_sections() -> None:
    assert parse(message()) == ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}})


def test_an_event_keeps_its_nulls_and_its_author() -> None:
    payload = message(
        rollout=None, scaling={"max": None}, force=True, requested_by="ann", reason="faster"
    )
    patch = {"artifact": {"image": IMAGE}, "rollout": None, "scaling": {"max": None}}
    assert parse(payload) == ReleaseRequested(
        "tiny", "1", patch, force=True, requested_by="ann", reason="faster"
    )


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort", "rollback", "retire"])
def test_a_command_names_a_verb_and_a_model(verb: Any) -> None:
    assert parse({"model": "tiny", "command": verb, "reason": "why not"}) == CommandGiven(
        "tiny", verb, reason="why not"
    )


@pytest.mark.parametrize("verb", ["pause", "resume", "promote", "abort", "rollback"])
def test_a_command_may_name_a_release(verb: Any) -> None:
    assert parse({"model": "tiny", "command": verb, "version": "3"}) == CommandGiven(
        "tiny", verb, "3"
    )


def test_retire_does_not_accept_a_version() -> None:
    assert problems_of({"model": "tiny", "command": "retire", "version": "3"}) == [
        "version: must be left out: retire applies to the model with all its releases"
    ]


def test_a_command_does_not_accept_sections() -> None:
    assert problems_of({"model": "tiny", "command": "pause", "scaling": {"max": 3}})[0].startswith(
        "scaling: is not a known field"
    )


def test_a_problem_names_the_field_the_allowed_values_and_the_given_one() -> None:
    assert problems_of(message(scaling={"max": "lots"})) == [
        'scaling.max: must be an integer from 1 to 2000, got "lots"'
    ]


def test_all_problems_of_a_message_are_reported_together() -> None:
    messages = problems_of(
        {
            "model": "Tiny",
            "artifact": {
                "image": "untagged",
                "args": ["ok", 3],
                "env": {"1X": "v", "A": "two\nlines"},
            },
            "machine": {
                "type": "g2-standard-12",
                "accelerator": {"type": "nvidia-tesla-t4"},
                "spot": 1,
            },
            "placement": {"region": "us-central1", "zones": ["us-east1-b"]},
            "scaling": {
                "min": 9,
                "max": 3,
                "maxx": 4,
                "metrics": [{"name": "a.b/c"}, {"target": 1}],
            },
            "traffic": {"exposure": "none", "host": "example.com"},
            "rollout": {"steps": [50, 10]},
        }
    )
    assert {line.split(":")[0] for line in messages} == {
        "model",
        "version",
        "artifact.image",
        "artifact.args[1]",
        "artifact.env",
        "artifact.env.A",
        "machine.accelerator.type",
        "machine.spot",
        "placement.zones[0]",
        "scaling.min",
        "scaling.maxx",
        "scaling.metrics[0]",
        "scaling.metrics[1].name",
        "traffic.host",
        "rollout.steps",
    }


def test_a_null_under_an_unknown_name_is_an_error() -> None:
    payload = message(scaling={"maxx": None}, traffik=None) | {
        "artifact": {"image": IMAGE, "env": {"1X": None, "A": None}}
    }
    assert [line.split(":")[0] for line in problems_of(payload)] == [
        "artifact.env",
        "scaling.maxx",
        "traffik",
    ]
    assert problems_of({"model": "tiny", "command": "pause", "scaling": None})[0].startswith(
        "scaling: is not a known field"
    )


def test_a_misspelled_field_gets_a_suggestion() -> None:
    assert (
        "did you mean liveness_path?" in problems_of(message(serving={"livenes_path": "/live"}))[0]
    )


@pytest.mark.parametrize("payload", [None, 3, "text", [], [{}], True, 1.5])
def test_a_payload_that_is_not_an_object_is_refused(payload: object) -> None:
    assert problems_of(payload)[0].startswith("message: must be a JSON object")


@pytest.mark.parametrize(
    ("value", "messages"),
    [
        (True, "true"),
        (1.0, "1.0"),
        ("3", '"3"'),
        (float("nan"), "NaN"),
        (2**63, "9223372036854775808"),
        pytest.param(10**5000, "a number of more", id="huge"),
    ],
)
def test_values_similar_to_an_integer_are_refused(value: object, messages: str) -> None:
    [problem] = problems_of(message(scaling={"max": value}))
    assert problem.startswith(f"scaling.max: must be an integer from 1 to 2000, got {messages}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, 0, -1, 1.01, "0.5"])
def test_values_similar_to_a_fraction_are_refused(value: object) -> None:
    assert problems_of(message(scaling={"cpu": {"target": value}}))[0].startswith(
        "scaling.cpu.target: must be a number above 0"
    )


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "artifact",
    [
        {"env": {"TOKEN": f"{SECRET}\n"}},
        {"env": {f"TOKEN={SECRET}": ""}},
        {"env": SECRET},
        {"env": [SECRET]},
        {"secrets": {"TOKEN": f"{SECRET}!"}},
        {"args": [f"--token={SECRET}\n"]},
        {"startup_script": f"export TOKEN={SECRET}\0"},
        {"weights": f"https://user:{SECRET}@example.com/x"},
        {"weights": f"https://example.com/x?signature={SECRET}"},
        {"image": f"user:{SECRET}@example.com/x:1"},
        {"token": SECRET},
        SECRET,
        [SECRET],
    ],
)
def test_no_problem_repeats_a_possible_secret(artifact: object) -> None:
    messages = problems_of(message(artifact=artifact))
    assert messages
    assert SECRET not in "".join(messages)


def test_a_long_value_is_truncated() -> None:
    messages = problems_of(message(reason="x" * 60000))
    assert max(map(len, messages)) < 300


def test_the_number_of_reported_problems_is_limited() -> None:
    messages = problems_of(message(scaling={f"x{number}": 1 for number in range(5000)}))
    assert len(messages) == 51
    assert messages[-1] == "message: has more problems; fix these first"


@pytest.mark.parametrize(
    "sections",
    [
        {"rollout": {"steps": [0] * 20000}},
        {"scaling": {"metrics": [{}] * 15000}},
        {"scaling": {"schedules": {f"s{number}": {"timezone": "A/b"} for number in range(2000)}}},
        {"artifact": {"image": "tiny:1", "env": {f"{number}": "" for number in range(5000)}}},
        {"machine": {"tags": ["A"] * 10000}},
    ],
    ids=lambda sections: next(iter(sections)),
)
def test_a_list_that_is_too_long_is_one_problem(sections: dict[str, Any]) -> None:
    assert len(problems_of(message(**sections))) == 1


def test_characters_that_reorder_text_are_refused_and_escaped() -> None:
    assert problems_of(message(reason="good\u202edab"))[0].endswith('got "good\\u202edab"')


@pytest.mark.parametrize(
    "payload",
    [message(artifact={"env": {"A": "\ud800"}}), message(artifact={"env": {"\ud800": "A"}})],
)
def test_a_lone_surrogate_is_refused(payload: object) -> None:
    json.dumps(problems_of(payload)).encode()


def test_deep_nesting_is_refused() -> None:
    deep: Any = 1
    for _ in range(5000):
        deep = {"a": deep}
    assert problems_of(message(scaling=deep))[0].endswith(
        "must not be nested deeper than 16 levels"
    )
    assert len(problems_of(deep)) == 1


@pytest.mark.parametrize(
    "model", ["", "-a", "a-", "A", "1a", "a" * 41, "a.b", "a_b", "\u0430", "a\n", "../a", 3, None]
)
def test_invalid_model_names_are_refused(model: object) -> None:
    assert problems_of(message() | {"model": model})[0].startswith("model: ")


@pytest.mark.parametrize("version", ["1", "v1.2.3-rc.1+build_7", "2026-01-15", "a" * 63])
def test_valid_versions_are_accepted(version: str) -> None:
    assert parse(message() | {"version": version})


@pytest.mark.parametrize("version", ["", ".", "..", "__x__", "a/b", "a b", "a" * 64, "1\n", 1, 1.0])
def test_a_version_that_is_not_a_document_id_is_refused(version: object) -> None:
    assert problems_of(message() | {"version": version})[0].startswith("version: ")
