"""The real gcloud runs every script and every command of the docs against the imitation."""

from __future__ import annotations

import copy
import io
import re
import shlex
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from emulator.tests.commandline import Host
from tests.deploy.commands import ROOT, Call, Commands
from tests.deploy.documented import documented
from tests.deploy.faults import Scripts
from tests.deploy.imitation import Imitation
from tests.deploy.real import Gcloud
from tests.deploy.world import NUMBER, PROJECT, REGION, Json, Refusal, World

pytestmark = [pytest.mark.wide, pytest.mark.timeout(900)]
PLACEHOLDERS = {
    "PROJECT": PROJECT,
    "my-project": PROJECT,
    "URL": "https://slipway-approver.example",
    "NUMBER": NUMBER,
    "REGION": REGION,
    "OWNER": "owner",
    "REPOSITORY": "repository",
    "BUCKET": "shop-weights",
}
"""What a reader of the docs puts in, for a whole word."""


@pytest.fixture
def imitation() -> Iterator[Imitation]:
    served = Imitation(World())
    yield served
    served.close()


@pytest.fixture
def commands(imitation: Imitation, gcloud_host: Host, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(Gcloud(gcloud_host, imitation, tmp_path), tmp_path)
    commands.environment |= imitation.environment(tmp_path)  # curl sends a request of its own
    yield commands
    commands.close()


OPTIONAL = (
    "dashboard.sh --viewer=group:on-call@example.com",
    "webhooks.sh --secret=hooks",
    "prometheus.sh",
)


def test_the_scripts_make_a_world_with_the_real_gcloud(
    commands: Commands,
    imitation: Imitation,
    monitored: World,
    scripts_on: Callable[[World], Scripts],
) -> None:
    """The same world as with the shim, which stands in for gcloud in the other tests. The commands
    that they print for people are run, too.
    """
    printed = []
    for script in ("bootstrap.sh", "functions.sh", "monitoring.sh"):
        printed += run_by_gcloud(commands, imitation, script)
    assert imitation.world.state() == monitored.state()
    for world in (imitation.world, monitored):
        world.resources[f"secretmanager/projects/{PROJECT}/secrets/hooks"] = {"name": "hooks"}
    for script in OPTIONAL:
        printed += run_by_gcloud(commands, imitation, script)
        scripts_on(monitored).run(script).check()
    assert comparable(imitation.world) == comparable(monitored)
    subscriptions = imitation.world.subscriptions()
    assert {name for name, each in subscriptions.items() if each.get("pushConfig")} == {
        *(set(subscriptions) - {"model-releases-dead-kept"})
    }
    assert [command.split()[1] for command in printed] == ["builds", "run"]
    for command in printed:
        commands.shell(["bash", "-c", command]).check()
    assert imitation.unknown == []


def run_by_gcloud(commands: Commands, imitation: Imitation, script: str) -> list[str]:
    """Runs a script, and returns the commands of gcloud that it prints for people."""
    done = commands.run(f"{script} --project={PROJECT}")
    done.check()
    assert imitation.unknown == []
    lines = re.findall(r"^ +(gcloud (?:.*\\\n)*.*)$", done.output, re.MULTILINE)
    return [line for line in lines if not line.startswith("gcloud components")]


def comparable(world: World) -> Json:
    """Its state. Of the machine, which the shim makes without its hardware, the metadata."""
    state = world.state()
    machine = f"compute/projects/{PROJECT}/zones/us-central1-a/instances/slipway-prometheus"
    state["machine"] = state["resources"].pop(machine)["metadata"]
    return state


AS_AT_FIRST = re.compile(
    r"add-iam-policy-binding|services (enable|identity)|subnets|auth |version|projects describe"
    r"|(metrics|policies|dashboards) list"
)
"""Commands that do the same in a first run."""


def test_what_only_a_later_run_does_is_done_by_the_real_gcloud(
    commands: Commands,
    imitation: Imitation,
    monitored: World,
    scripts_on: Callable[[World], Scripts],
) -> None:
    """Each kind of command of a run on a project that an earlier version prepared, and of the
    removal, once.
    """
    set_by_people(monitored)
    earlier, after = age(copy.deepcopy(monitored)), monitored.state()
    scripts = scripts_on(copy.deepcopy(earlier))
    calls = []
    for script in ("bootstrap.sh", "monitoring.sh"):
        scripts.run(script).check()
        calls += scripts.calls
    assert scripts.world.state() == after, "it brings the project up to date"
    for script in ("functions.sh intake", "functions.sh --back intake"):
        scripts.run(script).check()
        calls += scripts.calls
    imitation.world = earlier
    for call in first_of_each_kind(calls):
        if not AS_AT_FIRST.search(" ".join(call.arguments[:4])):
            repeat(commands, call)
    assert imitation.unknown == []
    database = earlier.resources[f"firestore/projects/{PROJECT}/databases/slipway"]
    assert database["pointInTimeRecoveryEnablement"].endswith("ENABLED")
    assert "deleted" not in earlier.resources[f"iam/{ROLE}"]
    assert list(earlier.state()["monitoring"]) == after["monitoring"]


def test_the_removal_is_done_by_the_real_gcloud(
    commands: Commands,
    imitation: Imitation,
    monitored: World,
    scripts_on: Callable[[World], Scripts],
) -> None:
    """Each kind of its commands, once, and the commands for what it leaves."""
    imitation.world = copy.deepcopy(monitored)
    prometheus_is_in(imitation.world)
    scripts = scripts_on(monitored)
    done = scripts.run("uninstall.sh --yes")
    done.check()
    for call in first_of_each_kind(scripts.calls):
        repeat(commands, call)
    named = re.findall(r"^    (gcloud .*)$", done.output, re.MULTILINE)
    assert named
    for command in named:
        commands.shell(["bash", "-c", command]).check()
    assert imitation.unknown == []


def prometheus_is_in(world: World) -> None:
    account = f"slipway-prometheus@{PROJECT}.iam.gserviceaccount.com"
    for key in (
        f"iam/projects/{PROJECT}/serviceAccounts/{account}",
        f"compute/projects/{PROJECT}/global/firewalls/slipway-prometheus-scrapes",
        f"compute/projects/{PROJECT}/global/firewalls/slipway-prometheus-answers",
    ):
        world.resources[key] = {"name": key.partition("/")[2]}


def repeat(commands: Commands, call: Call) -> None:
    command = ["bash", "-c", shlex.join(["gcloud", *call.arguments])]
    done = commands.shell(command, Path(call.directory))
    assert done.code == 0 or "remove-iam-policy-binding" in command[2], (command, done.errors)


def first_of_each_kind(calls: list[Call]) -> list[Call]:
    kinds: dict[str, Call] = {}
    for call in calls:
        words = [each for each in call.arguments if not each.startswith("-")]
        if call.program == "gcloud":
            kinds.setdefault(" ".join(words[:4] if words[0] == "alpha" else words[:3]), call)
    return list(kinds.values())


ROLE = f"projects/{PROJECT}/roles/slipwayReconciler"


def set_by_people(world: World) -> None:
    """An alert policy notifies somebody, and is disabled."""
    channel = f"projects/{PROJECT}/notificationChannels/1"
    world.resources[f"monitoring/{channel}"] = {"name": channel}
    policies = world.named(f"monitoring/projects/{PROJECT}/alertPolicies/").values()
    (policy,) = [each for each in policies if each["userLabels"]["slipway"] == "dead-letters"]
    policy |= {"enabled": False, "notificationChannels": [channel]}


def age(world: World) -> World:
    """As an earlier version left it, or people since."""
    for name in ("slipway", "slipway-settings"):
        database = world.resources.get(f"firestore/projects/{PROJECT}/databases/{name}", {})
        database["pointInTimeRecoveryEnablement"] = "POINT_IN_TIME_RECOVERY_DISABLED"
    world.resources[f"iam/{ROLE}"]["deleted"] = True
    deployer = f"serviceAccount:slipway-deployer@{PROJECT}.iam.gserviceaccount.com"
    for name, subscription in world.subscriptions().items():
        subscription["ackDeadlineSeconds"] = 10
        policy = world.policies.get(f"pubsub/projects/{PROJECT}/subscriptions/{name}")
        if policy and "pushConfig" in subscription and not name.startswith("slipway-"):
            policy["bindings"].append({"role": "roles/pubsub.editor", "members": [deployer]})
    return world


def test_gclouds_words_are_those_that_the_scripts_tell_apart(
    commands: Commands, imitation: Imitation, live: World
) -> None:
    """Existing and refused, for each kind of resource; absent ones are met by a whole run."""
    imitation.world = live
    create = [
        ("pubsub topics create gcr", True),
        ("pubsub subscriptions create gcr-slipway --topic=gcr", True),
        ("iam service-accounts create slipway-intake", True),
        ("iam roles create slipwayReconciler --title=x", True),
        ("tasks queues create slipway-wakeups --location=us-central1", True),
        ("firestore databases create --database=slipway --location=us-central1", True),
        ("compute firewall-rules create slipway-health-checks --allow=tcp", True),
        ("pubsub topics describe gcr", False),
        ("iam service-accounts describe x@y.example", False),
        ("run services describe x --region=us-central1", False),
        ("compute firewall-rules describe x", False),
    ]
    patterns = {
        name: commands.shell(["bash", "-c", f'. deploy/common.sh; printf %s "${name}"']).output
        for name in ("ABSENT", "PRESENT", "BUSY")
    }

    def meaning(command: str) -> set[str]:
        words = commands.shell(["bash", "-c", f"gcloud {command} --project={PROJECT}"]).errors
        return {name for name, pattern in patterns.items() if re.search(pattern, words)}

    for command, is_create in create:
        if is_create:
            assert meaning(command) == {"PRESENT"}, command

    def refuse(method: str, url: str) -> None:
        raise Refusal(
            403, "PERMISSION_DENIED", "Permission denied on resource (or it may not exist)."
        )

    imitation.before = refuse
    for command, _ in create:
        assert meaning(command) == set(), command


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout with a history, in which the documented commands run."""
    folder = tmp_path / "checkout"
    (folder / ".git").mkdir(parents=True)
    (folder / ".git" / "config").write_text("removed-secret")
    for name in (".buildignore", ".gitignore", "cloudbuild.yaml", "main.py"):
        shutil.copy(ROOT / name, folder)
    for name in ("release.json", "secrets.json"):
        (folder / name).write_text("{}")
    return folder


def reader_has(world: World) -> None:
    """What the docs expect to exist beside Slipway, or from an earlier version of it."""
    accounts = f"iam/projects/{PROJECT}/serviceAccounts"
    for key in (
        "storage/b/shop-weights",
        f"pubsub/projects/{PROJECT}/topics/security-reviews",
        f"firestore/projects/{PROJECT}/databases/(default)",
        f"secretmanager/projects/{PROJECT}/secrets/tiny_hugging-face-token",
    ):
        world.resources[key] = {"name": key.rpartition("/")[2], "id": key.rpartition("/")[2]}
    reconciler = f"serviceAccount:slipway-reconciler@{PROJECT}.iam.gserviceaccount.com"
    binding = {"role": "roles/iam.serviceAccountUser", "members": [reconciler]}
    default = f"{accounts}/{NUMBER}-compute@developer.gserviceaccount.com"
    world.policies[default] = {"bindings": [binding], "etag": "0000", "version": 1}


def test_every_documented_command_is_accepted(
    commands: Commands, imitation: Imitation, live: World, checkout: Path
) -> None:
    imitation.world = live
    reader_has(live)
    words = re.compile(rf"(?<![\w$-])({'|'.join(PLACEHOLDERS)})(?!\w)")
    refused = {}
    for where, command in documented():
        done = commands.shell(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                words.sub(lambda each: PLACEHOLDERS[each[1]], command),
            ],
            cwd=checkout,
            PROJECT=PROJECT,
            MODEL="tiny",
            USER="ann",
        )
        if done.code or imitation.unknown:
            refused[f"{where}: {command}"] = (done.errors, *imitation.unknown)
        imitation.unknown.clear()
    assert refused == {}, "\n".join(f"{where}\n{why}" for where, why in refused.items())
    names = {name for upload in imitation.uploads for name in names_in(upload)}
    assert "cloudbuild.yaml" in names
    assert not any(name.startswith(".git/") for name in names), "a history has removed secrets"


def names_in(upload: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(upload)) as archive:
        return [name.removeprefix("./") for name in archive.getnames()]
