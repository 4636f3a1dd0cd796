"""Projects that are not as the scripts would make them: refused with what to do, or brought up to
date.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.deploy.faults import Scripts, functions
from tests.deploy.world import PROJECT, World

ScriptsOn = Callable[[World], Scripts]
PARTS = ("intake", "approver", "alert-intake", "artifact-intake", "notifier", "reconciler")


def database(name: str = "slipway") -> str:
    return f"firestore/projects/{PROJECT}/databases/{name}"


@pytest.mark.parametrize(
    ("existing", "options", "words"),
    [
        ({"type": "DATASTORE_MODE", "locationId": "us-central1"}, "", "is in Datastore mode"),
        (
            {"type": "FIRESTORE_NATIVE", "locationId": "nam5"},
            "",
            "is in nam5, not in us-central1: pass --firestore-location=nam5",
        ),
        (
            {"type": "FIRESTORE_NATIVE", "locationId": "us-central1"},
            "--firestore-location=eur3",
            "is in us-central1, not in eur3",
        ),
    ],
    ids=("datastore mode", "elsewhere", "not where it should be"),
)
def test_a_database_that_does_not_suit_is_refused_with_what_to_do(
    scripts_on: ScriptsOn, existing: dict[str, str], options: str, words: str
) -> None:
    world = World()
    world.resources[database()] = dict(existing)
    done = scripts_on(world).run(f"bootstrap.sh {options}")
    assert done.code == 1
    assert words in done.errors
    assert world.resources[database()] == existing


def test_other_databases_of_the_project_stay_as_they_are(live: World) -> None:
    assert not any("(default)" in str(each) for each in [*live.resources, *live.bindings()])
    assert live.resources[database()]["pointInTimeRecoveryEnablement"].endswith("_ENABLED")
    assert live.resources[database()]["deleteProtectionState"].endswith("_ENABLED")


@pytest.mark.parametrize("script", ["bootstrap.sh", "functions.sh"])
def test_functions_never_move_to_an_empty_database_by_themselves(
    scripts_on: ScriptsOn, live: World, script: str
) -> None:
    """As after an upgrade from a version that knew only `(default)`."""
    for revision in live.named(f"run/namespaces/{PROJECT}/revisions/").values():
        container = revision["spec"]["containers"][0]
        container["env"] = [each for each in container["env"] if each["name"] != "SLIPWAY_DATABASE"]
    before = live.state()
    done = scripts_on(live).run(script)
    assert done.code == 1
    assert "--database='(default)'" in done.errors
    assert live.state() == before
    scripts_on(live).run(f"{script} --change-database").check()


def test_a_build_deploys_in_parallel_and_only_an_owner_connects(scripts_on: ScriptsOn) -> None:
    world = World()
    scripts_on(world).run("bootstrap.sh").check()
    assert world.services()
    assert not dict(functions(world))
    assert not any("pushConfig" in each for each in world.subscriptions().values())
    with ThreadPoolExecutor(len(PARTS)) as steps:
        scripts = [scripts_on(world) for _ in PARTS]
        done = list(
            steps.map(
                Scripts.run, scripts, [f"functions.sh {part} --deploy-only" for part in PARTS]
            )
        )
    for each in done:
        each.check()
        assert "an owner of the project must run deploy/bootstrap.sh" in each.errors
    assert dict(functions(world)).keys() == world.services().keys()
    assert not any("pushConfig" in each for each in world.subscriptions().values())
    scripts_on(world).run("bootstrap.sh").check()
    pushing = {name for name, each in world.subscriptions().items() if "pushConfig" in each}
    assert pushing == set(world.subscriptions()) - {"model-releases-dead-kept"}


def test_the_deployer_cannot_say_where_pub_sub_sends_its_tokens(live: World) -> None:
    deployer = f"serviceAccount:slipway-deployer@{PROJECT}.iam.gserviceaccount.com"
    rights = {(name, role) for name, role, member, _ in live.bindings() if member == deployer}
    assert {role for name, role in rights if "/subscriptions/" in name} == {"roles/pubsub.viewer"}
    assert not any("slipway-invoker@" in name for name, _ in rights)


def test_what_earlier_versions_granted_the_deployer_is_taken_away(
    scripts_on: ScriptsOn, live: World
) -> None:
    before = copy.deepcopy(live.state())
    deployer = f"serviceAccount:slipway-deployer@{PROJECT}.iam.gserviceaccount.com"
    subscription = f"pubsub/projects/{PROJECT}/subscriptions/model-releases-intake"
    binding = {"role": "roles/pubsub.editor", "members": [deployer]}
    live.policies[subscription]["bindings"].append(binding)
    scripts_on(live).run("bootstrap.sh").check()
    assert live.state() == before


def test_what_is_delivered_is_retried_and_what_people_sent_is_kept(live: World) -> None:
    hints = {"model-wakeups-reconciler", "model-rollout-status-notifier"}
    for name, each in live.subscriptions().items():
        assert each["expirationPolicy"] == {}, f"{name} never expires"
        if name == "model-releases-dead-kept" or name.startswith("slipway-"):
            continue  # those of services ask a new revision to check itself
        assert each["retryPolicy"]["minimumBackoff"] == "10s"
        assert ("deadLetterPolicy" in each) == (name not in hints), name
        token = each["pushConfig"]["oidcToken"]
        assert each["pushConfig"]["pushEndpoint"].startswith(token["audience"])
        assert token["serviceAccountEmail"].startswith("slipway-invoker@")
    (tick,) = live.named("cloudscheduler/").values()
    assert (tick["schedule"], tick["timeZone"]) == ("* * * * *", "Etc/UTC")
