"""What a release may use: nothing that the policy does not name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from rollout.policy.access import access_violations
from rollout.policy.checks import policy_violations
from rollout.policy.policy import Policy, load_policy
from rollout.policy.violation import explain
from rollout.spec.defaults import DEFAULT_BOOT_IMAGES, project_defaults
from rollout.spec.message import ReleaseRequested, resolve
from rollout.spec.model import Spec
from tests.open_policy import OPEN

HIDDEN: dict[str, Any] = {"traffic": {"exposure": "none"}}
OURS = "projects/ours/global/images/mine"
SUBNETWORK = "projects/host/regions/us-central1/subnetworks/serving"


def spec(model: str = "tiny", **sections: Any) -> Spec:
    patch = {"artifact": {"image": "eu-docker.pkg.dev/p/r/tiny:1"}} | HIDDEN | sections
    request = ReleaseRequested(model, "1", patch)
    return resolve(request, None, of_project=project_defaults("demo"))


def whys(policy: dict[str, Any], model: str = "tiny", **sections: Any) -> tuple[str, ...]:
    loaded = load_policy(policy, project="demo")
    found = access_violations(loaded, model, spec(model, **sections))
    return tuple(each.why for each in found)


def account(name: str) -> dict[str, Any]:
    return {"service_account": f"{name}@demo.iam.gserviceaccount.com"}


ALLOWED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({}, {"machine": account("slipway-model")}),
    ({"service_accounts": ["llama"]}, {"machine": account("llama")}),
    ({"service_accounts": ["{model}-serving"]}, {"machine": account("tiny-serving")}),
    ({"service_accounts": ["{model}-*"]}, {"machine": account("tiny-serving")}),
    (
        {"service_accounts": ["x@p.iam.gserviceaccount.com"]},
        {"machine": {"service_account": "x@p.iam.gserviceaccount.com"}},
    ),
    ({}, {"machine": {"network": "projects/demo/global/networks/default"}}),
    ({"networks": ["global/networks/a"]}, {"machine": {"network": "global/networks/a"}}),
    ({"networks": [SUBNETWORK]}, {"machine": {"subnetwork": SUBNETWORK}}),
    (
        {"networks": ["projects/host/*"]},
        {"machine": {"subnetwork": SUBNETWORK, "network": "projects/host/global/networks/n"}},
    ),
    ({"external_ip": True}, {"machine": {"external_ip": True}}),
    ({"exposure": ["external"], "hosts": ["*"]}, {"traffic": {}}),
    (
        {"exposure": ["external"], "hosts": ["example.com"]},
        {"traffic": {"host": "example.com", "preview_host": "next.example.com"}},
    ),
    (
        {"exposure": ["external"], "hosts": ["{model}.example.com"]},
        {"traffic": {"host": "tiny.example.com"}},
    ),
    ({"tags": ["web", "gpu-*"]}, {"machine": {"tags": ["web", "gpu-l4"]}}),
    (
        {"secrets": ["{model}_*"]},
        {"artifact": {"image": "i:1", "secrets": {"TOKEN": "tiny_token@3"}}},
    ),
    ({"boot_images": ["projects/ours"]}, {"machine": {"image": OURS}}),
    ({"images": ["i", "projects/ours/global/images"]}, {"machine": {"image": OURS}}),
    *(({"images": ["i"]}, {"machine": {"image": image}}) for image in DEFAULT_BOOT_IMAGES[::2]),
    ({}, {"machine": {"reservation": "none"}}),
    ({"reservations": ["block-*"]}, {"machine": {"reservation": "block-7"}}),
    (
        {"gateways": ["edge-*"], "exposure": ["external"], "hosts": ["*"]},
        {"traffic": {"exposure": "external", "gateway": "edge-2"}},
    ),
    ({"require_digest": True}, {"artifact": {"startup_script": "true"}}),
    ({"require_digest": True}, {"artifact": {"image": f"i:1@sha256:{'0' * 64}"}}),
]
REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (
        {},
        {"machine": account("other")},
        "machine.service_account: policy allows slipway-model@demo.iam.gserviceaccount.com; got"
        " other@demo.iam.gserviceaccount.com",
    ),
    (
        {"service_accounts": ["llama"]},
        {},
        "machine.service_account: policy allows llama@demo.iam.gserviceaccount.com; got"
        " slipway-model@demo.iam.gserviceaccount.com",
    ),
    (
        {"service_accounts": ["llama-*"]},
        {"machine": {"service_account": "llama-x@other.iam.gserviceaccount.com"}},
        "machine.service_account: policy allows llama-*; got llama-x@other.iam.gserviceaccount.com",
    ),
    (
        {"service_accounts": []},
        {},
        "machine.service_account: policy allows no account; got"
        " slipway-model@demo.iam.gserviceaccount.com",
    ),
    (
        {},
        {"machine": {"network": "global/networks/a"}},
        "machine.network: policy allows global/networks/default; got global/networks/a",
    ),
    (
        {},
        {"machine": {"subnetwork": SUBNETWORK}},
        f"machine.subnetwork: policy allows global/networks/default; got {SUBNETWORK}",
    ),
    (
        {"networks": []},
        {},
        "machine.network: policy allows no network; got global/networks/default",
    ),
    (
        {},
        {"machine": {"external_ip": True}},
        "machine.external_ip: policy allows no external addresses; got true; leave it out, and"
        " images are pulled through Private Google Access or Cloud NAT",
    ),
    (
        {"hosts": ["*"]},
        {"traffic": {}},
        "traffic.exposure: policy allows none; got external",
    ),
    (
        {"exposure": ["external"]},
        {"traffic": {}},
        "traffic.host: policy allows no host; got *",
    ),
    (
        {"exposure": ["external"], "hosts": ["example.com"]},
        {"traffic": {}},
        "traffic.host: policy allows example.com; got *",
    ),
    (
        {"exposure": ["external"], "hosts": ["example.com"]},
        {"traffic": {"host": "example.com", "preview_host": "notexample.com"}},
        "traffic.preview_host: policy allows example.com; got notexample.com",
    ),
    ({}, {"machine": {"tags": ["web"]}}, "machine.tags: policy allows no tags; got web"),
    (
        {"tags": ["web"]},
        {"machine": {"tags": ["web", "webs"]}},
        "machine.tags: policy allows web; got webs",
    ),
    (
        {"exposure": ["external"], "hosts": ["*"]},
        {"traffic": {"gateway": "edge"}},
        "traffic.gateway: policy allows no gateways; got edge",
    ),
    (
        {"secrets": ["{model}_*"]},
        {"artifact": {"image": "i:1", "secrets": {"TOKEN": "other_token"}}},
        "artifact.secrets.TOKEN: policy allows tiny_*; got other_token",
    ),
    (
        {},
        {"machine": {"image": OURS}},
        f"machine.image: policy allows images that start with Slipway's defaults; got {OURS}",
    ),
    (
        {"images": ["i", "projects/our"], "boot_images": ["projects/theirs"]},
        {"machine": {"image": OURS}},
        "machine.image: policy allows images that start with i, projects/our, projects/theirs; got"
        f" {OURS}",
    ),
    (
        {},
        {"machine": {"image": "projects/cos-cloud/global/images/family/cos-stable-evil"}},
        "machine.image: policy allows images that start with Slipway's defaults; got"
        " projects/cos-cloud/global/images/family/cos-stable-evil",
    ),
    (
        {},
        {"machine": {"reservation": "block-7"}},
        "machine.reservation: policy allows no reservations; got block-7",
    ),
    (
        {"require_digest": True},
        {},
        "artifact.image: policy requires an image that is named by its digest; got"
        " eu-docker.pkg.dev/p/r/tiny:1",
    ),
]


@pytest.mark.parametrize(("policy", "sections"), ALLOWED)
def test_a_release_may_use_what_the_policy_names(
    policy: dict[str, Any], sections: dict[str, Any]
) -> None:
    assert whys(policy, **sections) == ()


@pytest.mark.parametrize(("policy", "sections", "why"), REFUSED)
def test_a_release_may_use_nothing_else(
    policy: dict[str, Any], sections: dict[str, Any], why: str
) -> None:
    assert whys(policy, **sections) == (why,)


def test_the_account_of_an_older_release_has_to_be_named() -> None:
    """Releases that were accepted before named no account, and run as Compute Engine's default."""
    older = resolve(ReleaseRequested("tiny", "1", {"artifact": {"image": "i:1"}} | HIDDEN), None)
    older = older.model_copy(
        update={"machine": older.machine.model_copy(update={"external_ip": False})}
    )
    refused = access_violations(Policy(project="demo"), "tiny", older)
    assert [(each.why.rpartition("; ")[2], each.allow) for each in refused] == [
        ("got the default Compute Engine account", "service_accounts=default")
    ]
    assert not access_violations(
        Policy(project="demo", service_accounts=("default",)), "tiny", older
    )


def test_a_name_for_each_model_is_no_name_without_one() -> None:
    policy = Policy(project="demo", tags=("{model}",))
    tagged = spec(machine={"tags": ["{model}".strip("{}")]})
    assert access_violations(policy, "", tagged)
    assert not access_violations(policy, "model", tagged)


def test_one_command_allows_all_that_was_refused() -> None:
    given = spec(
        artifact={"image": "docker.io/vllm/vllm-openai:v0.11.0"},
        machine={"type": "g2-standard-12"},
        scaling={"max": 12},
        traffic={},
    )
    policy = Policy(
        project="demo", images=("pkg.dev/p",), machine_types=("e2-small",), max_instances=5
    )
    found = policy_violations(policy, "tiny", "1", given)
    assert explain(found)[-1] == (
        "settings/policy: whoever may change the policy allows this with: slipway policy allow"
        " max_instances=15 machine_types=g2-standard-12 images=docker.io/vllm/vllm-openai"
        " exposure=external 'hosts=*'"
    )
    assert explain(found)[:-1] == tuple(each.why for each in found)
    assert explain(policy_violations(Policy(project="demo"), "tiny", "1", spec())) == ()


def test_a_command_that_does_not_allow_everything_says_what_it_leaves() -> None:
    script = spec(artifact={"startup_script": "true"}, traffic={})
    policy = Policy(project="demo", images=("pkg.dev/p",))
    assert explain(policy_violations(policy, "tiny", "1", script))[-1] == (
        "settings/policy: whoever may change the policy allows all but artifact.startup_script"
        " with: slipway policy allow exposure=external 'hosts=*'"
    )


def test_an_open_policy_allows_what_an_absent_one_refuses() -> None:
    """What each of these fields is without a document is what allows least."""
    closed = {"networks": ("global/networks/default",), "service_accounts": ("slipway-model",)}
    for name in OPEN:
        default = next(each.default for each in fields(Policy) if each.name == name)
        assert default == closed.get(name, (False if name == "external_ip" else ())), name
