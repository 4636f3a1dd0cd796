"""What the deployment scripts would make of a project: who may do what, what waits for whom, and
that running twice is safe.

The scripts run for real, with `--dry-run`, or with a gcloud on the PATH that only writes down what
it was asked."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
PROJECT = "slipway-project"

Command = list[str]


def script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "GOOGLE_CLOUD_PROJECT"}
    return subprocess.run(
        [DEPLOY / name, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean | environment,
    )


def shown(name: str, *arguments: str) -> list[Command]:
    result = script(name, f"--project={PROJECT}", "--dry-run", *arguments)
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines() if line.startswith("gcloud ")]


def with_every_resource_there(tmp_path: Path, name: str) -> list[Command]:
    """What a script asks of a gcloud that answers every question with yes."""
    gcloud, asked = tmp_path / "gcloud", tmp_path / "asked"
    answer = (
        'case "$*" in *projectNumber*) echo 1234567890 ;; *) echo https://service.example ;; esac'
    )
    gcloud.write_text(
        f'#!/bin/bash\nprintf "%q " gcloud "$@" >> {asked}\necho >> {asked}\n{answer}\n'
    )
    gcloud.chmod(0o755)
    result = script(name, f"--project={PROJECT}", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in asked.read_text().splitlines()]


def flag(command: Command, name: str) -> str:
    values = [part.partition("=")[2] for part in command if part.startswith(f"--{name}=")]
    return values[0] if values else ""


def that_say(words: str, commands: list[Command]) -> list[Command]:
    """The commands that begin with these words after `gcloud`."""
    return [command for command in commands if command[1 : 1 + len(words.split())] == words.split()]


def email(identity: str) -> str:
    return f"{identity}@{PROJECT}.iam.gserviceaccount.com"


def granted(identity: str) -> set[tuple[str, str]]:
    """Role and the resource it is given on, of one identity."""
    bindings = [
        command
        for command in shown("bootstrap.sh")
        if any("add-iam-policy-binding" in part for part in command)
    ]
    mine = [
        command
        for command in bindings
        if flag(command, "member") == f"serviceAccount:{email(identity)}"
    ]
    return {
        (flag(command, "role"), command[command.index("add-iam-policy-binding") + 1])
        for command in mine
    }


def test_the_intake_holds_no_compute_permission_and_nothing_on_the_project_but_its_documents() -> (
    None
):
    assert {role for role, resource in granted("slipway-intake") if resource == PROJECT} == {
        "roles/datastore.user"
    }
    assert {role for role, _ in granted("slipway-intake")} == {
        "roles/datastore.user",
        "roles/pubsub.publisher",
    }


def test_only_the_turn_may_change_compute_engine() -> None:
    identities = [
        command[4] for command in that_say("iam service-accounts create", shown("bootstrap.sh"))
    ]
    may = {
        name: {role for role, _ in granted(name) if "compute" in role or "/slipway" in role}
        for name in identities
    }
    assert {name: roles for name, roles in may.items() if roles} == {
        "slipway-turn": {f"projects/{PROJECT}/roles/slipwayTurn"}
    }
    assert ("roles/iam.serviceAccountUser", email("slipway-model")) in granted("slipway-turn")


def test_the_turns_role_is_made_from_its_file_before_it_is_given_and_set_again_by_a_second_run(
    tmp_path: Path,
) -> None:
    commands = shown("bootstrap.sh")
    (made,) = that_say("iam roles create", commands)
    given = [command for command in commands if flag(command, "role").endswith("/slipwayTurn")]
    assert made[4] == "slipwayTurn"
    assert (DEPLOY / flag(made, "file")).exists()
    assert commands.index(made) < commands.index(given[0])
    (again,) = that_say("iam roles update", with_every_resource_there(tmp_path, "bootstrap.sh"))
    assert again[4:] == made[4:]


def test_instances_run_as_the_accounts_that_were_agreed_to() -> None:
    def accounts(*arguments: str) -> set[str]:
        commands = that_say(
            "iam service-accounts add-iam-policy-binding", shown("bootstrap.sh", *arguments)
        )
        return {
            command[4]
            for command in commands
            if flag(command, "member") == f"serviceAccount:{email('slipway-turn')}"
        }

    assert accounts("--only-model-account") == {email("slipway-model")}
    assert accounts() == {email("slipway-model"), "0-compute@developer.gserviceaccount.com"}


def test_what_the_tick_asks_for_stays_in_the_index() -> None:
    exempt = that_say("firestore indexes fields update", shown("bootstrap.sh"))
    assert ("models", "desired") in {
        (flag(command, "collection-group"), command[5]) for command in exempt
    }
    assert ("models", "requeue_at") not in {
        (flag(command, "collection-group"), command[5]) for command in exempt
    }


def test_the_publisher_may_publish_releases_and_nothing_else() -> None:
    assert granted("slipway-publisher") == {("roles/pubsub.publisher", "model-releases")}


def test_only_the_push_identity_may_call_the_functions() -> None:
    everything = [*shown("bootstrap.sh"), *shown("functions.sh")]
    assert not [
        command
        for command in everything
        if {"allUsers", "allAuthenticatedUsers"} & {flag(command, "member")}
    ]
    callers = {
        flag(command, "member")
        for command in everything
        if flag(command, "role") == "roles/run.invoker"
    }
    assert callers == {f"serviceAccount:{email('slipway-invoker')}"}
    deploys = that_say("run deploy", everything)
    assert deploys
    assert all(
        "--no-allow-unauthenticated" in command and "--ingress=internal" in command
        for command in deploys
    )


def test_nothing_that_deploys_can_open_a_function_to_strangers_on_any_path_of_it() -> None:
    """Also what no dry run comes by, and what the build says: there is no word for it in any of
    these files."""
    files = [
        ROOT / "cloudbuild.yaml",
        *(
            path
            for path in DEPLOY.rglob("*")
            if path.is_file() and path.suffix in (".sh", ".yaml", ".py")
        ),
    ]
    assert len(files) >= 5
    words = re.compile(
        r"allUsers|allAuthenticatedUsers|(?<!no-)allow-unauthenticated|ingress=all|invoker-iam-check|domain:"
    )
    assert [
        (path.name, found[0]) for path in files if (found := words.search(path.read_text()))
    ] == []


def test_nobody_but_pub_sub_gets_a_token_that_calls_the_functions() -> None:
    """Cloud Run judges each token before a function is reached. The deployer may say whose tokens
    pushes carry; it gets none."""
    everything = [*shown("bootstrap.sh"), *shown("functions.sh")]
    about = [
        command
        for command in everything
        if "add-iam-policy-binding" in command and email("slipway-invoker") in command
    ]
    may = {
        (
            flag(command, "role").removeprefix("roles/iam."),
            flag(command, "member").partition("@")[2],
        )
        for command in about
    }
    assert {who for role, who in may if role == "serviceAccountTokenCreator"} == {
        "gcp-sa-pubsub.iam.gserviceaccount.com"
    }
    assert {role for role, _ in may} == {"serviceAccountTokenCreator", "serviceAccountUser"}
    assert not that_say("iam service-accounts keys", everything)


def test_each_function_runs_as_its_own_identity() -> None:
    deploys = that_say("run deploy", shown("functions.sh"))
    assert {flag(command, "function"): flag(command, "service-account") for command in deploys} == {
        "on_release": email("slipway-intake"),
        "on_wakeup": email("slipway-turn"),
    }


def test_pub_sub_waits_longer_for_a_function_than_the_function_may_run() -> None:
    limits = [
        int(flag(command, "timeout")) for command in that_say("run deploy", shown("functions.sh"))
    ]
    subscriptions = that_say("pubsub subscriptions create", shown("bootstrap.sh"))
    waits = [
        int(flag(command, "ack-deadline")) for command in subscriptions if "dead" not in command[4]
    ]
    assert limits == [120, 120]
    assert waits == [135, 135]


def test_a_release_that_cannot_be_delivered_is_kept() -> None:
    subscriptions = {
        command[4]: command
        for command in that_say("pubsub subscriptions create", shown("bootstrap.sh"))
    }
    dead = flag(subscriptions["model-releases-intake"], "dead-letter-topic").removeprefix(
        f"projects/{PROJECT}/topics/"
    )
    assert dead in {flag(command, "topic") for command in subscriptions.values()}
    assert all(flag(command, "expiration-period") == "never" for command in subscriptions.values())
    agent = [
        command for command in shown("bootstrap.sh") if "gcp-sa-pubsub" in flag(command, "member")
    ]
    assert {
        ("roles/pubsub.publisher", dead),
        ("roles/pubsub.subscriber", "model-releases-intake"),
    } <= {(flag(command, "role"), command[4]) for command in agent}


def test_a_release_outlasts_an_outage_of_half_a_day() -> None:
    """As often as Pub/Sub tries before it gives up, with pauses that double up to the longest."""
    (intake,) = (
        command
        for command in that_say("pubsub subscriptions create", shown("bootstrap.sh"))
        if command[4] == "model-releases-intake"
    )
    attempts = int(flag(intake, "max-delivery-attempts"))
    first, longest = (
        int(flag(intake, f"{which}-retry-delay").removesuffix("s")) for which in ("min", "max")
    )
    assert sum(min(first * 2**number, longest) for number in range(attempts - 1)) >= 12 * 3600


def test_the_tick_of_every_minute_is_a_wake_up() -> None:
    (tick,) = that_say("scheduler jobs", shown("bootstrap.sh"))
    assert flag(tick, "schedule") == "* * * * *"
    assert flag(tick, "topic") == f"projects/{PROJECT}/topics/model-wakeups"
    assert json.loads(flag(tick, "message-body")) == {"tick": True}


def test_the_topics_are_those_that_the_code_publishes_to() -> None:
    code = "\n".join(
        path.read_text()
        for folder in ("handlers", "infra")
        for path in (ROOT / folder).rglob("*.py")
    )
    spoken_of = set(re.findall(r'"(model-(?:releases|wakeups|rollout|dead)[a-z-]*)"', code))
    assert spoken_of | {"model-releases"} == {
        command[4] for command in that_say("pubsub topics create", shown("bootstrap.sh"))
    }


def test_pushes_are_signed_for_the_service_they_go_to(tmp_path: Path) -> None:
    commands = with_every_resource_there(tmp_path, "functions.sh")
    pushes = that_say("pubsub subscriptions modify-push-config", commands)
    assert [command[4] for command in pushes] == ["model-releases-intake", "model-wakeups-turn"]
    for command in pushes:
        assert flag(command, "push-auth-service-account") == email("slipway-invoker")
        assert flag(command, "push-auth-token-audience") == "https://service.example"
    topics = [
        flag(command, "push-endpoint").removeprefix(
            f"https://service.example/projects/{PROJECT}/topics/"
        )
        for command in pushes
    ]
    assert topics == ["model-releases", "model-wakeups"]


def test_a_second_run_makes_nothing_anew(tmp_path: Path) -> None:
    commands = with_every_resource_there(tmp_path, "bootstrap.sh")
    assert commands
    made = [command[1:-1] for command in commands if "create" in command]
    assert [words for words in made if words[:3] != ["beta", "services", "identity"]] == []
    assert not that_say("run deploy", commands), "a deployed function would become a shell again"


def test_one_function_can_be_deployed_alone() -> None:
    assert [
        flag(command, "function")
        for command in that_say("run deploy", shown("functions.sh", "turn"))
    ] == ["on_wakeup"]


@pytest.mark.parametrize("name", ["bootstrap.sh", "functions.sh"])
def test_a_script_explains_itself_and_what_it_misses(name: str) -> None:
    assert script(name, "--help").stdout.startswith(f"Usage: deploy/{name}")
    without = script(name)
    assert (without.returncode, without.stdout) == (1, "")
    assert "--project" in without.stderr
    unknown = script(name, f"--project={PROJECT}", "--dry-run", "--colour=blue")
    assert unknown.returncode == 1
    assert "--colour=blue" in unknown.stderr


def test_gcloud_itself_knows_every_command_and_flag(tmp_path: Path) -> None:
    if shutil.which("gcloud") is None:
        assert os.environ.get("CI") != "true", "gcloud is not installed"
        pytest.skip("gcloud is not installed: its own check of our commands did not run")
    asked = [
        *shown("bootstrap.sh"),
        *shown("functions.sh"),
        *with_every_resource_there(tmp_path, "bootstrap.sh"),
    ]
    distinct = sorted({shlex.join(command) for command in asked})
    commands = tmp_path / "commands.json"
    commands.write_text(json.dumps([{"command_string": command} for command in distinct]))
    linted = subprocess.run(
        [shutil.which("gcloud") or "", "meta", "lint-gcloud-commands", f"--commands-file={commands}"],
        capture_output=True, text=True, timeout=100, env=os.environ | {"CLOUDSDK_CONFIG": str(tmp_path / "config")},
    )  # fmt: skip
    assert linted.returncode == 0, linted.stderr
    verdicts = json.loads(linted.stdout)
    assert len(verdicts) == len(distinct)
    assert [
        (verdict["command_string"], verdict["error_message"])
        for verdict in verdicts
        if not verdict["success"]
    ] == []
