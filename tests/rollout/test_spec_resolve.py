"""What a release resolves to: inheritance, defaults, digest, documents, and what a rolling swap
cannot change.
"""

from __future__ import annotations

import json
from functools import reduce
from operator import attrgetter, getitem
from typing import Any, get_args

import pytest

from rollout.spec.compatibility import incompatible, restorable
from rollout.spec.defaults import fill_defaults, inheritable
from rollout.spec.merge import merge, without_nulls
from rollout.spec.message import Invalid, ReleaseRequested, not_inherited, resolve
from rollout.spec.model import Accelerator, Cpu, Schedule, Sections, Spec, digest, dump, load
from rollout.spec.section import Section
from rollout.spec.steps import WeightStep
from tests.rollout.build import step

IMAGE = "us-docker.pkg.dev/p/r/tiny:1"


def first(**patch: Any) -> Spec:
    return resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": IMAGE}} | patch), None)


def after(base: Spec, **patch: Any) -> Spec:
    return resolve(ReleaseRequested("tiny", "2", patch), base)


def refused(base: Spec | None, **patch: Any) -> list[str]:
    with pytest.raises(Invalid) as refusal:
        resolve(ReleaseRequested("tiny", "2", patch), base)
    return [problem.path for problem in refusal.value.problems]


# Source: RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_follows_the_examples_of_rfc_7396(
    target: object, patch: object, merged: object
) -> None:
    assert merge(target, patch) == merged


def test_a_model_without_a_release_needs_an_artifact() -> None:
    assert refused(None) == ["artifact"]
    assert refused(None, artifact=None) == ["artifact"]


def test_a_minimal_release_has_the_documented_defaults() -> None:
    spec = first()
    assert spec.placement.region == "us-central1"
    assert (spec.machine.type, spec.machine.network) == ("n1-standard-1", "global/networks/default")
    assert (spec.scaling.min, spec.scaling.max, spec.scaling.cpu) == (1, 5, Cpu(target=0.6))
    assert (spec.traffic.exposure, spec.traffic.host, spec.traffic.path) == (
        "external",
        "*",
        "/tiny",
    )
    assert spec.rollout.steps == (step(10, 480), step(50, 60), step(100, 60))
    assert spec.rollout.watch_seconds == 3600
    assert (spec.rollout.surge, spec.rollout.unavailable) == (3, 0)


def test_a_release_inherits_the_fields_that_it_leaves_out() -> None:
    base = first(
        scaling={"max": 9}, machine={"labels": {"a": "1", "b": "2"}}, rollout={"steps": [100]}
    )
    spec = after(base, artifact={"image": "tiny:2"}, machine={"labels": {"a": None, "c": "3"}})
    assert spec.artifact.image == "tiny:2"
    assert spec.scaling.max == 9
    assert spec.machine.labels == {"b": "2", "c": "3"}
    assert spec.rollout.steps == (step(100, 480),)


def test_a_resolved_spec_holds_each_step_as_an_object() -> None:
    spec = first(rollout={"steps": [20, {"percent": 50}, {"percent": 100, "hold_seconds": 0}]})
    assert spec.rollout.steps == (step(20, 480), step(50, 60), step(100))
    assert dump(spec)["rollout"]["steps"] == [
        {"percent": 20, "hold_seconds": 480, "min_requests": None},
        {"percent": 50, "hold_seconds": 60, "min_requests": None},
        {"percent": 100, "hold_seconds": 0, "min_requests": None},
    ]
    assert load(dump(spec)) == spec


def test_null_returns_a_field_or_a_section_to_its_default() -> None:
    base = first(scaling={"min": 3, "max": 9}, rollout={"steps": [100], "bake_seconds": 0})
    assert after(base, scaling={"max": None}).scaling.max == 5
    assert after(base, scaling={"max": None}).scaling.min == 3
    assert after(base, rollout=None).rollout == first().rollout


def test_a_list_is_replaced_as_a_whole() -> None:
    base = first(scaling={"metrics": [{"name": "a.b/c", "target": 1}]})
    spec = after(base, scaling={"metrics": [{"name": "a.b/d", "per_instance": 2}]})
    assert [metric.name for metric in spec.scaling.metrics] == ["a.b/d"]


def test_an_empty_release_resolves_to_its_base() -> None:
    base = first(machine={"type": "g2-standard-24"}, serving={"startup_seconds": 30})
    assert after(base) == base


def test_an_existing_schedule_can_be_changed_in_part_a_new_one_must_be_complete() -> None:
    base = first(
        scaling={"schedules": {"day": {"cron": "0 8 * * *", "duration_seconds": 3600, "min": 2}}}
    )
    changed = after(base, scaling={"schedules": {"day": {"min": 4}}}).scaling.schedules["day"]
    assert changed == Schedule(cron="0 8 * * *", duration_seconds=3600, min=4)
    assert refused(base, scaling={"schedules": {"night": {"min": 2}}}) == [
        "scaling.schedules.night.cron",
        "scaling.schedules.night.duration_seconds",
    ]


def test_a_rule_broken_by_an_inherited_value_is_refused() -> None:
    assert refused(first(), scaling={"min": 7}) == ["scaling.min"]
    assert refused(
        first(artifact={"image": IMAGE, "args": ["-v"]}),
        artifact={"image": None, "startup_script": "x"},
    ) == ["artifact.args"]


@pytest.mark.parametrize(
    ("patch", "field", "expected"),
    [
        ({"serving": {"startup_seconds": 600}}, "scaling.cool_down_seconds", 600),
        (
            {"serving": {"startup_seconds": 600}, "scaling": {"cool_down_seconds": 0}},
            "scaling.cool_down_seconds",
            0,
        ),
        ({"serving": {"readiness_path": "/ready"}}, "serving.liveness_path", "/ready"),
        ({"scaling": {"load_balancing": {}}}, "scaling.cpu", None),
        ({"scaling": {"metrics": [{"name": "a.b/c", "target": 1}]}}, "scaling.cpu", None),
        (
            {"scaling": {"metrics": [{"name": "a.b/c", "target": 1}], "cpu": {}}},
            "scaling.cpu",
            Cpu(),
        ),
        (
            {
                "scaling": {
                    "schedules": {"a": {"cron": "0 8 * * *", "duration_seconds": 300, "min": 2}}
                }
            },
            "scaling.cpu",
            Cpu(),
        ),
        (
            {
                "scaling": {
                    "min": 0,
                    "schedules": {"a": {"cron": "0 8 * * *", "duration_seconds": 300, "min": 2}},
                }
            },
            "scaling.cpu",
            None,
        ),
        ({"traffic": {"path": "/"}}, "traffic.path", "/"),
        ({"traffic": {"exposure": "none"}}, "traffic.path", None),
        ({"traffic": {"exposure": "none"}}, "traffic.max_utilization", None),
        (
            {"traffic": {"balancing_mode": "rate", "max_rate_per_instance": 5}},
            "traffic.max_utilization",
            None,
        ),
        ({}, "traffic.max_utilization", 0.8),
        (
            {"traffic": {"certificate": "mine"}},
            "traffic.certificate",
            "global/sslCertificates/mine",
        ),
        ({}, "machine.image", "projects/cos-cloud/global/images/family/cos-stable"),
        (
            {"artifact": {"startup_script": "x"}},
            "machine.image",
            "projects/debian-cloud/global/images/family/debian-13",
        ),
        ({"machine": {"image": "global/images/mine"}}, "machine.image", "global/images/mine"),
        (
            {"machine": {"type": "c4a-standard-4"}},
            "machine.image",
            "projects/cos-cloud/global/images/family/cos-arm64-stable",
        ),
        (
            {"machine": {"type": "t2a-standard-1"}, "artifact": {"startup_script": "x"}},
            "machine.image",
            "projects/debian-cloud/global/images/family/debian-13-arm64",
        ),
        ({}, "machine.disk.type", "pd-balanced"),
        ({"machine": {"type": "c4-standard-4"}}, "machine.disk.type", "hyperdisk-balanced"),
        ({"machine": {"type": "a3-ultragpu-8g"}}, "machine.disk.type", "hyperdisk-balanced"),
        ({"machine": {"type": "a3-highgpu-8g"}}, "machine.disk.type", "pd-balanced"),
        ({}, "serving.startup_seconds", 120),
        ({}, "rollout.progress_deadline_seconds", 900),
        (
            {"serving": {"startup_seconds": 1800}},
            "rollout.progress_deadline_seconds",
            2 * 1800 + 300,
        ),
        ({"traffic": {"draining_seconds": 3600}}, "rollout.progress_deadline_seconds", 3840),
        ({"rollout": {"progress_deadline_seconds": 60}}, "serving.startup_seconds", 30),
        ({"rollout": {"progress_deadline_seconds": 60}}, "scaling.cool_down_seconds", 30),
        ({}, "machine.accelerator", None),
        (
            {"machine": {"type": "a3-highgpu-8g"}},
            "machine.accelerator",
            Accelerator(type="nvidia-h100-80gb", count=8),
        ),
        (
            {"machine": {"type": "g2-standard-24"}},
            "machine.accelerator",
            Accelerator(type="nvidia-l4", count=2),
        ),
        ({"placement": {"zones": ["us-central1-f"]}}, "rollout.surge", 1),
        ({"rollout": {"unavailable": 4}}, "rollout.surge", 0),
        ({"rollout": {"unavailable": 4, "surge": 4}}, "rollout.surge", 4),
    ],
    ids=str,
)
def test_a_default_is_derived_from_other_fields(
    patch: dict[str, Any], field: str, expected: object
) -> None:
    assert attrgetter(field)(first(**patch)) == expected


def test_a_derived_default_follows_its_field_to_a_new_value() -> None:
    base = first(machine={"type": "g2-standard-12"})
    assert after(base, serving={"startup_seconds": 600}).scaling.cool_down_seconds == 600
    assert after(base, machine={"type": "e2-standard-4"}).machine.accelerator is None
    assert after(base, scaling={"load_balancing": {}}).scaling.cpu is None
    arm = after(base, machine={"type": "c4a-standard-4"}).machine
    assert (arm.disk.type, arm.image) == (
        "hyperdisk-balanced",
        "projects/cos-cloud/global/images/family/cos-arm64-stable",
    )
    assert after(base, serving={"startup_seconds": 1800}).rollout.progress_deadline_seconds == 3900
    script = after(base, artifact={"image": None, "startup_script": "x"})
    assert script.machine.image == "projects/debian-cloud/global/images/family/debian-13"


def test_a_given_value_stays_even_if_it_equals_the_default() -> None:
    base = first(scaling={"cpu": {"target": 0.6}, "cool_down_seconds": 120})
    spec = after(base, serving={"startup_seconds": 600}, scaling={"load_balancing": {}})
    assert (spec.scaling.cpu, spec.scaling.cool_down_seconds) == (Cpu(target=0.6), 120)


def test_a_model_that_is_no_longer_exposed_keeps_no_traffic_fields() -> None:
    base = first(
        traffic={
            "host": "example.com",
            "path": "/x",
            "balancing_mode": "rate",
            "max_rate_per_instance": 5,
        }
    )
    assert (
        after(base, traffic={"exposure": "none"}).traffic
        == first(traffic={"exposure": "none"}).traffic
    )
    hidden = first(traffic={"exposure": "none"})
    assert refused(hidden, traffic={"host": "example.com"}) == ["traffic.host"]


def test_an_inherited_image_and_a_new_script_are_refused_together() -> None:
    assert refused(first(), artifact={"startup_script": "x"}) == ["artifact"]


def test_the_digest_depends_on_the_content_only() -> None:
    base = first()
    given = first(scaling={"cpu": {"target": 0.6}}, rollout={"surge": 3})
    assert digest(base) == digest(given) == digest(load(dump(base)))
    assert digest(base) != digest(first(scaling={"cpu": {"target": 0.61}}))
    assert len(digest(base)) == 64


def test_the_order_of_names_in_a_stored_document_changes_nothing() -> None:
    one = first(
        artifact={"image": IMAGE, "env": {"B": "2", "A": "1"}},
        machine={"labels": {"b": "2", "a": "1"}},
    )
    other = first(
        artifact={"image": IMAGE, "env": {"A": "1", "B": "2"}},
        machine={"labels": {"a": "1", "b": "2"}},
    )
    assert json.dumps(dump(one)) == json.dumps(dump(other))


def test_an_invalid_spec_document_is_refused() -> None:
    with pytest.raises(Invalid, match=r"scaling\.max: must be an integer"):
        load(dump(first()) | {"scaling": {"max": "lots"}})
    with pytest.raises(Invalid, match="artifact: is required"):
        load({})


@pytest.mark.parametrize(
    ("section", "changes", "why"),
    [
        ("scaling", {"max": "lots"}, r"scaling\.max: must be an integer"),
        ("scaling", {"later": 1}, r"scaling\.later: is not a known field"),
        ("scaling", {"schedules": {"day": {"cron": 1}}}, r"scaling\.schedules\.day\.cron"),
        ("rollout", {"steps": [{"percent": 5, "weight": 5}]}, "must be of one kind"),
        ("rollout", {"gates": {"errors": []}}, r"rollout\.gates\.errors"),
        ("artifact", {"signature": 5}, r"artifact\.signature"),
    ],
)
def test_a_document_that_changed_since_it_was_accepted_is_validated_again(
    section: str, changes: dict[str, Any], why: str
) -> None:
    spec = first()
    document = dump(spec)
    assert load(document, digest(spec)) == spec
    with pytest.raises(Invalid, match=why):
        load(document | {section: document[section] | changes}, digest(spec))
    document["scaling"]["max"] += 1
    assert load(document, digest(spec)).scaling.max == spec.scaling.max + 1


def test_a_document_without_fields_that_were_added_later_has_their_defaults() -> None:
    spec = first()
    document = dump(spec)
    del document["rollout"]["gates"], document["serving"]["metrics_port"]
    assert load(document, digest(spec)) == spec


def test_a_printed_spec_hides_possible_secrets() -> None:
    spec = first(
        artifact={
            "image": IMAGE,
            "env": {"TOKEN": "hunter2"},
            "args": ["--token=hunter2"],
            "secrets": {"A": "hunter2"},
        }
    )
    script = first(artifact={"startup_script": "export TOKEN=hunter2"})
    assert "hunter2" not in f"{spec!r} {spec} {script!r} {script}"


def test_a_spec_is_immutable() -> None:
    spec = first()
    with pytest.raises(AttributeError, match="frozen"):
        spec.scaling.max = 9
    assert spec == first()


def test_a_field_that_may_be_none_defaults_to_none() -> None:
    """Inheritance leaves out None, so that the default applies again."""

    def check(kind: type[Section]) -> None:
        for name, field in kind.model_fields.items():
            if type(None) in get_args(field.annotation):
                assert field.default is None, f"{kind.__name__}.{name}"
            if isinstance(field.default, Section):
                check(type(field.default))

    check(Sections)


@pytest.mark.parametrize(
    ("patch", "path"),
    [
        ({"placement": {"region": "us-east1"}}, "placement.region"),
        ({"placement": {"zones": ["us-central1-a"]}}, "placement.zones"),
        ({"machine": {"network": "global/networks/other"}}, "machine.network"),
        (
            {"machine": {"subnetwork": "regions/us-central1/subnetworks/other"}},
            "machine.subnetwork",
        ),
        ({"serving": {"port": 8000}}, "serving.port"),
        (
            {"serving": {"readiness_path": "/ready", "liveness_path": "/health"}},
            "serving.readiness_path",
        ),
        ({"serving": {"liveness_path": "/live"}}, "serving.liveness_path"),
        ({"traffic": {"exposure": "none"}}, "traffic.exposure"),
    ],
)
def test_a_change_that_a_shared_group_cannot_make_is_refused_with_a_way_out(
    patch: dict[str, Any], path: str
) -> None:
    stable = first()
    [problem] = incompatible(stable, after(stable, **patch))
    assert problem.path == path
    assert "must stay" in str(problem)
    assert "retire the model first, or release it under another name" in str(problem)


def test_other_fields_can_change_in_place() -> None:
    stable = first()
    assert incompatible(stable, stable) == ()
    changed = after(
        stable,
        machine={"type": "g2-standard-4"},
        scaling={"max": 50},
        traffic={"path": "/x"},
        rollout={"steps": [100]},
    )
    assert incompatible(stable, changed) == ()


@pytest.mark.parametrize(
    "patch",
    [
        {"serving": {"port": 9000, "readiness_path": "/ready", "liveness_path": "/live"}},
        {"placement": {"zones": ["us-central1-b"]}},
        {"machine": {"network": "global/networks/other"}},
    ],
    ids=str,
)
def test_a_canary_may_change_what_a_group_fixes(patch: dict[str, Any]) -> None:
    stable = first()
    assert incompatible(stable, after(stable, rollout={"strategy": "canary"}, **patch)) == ()


@pytest.mark.parametrize(
    ("path", "patch"),
    [
        ("traffic.host", {"traffic": {"host": "x.example.com"}}),
        ("traffic.path", {"traffic": {"path": "/x"}}),
        ("placement.region", {"placement": {"region": "us-east1"}}),
    ],
)
def test_both_groups_of_a_canary_share_route_and_region(path: str, patch: dict[str, Any]) -> None:
    stable = first()
    [problem] = incompatible(stable, after(stable, rollout={"strategy": "canary"}, **patch))
    assert problem.path == path


def test_the_default_steps_follow_the_strategy() -> None:
    canary = after(first(), rollout={"strategy": "canary"})
    steps = canary.rollout.steps or ()
    weights = [step.per_mille for step in steps if isinstance(step, WeightStep)]
    assert weights == [10, 50, 250, 500, 1000]
    assert [step.hold_seconds for step in steps] == [300, 600, 600, 600, 60]
    assert canary.rollout.keep_old_seconds == 3600
    back = after(canary, rollout={"strategy": "rolling"})
    assert (back.rollout.steps, back.rollout.keep_old_seconds) == (first().rollout.steps, None)
    watched = after(first(), rollout={"strategy": "canary", "watch_seconds": 7200})
    assert watched.rollout.keep_old_seconds == 7200


STEPS = [{"weight": 5}, {"weight": 100}]
CANARY = {"strategy": "canary", "steps": STEPS, "keep_old_seconds": 7200}


@pytest.mark.parametrize(
    ("before", "given", "reset"),
    [
        (CANARY, {"strategy": "rolling"}, ("rollout.steps", "rollout.keep_old_seconds")),
        (CANARY, {"strategy": None}, ("rollout.steps", "rollout.keep_old_seconds")),
        (CANARY, {"strategy": "blue_green"}, ("rollout.steps",)),
        (CANARY, {"strategy": "blue_green", "steps": STEPS}, ()),
        (CANARY, {"strategy": "canary"}, ()),
        (CANARY, {"bake_seconds": 60}, ()),
        (CANARY, None, ()),
        ({"steps": [50, 100]}, {"strategy": "canary"}, ("rollout.steps",)),
        ({"strategy": "canary"}, {"strategy": "rolling"}, ()),
    ],
)
def test_what_does_not_fit_another_strategy_is_not_inherited(
    before: dict[str, Any], given: dict[str, Any] | None, reset: tuple[str, ...]
) -> None:
    base = first(rollout=before)
    assert not_inherited({"rollout": given}, base) == reset
    spec = after(base, rollout=given)
    for path in reset:
        assert path in spec.defaulted or getattr(spec.rollout, path.split(".")[1]) is None
    assert spec.rollout.bake_seconds == (given or {}).get("bake_seconds", 300)


@pytest.mark.parametrize(
    ("changed", "strategy"),
    [({"serving": {"port": 9000}}, "canary"), ({"scaling": {"max": 9}}, "rolling")],
)
def test_a_rollback_takes_the_strategy_that_can_bring_the_release_back(
    changed: dict[str, Any], strategy: str
) -> None:
    earlier = first()
    stable = after(earlier, rollout={"strategy": "canary"}, **changed)
    restored = restorable(stable, earlier)
    assert restored.rollout.strategy == strategy
    assert (restored.serving, restored.scaling) == (earlier.serving, earlier.scaling)
    assert incompatible(stable, restored) == ()


def test_a_release_on_another_host_cannot_be_brought_back() -> None:
    earlier = first(traffic={"host": "a.example.com"})
    stable = first(traffic={"host": "b.example.com"}, rollout={"strategy": "canary"})
    assert restorable(stable, earlier) == earlier


def test_the_order_of_zones_does_not_matter() -> None:
    one = first(placement={"zones": ["us-central1-a", "us-central1-b"]})
    other = first(placement={"zones": ["us-central1-b", "us-central1-a"]})
    assert incompatible(one, other) == ()


def test_dependent_defaults_are_named_and_not_inherited() -> None:
    spec = first()
    assert spec.defaulted == (
        "machine.disk.type",
        "machine.external_ip",
        "machine.image",
        "rollout.progress_deadline_seconds",
        "rollout.steps",
        "rollout.surge",
        "scaling.cool_down_seconds",
        "scaling.cpu",
        "serving.liveness_path",
        "serving.startup_seconds",
        "traffic.max_utilization",
        "traffic.path",
    )
    inherited = inheritable(spec)
    assert "defaulted" not in inherited
    for path in spec.defaulted:
        *parents, field = path.split(".")
        assert field not in reduce(getitem, parents, inherited), path
    assert inherited["artifact"] == {
        "image": IMAGE,
        "args": [],
        "env": {},
        "secrets": {},
        "ulimits": {"memlock": -1, "nofile": 65536, "stack": 67108864},
    }
    assert inherited["scaling"]["max"] == 5


def test_given_values_are_not_replaced_by_defaults() -> None:
    spec = first(traffic={"path": "/x", "max_utilization": 0.5}, machine={"type": "g2-standard-24"})
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


def test_a_merge_descends_into_objects_only() -> None:
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": {"e": None, "f": 3}}}) == {
        "a": {"c": 2, "d": {"f": 3}}
    }
    assert merge({"a": 1}, {"b": None}) == {"a": 1}
    assert without_nulls({"a": None, "b": {"c": None}, "d": [None, {"e": None}]}) == {
        "b": {},
        "d": [None, {"e": None}],
    }
    assert without_nulls(3) == 3
