"""Later deployments, the way back and the removal, on a project in which all is deployed."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from tests.deploy.commands import Call
from tests.deploy.faults import Fault, Scripts
from tests.deploy.shim import Shim
from tests.deploy.world import PROJECT, World

ScriptsOn = Callable[[World], Scripts]
INTAKE = "slipway-intake"


def serving(world: World, service: str = INTAKE) -> str:
    """The revision with all requests."""
    traffic = world.services()[service]["status"]["traffic"]
    (found,) = [each["revisionName"] for each in traffic if each.get("percent") == 100]
    return str(found)


def test_a_new_revision_takes_over_and_the_one_before_comes_back(
    scripts_on: ScriptsOn, live: World
) -> None:
    scripts, first = scripts_on(live), serving(live)
    scripts.run("bootstrap.sh").check()
    scripts.run("functions.sh").check()
    second = serving(live)
    assert second != first
    shell = ["run", "deploy", INTAKE, "--image=hello/hello", "--max-instances=1"]
    Shim(live)(Call(shell, "", "")).check()
    assert serving(live) == second, "an owner's bootstrap that began before the first deployment"
    lack = live.answers[INTAKE] = "lacks pubsub.topics.publish on topic model-wakeups"
    refused = scripts.run("functions.sh intake")
    assert refused.code == 1
    assert f"{second} serves on: {lack}" in refused.errors
    assert serving(live) == second
    for _ in range(2):  # as when two people order it
        scripts.run("functions.sh --back intake").check()
        assert serving(live) == first
    assert scripts.run("functions.sh --take-over intake").code == 1
    live.answers.clear()
    scripts.run("functions.sh --take-over intake").check()
    assert serving(live) not in (first, second)


@pytest.mark.wide
def test_all_functions_take_over_or_none(scripts_on: ScriptsOn, live: World) -> None:
    """The last one asked fails; and a person deploys again what has taken over in part."""
    scripts, before = scripts_on(live), {name: serving(live, name) for name in live.services()}
    live.answers["slipway-reconciler"] = "documents cannot be read"
    assert scripts.run("functions.sh").code == 1
    assert {name: serving(live, name) for name in before} == before
    live.answers.clear()
    moved = 0

    def second_move(number: int, call: Call) -> Fault | None:
        nonlocal moved
        moved += "update-traffic" in call.arguments
        return Fault.KILLED_BEFORE if moved == 2 else None

    scripts.fault_at = second_move
    scripts.run("functions.sh")
    scripts.fault_at = lambda number, call: None
    assert sum(serving(live, name) != before[name] for name in before) == 1
    scripts.run("functions.sh").check()
    assert all(serving(live, name) != before[name] for name in before)
    scripts.run("functions.sh --back").check()
    assert {name: serving(live, name) for name in before} == before


@pytest.mark.parametrize(
    "script", ["webhooks.sh --secret=hooks", "dashboard.sh --viewer=group:on-call@example.com"]
)
def test_an_optional_service_takes_over_and_goes_back_too(
    scripts_on: ScriptsOn, live: World, script: str
) -> None:
    live.resources[f"secretmanager/projects/{PROJECT}/secrets/hooks"] = {"name": "hooks"}
    scripts, name = scripts_on(live), "slipway-" + script.partition(".")[0]
    scripts.run(script).check()
    first = serving(live, name)
    scripts.run(script).check()
    same = serving(live, name)
    live.unready = {name}
    assert "startup probe" in scripts.run(script).errors
    assert serving(live, name) == same
    live.unready.clear()
    scripts.run(f"{script.split()[0]} --back").check()
    assert serving(live, name) == first


def is_named(key: str, text: str) -> bool:
    """Whether the end of the removal names a resource, or the one that it is a part of. A revision
    goes with its service, and the default account is Google's.
    """
    if "/revisions/" in key or key.endswith("-compute@developer.gserviceaccount.com"):
        return True
    if key.startswith("firestore/"):
        database = key.split("/databases/")[1].partition("/")[0]
        return f"databases delete --database='{database}'" in text
    if "/subnetworks/" in key:
        return "Private Google Access" in text
    if "/secrets/" in key:
        return "secrets, logs" in text
    if "slipway-model@" in key:
        return "while instances of models run, their identity" in text
    return key.rpartition("/")[2] in text


def test_uninstalling_leaves_what_serves_and_what_is_protected(
    scripts_on: ScriptsOn, monitored: World
) -> None:
    others = f"monitoring/projects/{PROJECT}/alertPolicies/of-others"
    policy = {"name": others.partition("/")[2], "userLabels": {"slipway": "ours"}}
    monitored.resources[others] = policy
    empty = copy.deepcopy(monitored)
    monitored.fleets = [{"name": "slipway-tiny-blue"}]
    for world, has_fleets in ((monitored, True), (empty, False)):
        scripts, before = scripts_on(world), world.state()
        scripts.run("uninstall.sh").check()
        assert world.state() == before
        for is_again in (False, True):
            done = scripts.run("uninstall.sh --yes")
            done.check()
            assert ("none were in us-central1" in done.output) is is_again
        left = [key for key in world.resources if not key.startswith(("storage", "cloudbuild"))]
        assert [key for key in left if not is_named(key, done.output)] == [others]
        assert [key for key in left if key.startswith(("monitoring/", "logging/"))] == [others]
        assert not world.services()
        assert not world.subscriptions()
        topics = {key.rpartition("/")[2] for key in left if "/topics/" in key}
        assert topics == {"gcr", "cloud-builds"}
        assert any("/databases/slipway" in key for key in left)
        account = f"slipway-model@{PROJECT}.iam.gserviceaccount.com"
        model = f"iam/projects/{PROJECT}/serviceAccounts/{account}"
        assert (model in left) is has_fleets
        assert any("slipway-health-checks" in key for key in left) is has_fleets
        members = {
            member for _, _, member, _ in world.bindings() if "slipway-" in member.split("@")[0]
        }
        kept = {f"serviceAccount:{account}"} if has_fleets else set()
        on_project = {
            member
            for name, _, member, _ in world.bindings()
            if member in members and name.partition("/")[2] == "projects/" + PROJECT
        }
        assert on_project == kept


def test_what_a_gcloud_without_alpha_cannot_remove_is_named(
    scripts_on: ScriptsOn, monitored: World
) -> None:
    monitored.components = {"beta"}
    done = scripts_on(monitored).run("uninstall.sh --yes")
    done.check()
    assert 'the alert policies and the dashboard "Slipway" of monitoring.sh' in done.output
    assert not monitored.services()
    assert list(monitored.monitoring())
