"""Valid and invalid examples of each rule between fields and of each string type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from rollout.spec.cron import cron_problem
from rollout.spec.message import Invalid, ReleaseRequested, parse, resolve
from rollout.spec.model import Placement, Spec
from rollout.spec.rules import RULES
from rollout.spec.types import is_model_name

IMAGE = "us-docker.pkg.dev/p/r/tiny:1"
SCRIPT = {"startup_script": "exec serve"}
SCHEDULE = {"cron": "0 8 * * *", "duration_seconds": 3600, "min": 2}


def request_of(patch: dict[str, Any]) -> ReleaseRequested:
    return ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}} | patch)


def problems_in(call: Callable[[], object]) -> list[str]:
    try:
        call()
    except Invalid as refused:
        return [str(problem) for problem in refused.problems]
    return []


def resolved(**patch: Any) -> Spec:
    return resolve(request_of(patch), None)


def problems(patch: dict[str, Any]) -> list[str]:
    """The problems of a first release; its message alone never has others."""
    request = request_of(patch)
    alone = problems_in(lambda: parse({"model": "tiny", "version": "1", **request.patch}))
    whole = problems_in(lambda: resolve(request, None))
    assert set(alone) <= set(whole), "a message alone has a problem that the whole spec lacks"
    return whole


def metric(**fields: Any) -> dict[str, Any]:
    return {"name": "custom.googleapis.com/queue", "target": 1} | fields


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"artifact": {}}, "artifact"),
    ({"artifact": {"image": IMAGE, **SCRIPT}}, "artifact"),
    ({"artifact": {**SCRIPT, "args": ["-v"]}}, "artifact.args"),
    ({"artifact": {**SCRIPT, "secrets": {"A": "b"}}}, "artifact.secrets"),
    ({"artifact": {"image": IMAGE, "env": {"A": "b"}, "secrets": {"A": "b"}}}, "artifact.env.A"),
    (
        {"artifact": {"image": IMAGE, "env": {f"A{number}": "x" * 8000 for number in range(9)}}},
        "artifact.env",
    ),
    ({"artifact": {"image": IMAGE, "args": ["x" * 4000] * 17}}, "artifact.args"),
    ({"scaling": {"min": 6}}, "scaling.min"),
    ({"scaling": {"min": 0}}, "scaling.min"),
    ({"scaling": {"min": 0, "metrics": [metric()]}}, "scaling.min"),
    ({"scaling": {"min": 0, "schedules": {"day": {**SCHEDULE, "disabled": True}}}}, "scaling.min"),
    ({"scaling": {"schedules": {"day": {**SCHEDULE, "min": 6}}}}, "scaling.schedules.day.min"),
    ({"scaling": {"schedules": {"day": {**SCHEDULE, "min": 0}}}}, "scaling.schedules.day.min"),
    ({"scaling": {"metrics": [metric(), metric()]}}, "scaling.metrics[1].name"),
    ({"scaling": {"metrics": [metric(per_instance=1)]}}, "scaling.metrics[0]"),
    ({"scaling": {"metrics": [metric(target=None)]}}, "scaling.metrics[0]"),
    (
        {"scaling": {"metrics": [metric(target=None, per_instance=1, type="delta_per_minute")]}},
        "scaling.metrics[0]",
    ),
    (
        {"scaling": {"metrics": [metric(name=f"a.b/{number}") for number in range(6)]}},
        "scaling.metrics",
    ),
    ({"scaling": {"scale_in": {}}}, "scaling.scale_in"),
    ({"scaling": {"scale_in": {"max_instances": 1, "max_percent": 10}}}, "scaling.scale_in"),
    (
        {"scaling": {"load_balancing": {}}, "traffic": {"exposure": "none"}},
        "scaling.load_balancing",
    ),
    ({"traffic": {"balancing_mode": "rate"}}, "traffic.max_rate_per_instance"),
    ({"traffic": {"max_rate_per_instance": 10}}, "traffic.max_rate_per_instance"),
    (
        {"traffic": {"balancing_mode": "rate", "max_rate_per_instance": 9, "max_utilization": 0.5}},
        "traffic.max_utilization",
    ),
    ({"traffic": {"exposure": "none", "host": "*"}}, "traffic.host"),
    ({"traffic": {"exposure": "none", "path": "/x"}}, "traffic.path"),
    ({"traffic": {"exposure": "none", "certificate": "c"}}, "traffic.certificate"),
    ({"traffic": {"exposure": "none", "balancing_mode": "utilization"}}, "traffic.balancing_mode"),
    ({"machine": {"accelerator": {"type": "nvidia-l4"}}}, "machine.accelerator.type"),
    (
        {"machine": {"accelerator": {"type": "nvidia-tesla-t4", "count": 3}}},
        "machine.accelerator.count",
    ),
    (
        {"machine": {"type": "e2-standard-4", "accelerator": {"type": "nvidia-tesla-t4"}}},
        "machine.accelerator",
    ),
    (
        {"machine": {"type": "g2-standard-12", "accelerator": {"type": "nvidia-tesla-t4"}}},
        "machine.accelerator.type",
    ),
    (
        {"machine": {"type": "g2-standard-24", "accelerator": {"type": "nvidia-l4"}}},
        "machine.accelerator.count",
    ),
    (
        {"machine": {"type": "a2-highgpu-1g", "accelerator": {"type": "nvidia-a100-80gb"}}},
        "machine.accelerator.type",
    ),
    ({"machine": {"type": "a3-highgpu-99g"}}, "machine.accelerator"),
    ({"machine": {"subnetwork": "regions/us-east1/subnetworks/s"}}, "machine.subnetwork"),
    ({"machine": {"shielded_vm": {"vtpm": False}}}, "machine.shielded_vm.integrity_monitoring"),
    ({"machine": {"labels": {"slipway-model": "other"}}}, "machine.labels.slipway-model"),
    ({"machine": {"tags": ["a", "a"]}}, "machine.tags"),
    ({"placement": {"zones": ["us-east1-b"]}}, "placement.zones[0]"),
    ({"placement": {"zones": ["us-central1-a", "us-central1-a"]}}, "placement.zones"),
    ({"placement": {"target_shape": "any"}}, "placement.target_shape"),
    ({"rollout": {"steps": []}}, "rollout.steps"),
    ({"rollout": {"steps": [10, 50]}}, "rollout.steps"),
    ({"rollout": {"steps": [50, 10, 100]}}, "rollout.steps"),
    ({"rollout": {"steps": [10, 10, 100]}}, "rollout.steps"),
    ({"rollout": {"steps": [{"percent": 10}, 10, 100]}}, "rollout.steps"),
    ({"rollout": {"steps": [0, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"steps": [True, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"steps": [10.0, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"steps": [{"percent": 101}, 100]}}, "rollout.steps[0].percent"),
    ({"rollout": {"steps": [{"weight": 10, "percent": 10}, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"steps": list(range(80, 101))}}, "rollout.steps"),
    ({"rollout": {"steps": [{"weight": 5}, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"strategy": "canary", "steps": [{"weight": 5}, 100]}}, "rollout.steps"),
    ({"rollout": {"strategy": "blue_green", "steps": [{"preview": True}]}}, "rollout.steps"),
    (
        {"rollout": {"strategy": "canary", "steps": [50, 10, {"weight": 100}]}},
        "rollout.steps",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"preview": False}, {"weight": 100}]}},
        "rollout.steps[0].preview",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"match": {"header": "x-a"}}]}},
        "rollout.steps[0].match.value",
    ),
    ({"rollout": {"steps": [{"approve": {"by": "model-approvals"}}, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"steps": [100, {"approve": {"by": "model-approvals"}}]}}, "rollout.steps"),
    ({"rollout": {"steps": [10, {"approve": {"by": "a b"}}, 100]}}, "rollout.steps[1].approve.by"),
    (
        {
            "rollout": {"steps": [10, {"approve": {"by": "model-approvals"}}, 100]},
            "placement": {"target_shape": "balanced"},
        },
        "rollout.steps",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"mirror": 10}, {"weight": 100}]}},
        "rollout.steps[0].mirror",
    ),
    (
        {"traffic": {"host": "a.example.com", "preview_host": "a.example.com"}},
        "traffic.preview_host",
    ),
    ({"traffic": {"preview_host": "*"}}, "traffic.preview_host"),
    ({"rollout": {"steps": [{"preview": True}, 100]}}, "rollout.steps[0]"),
    ({"rollout": {"strategy": "canary", "steps": [{"weight": 5}]}}, "rollout.steps"),
    (
        {"rollout": {"strategy": "canary", "steps": [{"weight": 0.25}, {"weight": 100}]}},
        "rollout.steps[0].weight",
    ),
    (
        {"rollout": {"strategy": "canary", "steps": [{"weight": 0}, {"weight": 100}]}},
        "rollout.steps[0].weight",
    ),
    (
        {"rollout": {"strategy": "canary"}, "traffic": {"exposure": "none"}},
        "rollout.strategy",
    ),
    ({"rollout": {"strategy": "canary", "keep_old_seconds": 60}}, "rollout.keep_old_seconds"),
    ({"rollout": {"keep_old_seconds": 3600}}, "rollout.keep_old_seconds"),
    ({"rollout": {"strategy": "canary", "capacity": "replace_in_place"}}, "rollout.capacity"),
    ({"rollout": {"surge": 2}}, "rollout.surge"),
    ({"rollout": {"unavailable": 1}}, "rollout.unavailable"),
    ({"rollout": {"surge": 0}}, "rollout.surge"),
    (
        {"rollout": {"surge": 1}, "placement": {"zones": ["us-central1-a", "us-central1-b"]}},
        "rollout.surge",
    ),
]

VALID: list[dict[str, Any]] = [
    {"artifact": {"image": None, **SCRIPT}},
    {"artifact": {**SCRIPT, "env": {"A": "b"}}},
    {"scaling": {"min": 5}},
    {"scaling": {"min": 0, "metrics": [metric(target=None, per_instance=5)]}},
    {"scaling": {"min": 0, "schedules": {"day": SCHEDULE}}},
    {"scaling": {"schedules": {"day": {**SCHEDULE, "min": 5, "timezone": "Europe/Berlin"}}}},
    {"scaling": {"metrics": [metric(name=f"a.b/{number}") for number in range(5)]}},
    {"scaling": {"scale_in": {"max_percent": 10}}},
    {
        "scaling": {"load_balancing": {}},
        "traffic": {"balancing_mode": "rate", "max_rate_per_instance": 10},
    },
    {"traffic": {"exposure": "none"}, "serving": {"liveness_path": "/live"}},
    {"traffic": {"exposure": "none", "host": None}},
    {"machine": {"accelerator": {"type": "nvidia-tesla-v100", "count": 8}}},
    {
        "machine": {
            "type": "a2-ultragpu-4g",
            "accelerator": {"type": "nvidia-a100-80gb", "count": 4},
        }
    },
    {
        "machine": {
            "type": "a3-highgpu-99g",
            "accelerator": {"type": "nvidia-h100-80gb", "count": 9},
        }
    },
    {"machine": {"subnetwork": "projects/host/regions/us-central1/subnetworks/s"}},
    {"machine": {"shielded_vm": {"vtpm": False, "integrity_monitoring": False}}},
    {"rollout": {"steps": [100]}},
    {"rollout": {"steps": [10, {"percent": 100}]}},
    {"rollout": {"steps": list(range(81, 101))}},
    {
        "rollout": {
            "strategy": "canary",
            "steps": [
                5,
                {"preview": True},
                {"match": {"header": "x-canary", "value": "1"}},
                {"weight": 0.1, "min_requests": 200},
                {"mirror": 10},
                50,
                {"weight": 100},
            ],
        },
        "traffic": {"mirror_safe": True, "preview_host": "next.example.com"},
    },
    {"rollout": {"strategy": "blue_green"}},
    {"rollout": {"steps": [10, {"approve": {"by": "model-approvals"}}, 100]}},
    {
        "rollout": {
            "strategy": "blue_green",
            "steps": [{"approve": {"by": "model-approvals"}}, {"weight": 100}],
        },
        "placement": {"target_shape": "balanced"},
    },
    {"rollout": {"surge": 0, "unavailable": 3}},
    {"rollout": {"surge": 2}, "placement": {"zones": ["us-central1-a", "us-central1-b"]}},
    {"rollout": {"surge": 1}, "placement": {"zones": ["us-central1-a"]}},
]


@pytest.mark.parametrize(("patch", "path"), INVALID, ids=str)
def test_a_broken_rule_names_its_field(patch: dict[str, Any], path: str) -> None:
    assert [line.partition(": ")[0] for line in problems(patch)] == [path]


@pytest.mark.parametrize("patch", VALID, ids=str)
def test_a_valid_spec_has_no_problems(patch: dict[str, Any]) -> None:
    assert problems(patch) == []


def test_every_rule_has_a_published_description() -> None:
    assert all(rule.__doc__ and rule.__doc__.strip().endswith(".") for rule in RULES)


def test_a_message_is_not_refused_for_fields_that_it_may_inherit() -> None:
    for patch in (
        {"scaling": {"min": 50}},
        {"scaling": {"min": 0}},
        {"scaling": {"schedules": {"day": {"min": 3}}}},
        {"scaling": {"scale_in": {"window_seconds": 60}}},
        {"traffic": {"balancing_mode": "rate"}},
        {"machine": {"accelerator": {"count": 2}}},
        {"artifact": {"args": ["-v"]}},
        {"rollout": {"surge": 2}},
    ):
        assert parse({"model": "tiny", "version": "2", **patch})


LINK_LOCAL = [
    "169.254.169.254",
    "169.254.169.254.",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "x.metadata.google.internal",
    "metadata",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.16689662",
    "169.254.1",
    "0.0.0.0",
    "[::ffff:169.254.169.254]",
    "[fe80::1]",
]


@pytest.mark.parametrize(
    "host",
    [*LINK_LOCAL, "localhost", "127.0.0.1", "127.1", "user@example.com", "user:pass@example.com"],
)
def test_weights_are_not_fetched_from_internal_hosts(host: str) -> None:
    assert problems({"artifact": {"image": IMAGE, "weights": f"https://{host}/x"}})
    assert problems({"artifact": {"image": IMAGE, "weights": f"https://{host}:80/x"}})


@pytest.mark.parametrize("host", LINK_LOCAL)
def test_images_are_not_pulled_from_internal_hosts(host: str) -> None:
    if "." in host:
        assert problems({"artifact": {"image": f"{host}/x:1"}})
    assert problems({"artifact": {"image": f"{host}:80/x:1"}})


@pytest.mark.parametrize(
    "weights",
    [
        "http://example.com/x",
        "file:///etc/passwd",
        "gopher://example.com",
        "gs://",
        "gs://bucket/a b",
        "gs://bucket/../other",
        "gs://bucket/$(id)",
        "https://example.com/x?y",
        "https://example.com/#x",
        "https://example.com\\@169.254.169.254/",
        "HTTPS://example.com/x",
        "gs://bucket/x\n",
    ],
)
def test_invalid_weights_are_refused(weights: str) -> None:
    assert problems({"artifact": {"image": IMAGE, "weights": weights}})


@pytest.mark.parametrize(
    "weights",
    [
        "gs://bucket-1/llama/8b/",
        "gs://bucket",
        "https://huggingface.co/org/m/resolve/main/w.safetensors",
    ],
)
def test_common_weights_are_accepted(weights: str) -> None:
    assert problems({"artifact": {"image": IMAGE, "weights": weights}}) == []


@pytest.mark.parametrize(
    "image",
    [
        "tiny:1",
        "vllm/vllm-openai:v0.11.0",
        "localhost:5000/tiny:1",
        "10.0.0.7:5000/tiny:1",
        "eu.gcr.io/p/a__b/c-d.e:1.0_x",
        f"us-docker.pkg.dev/p/r/tiny@sha256:{'0' * 64}",
        f"us-docker.pkg.dev/p/r/tiny:1@sha256:{'f' * 64}",
    ],
)
def test_common_images_are_accepted(image: str) -> None:
    assert problems({"artifact": {"image": image}}) == []


@pytest.mark.parametrize(
    "image",
    [
        "tiny",
        "a/b",
        "a/b:",
        "a/b@sha256:12",
        f"a/b@sha256:{'F' * 64}",
        "a/B:1",
        "a//b:1",
        "/a:1",
        "a:1 ",
        "a:1\n",
        "-a:1",
        "a:$(id)",
        "https://a/b:1",
        "a/../b:1",
    ],
)
def test_invalid_images_are_refused(image: str) -> None:
    assert problems({"artifact": {"image": image}})


HOSTILE = [
    "$(id)",
    "`id`",
    "a;b",
    "a b",
    "a\nb",
    "a\r\nb",
    "a\0b",
    "{{ x }}",
    "../x",
    "</script>",
    "'",
    '"',
    "\\",
    "\u202ex",
    "\u0430",
    "x" * 2000,
]
NAMED: list[tuple[str, str]] = [
    ("serving", "readiness_path"),
    ("serving", "liveness_path"),
    ("machine", "type"),
    ("machine", "image"),
    ("machine", "service_account"),
    ("machine", "network"),
    ("machine", "subnetwork"),
    ("placement", "region"),
    ("traffic", "host"),
    ("traffic", "path"),
    ("traffic", "certificate"),
    ("artifact", "image"),
    ("artifact", "weights"),
]


@pytest.mark.parametrize(("section", "field"), NAMED)
@pytest.mark.parametrize("start", ["", "/"])
def test_names_paths_and_references_contain_no_special_characters(
    section: str, field: str, start: str
) -> None:
    for text in HOSTILE:
        patch = {section: {field: start + text}}
        assert any(line.startswith(f"{section}.{field}: ") for line in problems(patch)), text


@pytest.mark.parametrize(
    "path", ["x", "/x/", "//x", "/x?y", "/x*", "/*", "/x/../y", "/./x", "/x#y", "*", ""]
)
def test_a_route_is_a_plain_path(path: str) -> None:
    assert problems({"traffic": {"path": path}})


@pytest.mark.parametrize("host", ["*", "models.example.com", "a"])
def test_a_host_is_a_name_or_a_wildcard(host: str) -> None:
    assert problems({"traffic": {"host": host}}) == []


@pytest.mark.parametrize(
    "host", ["*.example.com", "a:80", "Example.com", "a..b", "-a", "https://a", "a/b", ""]
)
def test_invalid_hosts_are_refused(host: str) -> None:
    assert problems({"traffic": {"host": host}})


@pytest.mark.parametrize(
    "timezone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5"]
)
def test_time_zones_of_the_database_are_accepted(timezone: str) -> None:
    assert problems({"scaling": {"schedules": {"day": {**SCHEDULE, "timezone": timezone}}}}) == []


@pytest.mark.parametrize(
    "timezone", ["Mars/Olympus", "Europe", "utc", "../etc/passwd", "/etc/localtime", "", "A" * 64]
)
def test_invalid_time_zones_are_refused(timezone: str) -> None:
    assert problems({"scaling": {"schedules": {"day": {**SCHEDULE, "timezone": timezone}}}})


@pytest.mark.parametrize(
    "cron",
    [
        "* * * * *",
        "*/15 0-6,22 1 JAN-mar SUN",
        "0 0 29 2 *",
        "0 0 31 2 1",
        "5/10 * * * *",
        "0 0 * * 7",
    ],
)
def test_common_cron_lines_are_accepted(cron: str) -> None:
    assert cron_problem(cron) is None


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "5-1 * * * *",
        "*/0 * * * *",
        "*/ * * * *",
        ", * * * *",
        "1, * * * *",
        "1-2-3 * * * *",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "@daily",
        "* * * FOO *",
        "*  * * * *",
    ],
)
def test_invalid_cron_lines_are_refused(cron: str) -> None:
    assert cron_problem(cron)


CRON_PART = st.one_of(
    st.just("*"),
    st.text("0123456789*,-/", min_size=1, max_size=6),
    st.integers(0, 70).map(str),
    st.sampled_from(["MON", "JAN", "1-5", "*/7"]),
)


@given(st.lists(CRON_PART, min_size=5, max_size=5).map(" ".join))
def test_every_accepted_cron_line_is_valid_for_a_full_implementation(cron: str) -> None:
    if cron_problem(cron) is None:
        from datetime import datetime

        assert next(CronSim(cron, datetime(2026, 1, 1)))  # noqa: DTZ001


def test_resolve_returns_a_spec() -> None:
    assert isinstance(resolve(request_of({}), None), Spec)


# ---- Cron lines


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
def test_a_cron_problem_names_the_field(line: str, problem: str) -> None:
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
def test_a_cron_line_with_a_possible_date_is_valid(line: str) -> None:
    assert cron_problem(line) is None


def test_a_cron_step_counts_from_its_first_day() -> None:
    assert cron_problem("0 0 */29 2 *") is None  # the 1st as well
    assert cron_problem("0 0 30/1 2 *") == "names a day that its months do not have"
    assert cron_problem("0 0 30-31/1 2 */2") == "names a day that its months do not have"


# ---- References and names


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
def test_model_names_are_recognized(name: str, is_one: bool) -> None:
    assert is_model_name(name) is is_one


def test_a_group_without_named_zones_has_three() -> None:
    assert Placement().zone_count == 3
    assert Placement(zones=("us-central1-a",)).zone_count == 1


@pytest.mark.parametrize(
    ("section", "field", "given", "read"),
    [
        ("traffic", "certificate", "mine", "global/sslCertificates/mine"),
        ("traffic", "certificate", "global/sslCertificates/mine", "global/sslCertificates/mine"),
        ("artifact", "weights", "https://example.com:443/a/b", "https://example.com:443/a/b"),
    ],
)
def test_a_reference_is_kept_or_completed(section: str, field: str, given: str, read: str) -> None:
    image = {"image": "tiny:1"} if section == "artifact" else {}
    assert getattr(getattr(resolved(**{section: image | {field: given}}), section), field) == read


@pytest.mark.parametrize(
    "weights",
    ["https://169.254.169.254/a/b", "https://localhost/a/b", "gs://bucket/./a", "gs://bucket/../a"],
)
def test_weights_are_checked_by_host_and_by_path_segment(weights: str) -> None:
    with pytest.raises(Invalid, match="weights"):
        resolved(artifact={"image": "tiny:1", "weights": weights})
