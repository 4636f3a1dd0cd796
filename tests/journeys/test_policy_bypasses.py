"""Each cap of the policy holds when a release arrives and again just before the first change.
Neither force, promotion, a pause nor a rollback bypasses it. No cap blocks a change that makes a
model smaller.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest

from infra.store.port import Put
from rollout.policy.policy import Policy
from tests.scenario import Scenario
from tests.signing import Signer

SCALING = {"min": 3, "max": 6}  # 9 instances, surge over three zones included
GPUS = {
    "type": "g2-standard-12",
    "external_ip": True,
    "tags": ["web"],
    "reservation": "block-7",
}
GPU_ZONES = {"zones": [f"us-central1-{letter}" for letter in "abc"]}
SIGNER, STRANGER = Signer(), Signer()
DIGEST = "us-docker.pkg.dev/p/r/tiny@sha256:" + "0123456789abcdef" * 4
# For each field of the policy: a value that the release of `publish` violates, and the field of the
# release that violates it.
CAPS: dict[str, tuple[Any, str]] = {
    "max_instances": (8, "scaling.max"),
    "max_accelerators": (8, "machine.accelerator"),
    "max_cost_per_hour": (5, "machine"),
    "max_project_instances": (8, "scaling.max"),
    "max_project_accelerators": (8, "machine.accelerator"),
    "max_project_cost_per_hour": (5, "machine"),
    "regions": (["europe-west4"], "placement.region"),
    "machine_types": (["g2-standard-4"], "machine.type"),
    "accelerator_types": (["nvidia-tesla-t4"], "machine.accelerator.type"),
    "images": (["us-docker.pkg.dev/p/other"], "artifact.image"),
    "signers": ([STRANGER.public_key], "artifact.signature"),
}
# The same for what a release may use.
ACCESS: dict[str, tuple[Any, str]] = {
    "service_accounts": (["other"], "machine.service_account"),
    "networks": (["global/networks/other"], "machine.network"),
    "external_ip": (False, "machine.external_ip"),
    "exposure": (["none"], "traffic.exposure"),
    "hosts": (["other.example.com"], "traffic.host"),
    "tags": (["other"], "machine.tags"),
    "secrets": (["other"], "artifact.secrets.TOKEN"),
    "reservations": (["other"], "machine.reservation"),
    "gateways": (["other"], "traffic.gateway"),
}
POLICIES = [pytest.param({name: value}, path, id=name) for name, (value, path) in CAPS.items()]
SIGNED = {
    "image": DIGEST,
    "signature": SIGNER.signature(f"run tiny {DIGEST}"),
    "secrets": {"TOKEN": "tiny_token"},
}


def publish(story: Scenario, version: str = "1", **more: Any) -> None:
    sections: dict[str, Any] = {"artifact": SIGNED, "scaling": SCALING, "machine": GPUS}
    sections |= {"placement": GPU_ZONES, "traffic": {"gateway": "edge"}}
    story.when_released(version, **(sections | more))


def tighten_after_intake(
    story: Scenario, policy: dict[str, Any]
) -> Callable[[Callable[[], None]], None]:
    """Sets the policy as soon as the intake has accepted a release, before any pass."""

    def run(handle: Callable[[], None]) -> None:
        handle()
        story.given_policy(**policy)

    return run


def test_every_field_of_the_policy_is_covered() -> None:
    assert set(CAPS | ACCESS) == {field.name for field in fields(Policy)} - {
        "prices",
        "is_signed",
        "project",  # not of the document
        "boot_images",  # below, with `images`
        "require_digest",  # below: once a release is accepted, its image has a digest
        "registries",  # tests/infra/test_registry.py: it limits connections, not releases
        "freezes",  # tests/rollout/test_freeze.py: they delay releases
        "stop",  # tests/journeys/test_stop.py: it delays everything
        "approvers",  # tests/journeys/test_approvals.py: they let releases go on
        "gate_hosts",  # tests/journeys/test_evaluation_jobs.py: none of these has a gate
    }


@pytest.mark.parametrize(("policy", "path"), POLICIES)
def test_a_cap_holds_when_a_release_arrives_forced_or_not(
    policy: dict[str, Any], path: str
) -> None:
    story = Scenario()
    story.given_policy(**policy)
    publish(story)
    publish(story, force=True)
    assert [refused["why"].partition(": policy ")[0] for refused in story.quarantine()] == [
        path,
        path,
    ]
    assert story.resources() == set()


@pytest.mark.parametrize(("policy", "path"), POLICIES)
def test_a_cap_holds_again_just_before_the_first_change(policy: dict[str, Any], path: str) -> None:
    story = Scenario()
    story.run_handler = tighten_after_intake(story, policy)
    publish(story)
    story.when_settled()
    assert (story.outcome("1"), story.reason("1")) == ("rolled_back", "policy")
    assert f"{path}: policy " in story.why("1")
    assert (
        story.calls("instanceTemplates.insert")
        == story.calls("regionInstanceGroupManagers.insert")
        == 0
    )


@pytest.mark.parametrize(("policy", "path"), POLICIES[::5])
def test_promotion_does_not_bypass_a_cap_for_a_paused_release(
    policy: dict[str, Any], path: str
) -> None:
    story = Scenario()
    story.run_handler = tighten_after_intake(story, policy)
    publish(story, rollout={"on_failure": "pause"})
    for command in ("promote", "resume", "promote"):
        story.when_commanded(command)
        story.when_minutes_pass(3)
    assert f"{path}: policy " in story.state().conditions[0].why
    assert (
        story.calls("instanceTemplates.insert")
        == story.calls("regionInstanceGroupManagers.insert")
        == 0
    )


def test_a_release_within_every_cap_is_rolled_out() -> None:
    story = Scenario()
    story.given_policy(
        **{name: 9 for name in CAPS if name.startswith("max_") and "cost" not in name},
        **{name: 9.2 for name in CAPS if "cost" in name},
        regions=["us-central1"],
        machine_types=["g2-standard-12"],
        accelerator_types=["nvidia-l4"],
        images=["us-docker.pkg.dev/p/r"],
        signers=[STRANGER.public_key, SIGNER.public_key],
    )
    publish(story)
    story.when_settled()
    assert story.serving_version() == "1"


@pytest.mark.parametrize(
    ("policy", "path"),
    [pytest.param({name: value}, path, id=name) for name, (value, path) in ACCESS.items()],
)
def test_what_a_tighter_policy_forbids_is_rolled_back_and_what_serves_keeps_serving(
    policy: dict[str, Any], path: str
) -> None:
    story = Scenario()
    publish(story, rollout={"bake_seconds": 0, "steps": [100]})
    story.when_settled()
    publish(story, "2", artifact=SIGNED | {"args": ["--fast"]}, rollout={"steps": [50, 100]})
    story.when_phase_reached("step_2")
    story.given_policy(**policy)
    story.when_settled()
    assert (story.serving_version(), story.reason("2")) == ("1", "policy")
    assert f"{path}: policy " in story.why("2")
    assert story.healthy_by_version() == {"1": 3}
    publish(story, "3")
    assert f"{path}: policy " in story.quarantine()[-1]["why"]


# ---- Rollbacks


@pytest.mark.parametrize(
    ("how", "phase"),
    [({}, "step_1"), ({"version": "1"}, "baking")],
    ids=["to the one before", "to a version"],
)
def test_a_rollback_to_a_larger_release_takes_no_capacity_from_another_model(
    how: dict[str, Any], phase: str
) -> None:
    """The release to return to is the oldest of all, but the rollback is not."""
    story = Scenario()
    story.given_serving("1", "one", scaling={"min": 3, "max": 10})
    story.given_serving("2", "one", scaling={"min": 1, "max": 1})
    story.given_policy(max_project_instances=20)
    story.when_released("1", "two", scaling={"min": 3, "max": 10}, rollout={"bake_seconds": 900})
    story.when_phase_reached(phase, "two")
    story.when_commanded("rollback", "one", **how)
    story.when_settled("one")
    story.when_settled("two")
    assert (story.serving_version("one"), story.serving_version("two")) == ("2", "1")
    reasons = [refused["why"] for refused in story.quarantine()] + [
        entry["why"] for entry in story.log("one")
    ]
    assert [
        why for why in reasons if "in the project; got 26, of which other models may use 13" in why
    ]


@pytest.mark.parametrize("how", [{}, {"version": "1"}], ids=["to the one before", "to a version"])
def test_a_late_rollback_is_refused_if_a_release_took_the_capacity_meanwhile(
    how: dict[str, Any],
) -> None:
    """The rollback was published before the other release and arrives while that one bakes."""
    story = Scenario()
    story.given_serving("1", "one", scaling={"min": 3, "max": 10}, rollout={"bake_seconds": 0})
    story.given_serving("2", "one", scaling={"min": 1, "max": 1})
    story.given_policy(max_project_instances=20)
    deliver = story.publish_delayed({"model": "one", "command": "rollback", **how})
    story.when_seconds_pass(1)
    story.when_released("1", "two", scaling={"min": 3, "max": 10}, rollout={"bake_seconds": 600})
    story.when_phase_reached("baking", "two")
    deliver()
    assert "got 26, of which other models may use 13" in story.quarantine()[0]["why"]
    story.when_settled("one")
    story.when_settled("two")
    assert (story.serving_version("one"), story.serving_version("two")) == ("2", "1")


def test_a_release_takes_no_capacity_that_an_earlier_rollback_reserved() -> None:
    story = Scenario()
    story.given_serving("1", "one", scaling={"min": 3, "max": 10}, rollout={"bake_seconds": 0})
    story.given_serving("2", "one", scaling={"min": 1, "max": 1})
    story.given_policy(max_project_instances=20)
    other = {
        "model": "two",
        "version": "1",
        "artifact": {"image": DIGEST},
        "scaling": {"min": 3, "max": 10},
    }
    for body in ({"model": "one", "command": "rollback"}, other):
        story.bus.publish("model-releases", json.dumps(body).encode())
        story.clock.sleep(1)
    story.bus.pump(limit=2)  # both reach the intake before any pass
    assert "got 26, of which other models may use 13" in story.quarantine()[0]["why"]
    story.bus.pump()
    story.when_settled("one")
    assert story.serving_version("one") == "1"


def test_a_rollback_within_the_projects_cap_succeeds() -> None:
    story = Scenario()
    story.given_serving("1", "one", scaling={"min": 3, "max": 10}, rollout={"bake_seconds": 0})
    story.given_serving("2", "one", scaling={"min": 1, "max": 1})
    story.given_policy(max_project_instances=26)
    story.given_serving("1", "two", scaling={"min": 3, "max": 10})
    story.when_commanded("rollback", "one", version="1")
    story.when_settled("one")
    assert story.serving_version("one") == "1"


# ---- Unknown machines, prices and images


@pytest.mark.parametrize(
    "policy",
    [
        {"max_accelerators": 0},
        {"max_project_accelerators": 8},
        {"accelerator_types": ["nvidia-l4"]},
    ],
    ids=str,
)
def test_an_unknown_machine_series_is_not_assumed_to_have_no_accelerators(
    policy: dict[str, Any],
) -> None:
    story = Scenario()
    story.given_policy(**policy)
    story.when_released("1", machine={"type": "a9-ultragpu-8g"})
    assert "the number that a9-ultragpu-8g has is unknown" in story.quarantine()[0]["why"]
    story.given_policy(**policy, machine_types=["a9-ultragpu-8g"])  # the policy names it
    story.when_released("1", machine={"type": "a9-ultragpu-8g"})
    assert len(story.quarantine()) == 1


@pytest.mark.parametrize(
    "factors",
    [{"spot": 0}, {"elsewhere": 0, "regions": {"us-central1": 0}}],
    ids=["spot", "region"],
)
def test_a_machine_without_a_price_is_not_free_where_a_factor_is_zero(
    factors: dict[str, Any],
) -> None:
    story = Scenario()
    story.given_policy(max_cost_per_hour=1000)
    story.settings.commit(Put("settings/prices", factors))
    story.when_released("1", machine={"type": "z9-standard-4", "spot": True})
    assert (
        "settings/prices has no price for machine type z9-standard-4"
        in story.quarantine()[0]["why"]
    )


def test_the_list_of_images_also_covers_boot_images() -> None:
    """A free choice of the boot image would be a free choice of what runs."""
    story = Scenario()
    story.given_policy(
        images=["us-docker.pkg.dev/p/r", "projects/demo/global/images/"], boot_images=[]
    )
    for number, (image, is_allowed) in enumerate(
        (
            ("projects/evil/global/images/miner", False),
            ("projects/demo-evil/global/images/miner", False),
            ("global/images/family/own", False),
            ("projects/demo/global/images/family/own", True),
            ("projects/cos-cloud/global/images/family/cos-stable", True),
        )
    ):
        before = len(story.quarantine())
        story.when_released("1", f"m{number}", machine={"image": image})
        refused = story.quarantine()[before:] if not is_allowed else []
        assert len(story.quarantine()) - before == (0 if is_allowed else 1), image
        assert all(
            "machine.image: policy allows images that start with" in each["why"] for each in refused
        )


# ---- Signers


def test_the_signature_must_be_of_the_releases_present_image() -> None:
    story = Scenario()
    story.given_policy(signers=[SIGNER.public_key])
    other, tagged = DIGEST.replace("tiny@", "other@"), DIGEST.partition("@")[0] + ":1"
    unsigned: dict[str, dict[str, Any]] = {
        "artifact.signature: policy requires a signed image; got no signature": {"image": DIGEST},
        f"artifact.signature: policy requires a signature of 'run m1 {other}'": (
            SIGNED | {"image": other}
        ),
        f"artifact.signature: policy requires a signature of 'run m2 {DIGEST}'": SIGNED,
        "artifact.startup_script: policy requires a signed image": {"startup_script": "true"},
        "artifact.image: policy requires a signed image, named by its digest": {
            "image": tagged,
            "signature": SIGNER.signature(f"run m4 {tagged}"),
        },
    }
    for number, (why, artifact) in enumerate(unsigned.items()):
        story.when_released(f"no-{number}", f"m{number}", artifact=artifact)
        assert [refused["why"] for refused in story.quarantine() if why in refused["why"]], why
    assert len(story.quarantine()) == len(unsigned)
    story.given_serving("1", artifact=SIGNED)
    story.when_released(
        "2", artifact={"image": other}
    )  # the inherited signature is of the previous image
    assert len(story.quarantine()) == len(unsigned) + 1
    story.given_serving("3", artifact={"args": ["--fast"]})


def test_where_a_digest_is_required_a_publisher_names_it_and_what_runs_goes_on() -> None:
    story = Scenario()
    tagged = DIGEST.partition("@")[0] + ":1"
    story.when_released("1", artifact={"image": tagged})
    story.when_phase_reached("step_1")
    story.given_policy(require_digest=True)
    story.when_settled()
    assert story.serving_version() == "1"  # the tag was resolved when it was accepted
    story.when_released("2", artifact={"image": tagged})
    assert f"image that is named by its digest; got {tagged}" in story.quarantine()[0]["why"]
    story.given_serving("3", artifact={"image": DIGEST})
    story.given_serving("4", artifact={"args": ["--fast"]})


def test_a_boot_image_that_is_no_longer_listed_is_rolled_back() -> None:
    story = Scenario()
    own = {"image": "projects/demo/global/images/family/own"}
    story.emulator.catalogue["images"] = ["global/images/family/own"]
    story.given_policy(boot_images=[])
    story.given_serving("1")
    story.when_released("2", machine=own)
    assert "machine.image: policy allows images that start with" in story.quarantine()[0]["why"]
    story.given_policy(boot_images=["projects/demo/global/images/"])
    story.when_released("2", machine=own)
    story.when_phase_reached("step_2")
    story.given_policy(boot_images=[])
    story.when_settled()
    assert (story.serving_version(), story.reason("2")) == ("1", "policy")


# ---- Without a policy


def test_without_a_policy_a_release_runs_as_slipways_account_and_is_not_exposed() -> None:
    story = Scenario()
    story.given_exact_policy()
    artifact = {"image": DIGEST}
    story.when_published({"model": "tiny", "version": "1", "artifact": artifact})
    (refused,) = story.quarantine()
    assert "traffic.exposure: policy allows none; got external" in refused["why"]
    assert "slipway policy allow exposure=external 'hosts=*'" in refused["why"]
    hidden = {"traffic": {"exposure": "none"}}
    story.when_published({"model": "tiny", "version": "1", "artifact": artifact} | hidden)
    story.when_settled()
    (template,) = (
        body for key, body in story.emulator.resources() if key.collection == "instanceTemplates"
    )
    properties = template["properties"]
    assert [each["email"] for each in properties["serviceAccounts"]] == [
        "slipway-model@demo.iam.gserviceaccount.com"
    ]
    assert "accessConfigs" not in properties["networkInterfaces"][0]
    assert not [name for name in story.resources() if "gateway" in name]


def test_removing_a_key_rolls_back_releases_in_progress_that_only_it_signed() -> None:
    story = Scenario()
    story.given_policy(signers=[SIGNER.public_key, STRANGER.public_key])
    second = DIGEST.replace("tiny@", "other@")
    signed = {"image": second, "signature": STRANGER.signature(f"run tiny {second}")}
    story.given_serving("1", artifact=signed, placement=GPU_ZONES)
    publish(story, "2", rollout={"bake_seconds": 600})
    story.when_phase_reached("step_2")
    story.given_policy(signers=[STRANGER.public_key])
    story.when_settled()
    assert (story.serving_version(), story.reason("2")) == ("1", "policy")


def test_after_a_signature_ends_nothing_new_is_published_with_it_and_the_way_back_is_open() -> None:
    story = Scenario()
    story.given_policy(signers=[SIGNER.public_key])
    until = f" until {story.clock.now() + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    signature = SIGNER.signature(f"run tiny {DIGEST}{until}") + until
    first = {"image": DIGEST, "signature": signature}
    scaling = {"min": 3, "max": 6}
    event = {"model": "tiny", "version": "1", "artifact": first, "scaling": scaling}
    story.when_published(event)
    story.when_settled()
    other = DIGEST.replace("tiny@", "other@")
    story.given_serving(
        "2", artifact={"image": other, "signature": SIGNER.signature(f"run tiny {other}")}
    )
    story.when_minutes_pass(60)
    for again in ({"force": True}, {"version": "3"}):
        story.when_published(event | again)
    refused = [each["why"] for each in story.quarantine()]
    assert [f"valid; got one{until}" in why for why in refused] == [True, True]
    story.when_commanded("rollback", version="1")
    story.when_settled()
    assert story.serving_version() == "1"


def test_what_only_a_removed_key_signed_serves_on_and_is_not_returned_to() -> None:
    story = Scenario()
    story.given_policy(signers=[SIGNER.public_key, STRANGER.public_key])
    story.given_serving("1", artifact=SIGNED)
    other = DIGEST.replace("tiny@", "other@")
    signed = {"image": other, "signature": STRANGER.signature(f"run tiny {other}")}
    story.given_policy(signers=[STRANGER.public_key])
    story.when_minutes_pass(10)
    assert story.serving_version() == "1"
    story.given_serving("2", artifact=signed)
    story.when_commanded("rollback", version="1")
    assert f"requires a signature of 'run tiny {DIGEST}'" in story.quarantine()[0]["why"]
    story.when_settled()
    assert story.serving_version() == "2"


def test_content_that_was_rolled_back_is_refused_under_another_signature() -> None:
    story = Scenario()
    publish(story, rollout={"bake_seconds": 0})
    story.when_settled()
    story.given_stock_out("us-central1")
    other = DIGEST.replace("tiny@", "other@")
    short = {"progress_deadline_seconds": 60}
    story.when_released(
        "2", artifact={"image": other, "signature": SIGNER.signature(other)}, rollout=short
    )
    story.when_settled()
    story.when_released(
        "3", artifact={"image": other, "signature": STRANGER.signature(other)}, rollout=short
    )
    assert "this content was rolled back before" in story.quarantine()[0]["why"]


# ---- A change that makes a model smaller is always allowed

NOTHING_IS_ALLOWED = {
    name: 0 if name.startswith("max_") else value for name, (value, _) in CAPS.items()
}
BROKEN = ({"max_instance": 5}, {"max_instances": "5"}, {"signers": ["ann"]})


@pytest.mark.parametrize(
    "policy",
    [NOTHING_IS_ALLOWED, *BROKEN],
    ids=["nothing is allowed", "misspelt", "a text", "no key"],
)
@pytest.mark.parametrize("phase", ["settled", "step_2"])
def test_a_model_can_be_retired_under_any_policy_even_an_unreadable_one(
    phase: str, policy: dict[str, Any]
) -> None:
    story = Scenario()
    publish(story)
    story.when_settled()
    if phase != "settled":
        story.when_released(
            "2", artifact=SIGNED, machine={"type": "g2-standard-8"}, placement=GPU_ZONES
        )
        story.when_phase_reached(phase)
    story.given_policy(**policy)
    story.when_commanded("retire")
    story.when_settled()
    assert not story.instances()
    assert story.outcome("1") == "retired"


def test_with_an_unreadable_policy_a_release_can_be_aborted_and_none_begins() -> None:
    story = Scenario()
    publish(story)
    story.when_settled()
    story.when_released(
        "2", artifact=SIGNED, machine={"type": "g2-standard-8"}, placement=GPU_ZONES
    )
    story.when_phase_reached("step_2")
    story.given_policy(signers=["ann"])
    story.when_commanded("abort")
    story.when_minutes_pass(10)
    assert story.outcome("2") == "aborted"
    assert story.healthy_by_version() == {"1": 3}
    story.when_released(
        "3", artifact=SIGNED, machine={"type": "g2-standard-4"}, placement=GPU_ZONES
    )
    story.when_minutes_pass(10)
    assert story.healthy_by_version() == {"1": 3}
    story.given_policy()
    story.when_minutes_pass(25)
    assert story.serving_version() == "3"
