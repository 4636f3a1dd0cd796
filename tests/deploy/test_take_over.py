"""Later deployments, the way back and the removal, on a project in which all is deployed."""

from __future__ import annotations

import copy
from collections.abc import Callable

from tests.deploy.faults import Scripts
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
    scripts.run("functions.sh intake").check()
    second = serving(live)
    assert second != first
    live.answer = "lacks pubsub.topics.publish on topic model-wakeups"
    refused = scripts.run("functions.sh intake")
    assert refused.code == 1
    assert f"{second} serves on: {live.answer}" in refused.errors
    assert serving(live) == second
    scripts.run("functions.sh --back intake").check()
    assert serving(live) == first
    scripts.run("functions.sh --back intake").check()
    assert serving(live) == second
    live.answer = "right"
    scripts.run("functions.sh intake").check()
    assert serving(live) not in (first, second)


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
        for _ in range(2):
            scripts.run("uninstall.sh --yes").check()
        left = [key for key in world.resources if not key.startswith(("storage", "cloudbuild"))]
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
