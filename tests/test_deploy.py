"""What the deployment scripts do to a project: permissions, timeouts, safe repetition.

The tests run the scripts with `--dry-run`, or with a fake gcloud on the PATH that only records its
arguments.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from handlers import artifact, self_check
from infra.store import databases

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SOURCED = {"common.sh", "policy.sh", "rollout.sh"}
WEBHOOKS = DEPLOY / "webhooks.sh"
VIEWER = "group:on-call@example.com"
PROJECT = "slipway-project"
WRITER = {"roles/datastore.user", "roles/datastore.viewer"}  # of documents; of settings

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


def dry_run(name: str, *arguments: str, **environment: str) -> list[Command]:
    result = script(name, f"--project={PROJECT}", "--dry-run", *arguments, **environment)
    assert result.returncode == 0, result.stderr
    return [shlex.split(line) for line in result.stdout.splitlines() if line.startswith("gcloud ")]


SERVICES = ("intake", "approver", "alert-intake", "artifact-intake", "notifier", "reconciler")
LIVE = "100,previous,r-1\n,next,r-2"


def run_against_existing(
    tmp_path: Path, name: str, *arguments: str, revisions: str = LIVE, answer: str = "right"
) -> list[Command]:
    """The commands a script runs when every resource exists already."""
    result, commands = against_existing(
        tmp_path, name, *arguments, revisions=revisions, answer=answer
    )
    assert result.returncode == 0, result.stderr
    return commands


def against_existing(
    tmp_path: Path, name: str, *arguments: str, revisions: str, answer: str
) -> tuple[subprocess.CompletedProcess[str], list[Command]]:
    gcloud, record = tmp_path / "gcloud", tmp_path / "commands"
    sleep = tmp_path / "sleep"
    answers = f"""case "$*" in
*traffic.percent*) printf {shlex.quote(revisions)} ;;
*'logging read'*) echo {shlex.quote(answer)} ;;
*projectNumber*) echo 1234567890 ;;
*locationId*) printf 'FIRESTORE_NATIVE\tus-central1\tPOINT_IN_TIME_RECOVERY_ENABLED\n' ;;
*env.name*) echo SLIPWAY_DATABASE=slipway ;;
*'value(deleted)'*) ;;
*) echo https://service.example ;;
esac"""
    gcloud.write_text(
        f'#!/bin/bash\nprintf "%q " gcloud "$@" >> {record}\necho >> {record}\n{answers}\n'
    )
    sleep.write_text("#!/bin/bash\n")
    curl = tmp_path / "curl"
    curl.write_text("#!/bin/bash\ncat > /dev/null\nprintf 409\n")
    for program in (gcloud, sleep, curl):
        program.chmod(0o755)
    record.unlink(missing_ok=True)
    path = f"{tmp_path}:{os.environ['PATH']}"
    result = script(name, f"--project={PROJECT}", *arguments, PATH=path)
    return result, [shlex.split(line) for line in record.read_text().splitlines()]


def flag(command: Command, name: str) -> str:
    values = [part.partition("=")[2] for part in command if part.startswith(f"--{name}=")]
    return values[0] if values else ""


def starting_with(words: str, commands: list[Command]) -> list[Command]:
    """The commands that begin with `gcloud` and these words."""
    return [command for command in commands if command[1 : 1 + len(words.split())] == words.split()]


def email(identity: str) -> str:
    return f"{identity}@{PROJECT}.iam.gserviceaccount.com"


def granted(identity: str) -> set[tuple[str, str]]:
    """The roles of one service account, each with the resource it is granted on."""
    bindings = [
        command
        for command in dry_run("bootstrap.sh")
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


def test_the_intake_may_use_only_documents_topics_and_images() -> None:
    on_project = {*WRITER, "roles/artifactregistry.reader"}
    assert {
        role for role, resource in granted("slipway-intake") if resource == PROJECT
    } == on_project
    assert {role for role, _ in granted("slipway-intake")} == {
        *on_project,
        "roles/pubsub.publisher",
    }


def test_each_identity_has_these_roles_on_the_whole_project_and_no_other() -> None:
    """A role on the project reaches every account, service, topic and secret of it."""
    commands = dry_run("bootstrap.sh")
    created = starting_with("iam service-accounts create", commands)
    found: dict[str, set[str]] = {command[4]: set() for command in created}
    for command in starting_with("projects add-iam-policy-binding", commands):
        who = flag(command, "member").removeprefix("serviceAccount:").partition("@")[0]
        found[who].add(flag(command, "role").removeprefix("roles/"))
    documents = {"datastore.user", "datastore.viewer"}  # conditions name the database
    assert found == {
        "slipway-intake": {*documents, "artifactregistry.reader"},
        "slipway-approver": documents,
        "slipway-alert-intake": documents,
        "slipway-artifact-intake": {"datastore.viewer"},
        "slipway-notifier": documents,
        "slipway-reconciler": {
            *documents,
            "monitoring.viewer",
            f"projects/{PROJECT}/roles/slipwayReconciler",
        },
        "slipway-waker": set(),
        "slipway-invoker": set(),
        "slipway-deployer": {
            "run.sourceDeveloper",
            "run.builder",
            "logging.logWriter",
            "logging.viewer",
        },
        "slipway-publisher": set(),
        "slipway-model": {
            "artifactregistry.reader",
            "logging.logWriter",
            "monitoring.metricWriter",
        },
    }


def test_only_the_reconciler_may_change_compute_engine() -> None:
    identities = [
        command[4]
        for command in starting_with("iam service-accounts create", dry_run("bootstrap.sh"))
    ]
    may = {
        name: {role for role, _ in granted(name) if "compute" in role or "/slipway" in role}
        for name in identities
    }
    assert {name: roles for name, roles in may.items() if roles} == {
        "slipway-reconciler": {f"projects/{PROJECT}/roles/slipwayReconciler"}
    }
    assert ("roles/iam.serviceAccountUser", email("slipway-model")) in granted("slipway-reconciler")


def test_the_reconcilers_role_is_created_from_its_file_and_updated_by_a_second_run(
    tmp_path: Path,
) -> None:
    commands = dry_run("bootstrap.sh")
    (made,) = starting_with("iam roles create", commands)
    given = [
        command for command in commands if flag(command, "role").endswith("/slipwayReconciler")
    ]
    assert made[4] == "slipwayReconciler"
    assert (DEPLOY / flag(made, "file")).exists()
    assert commands.index(made) < commands.index(given[0])
    (again,) = starting_with("iam roles update", run_against_existing(tmp_path, "bootstrap.sh"))
    assert again[4:] == made[4:]


def test_instances_run_only_as_the_chosen_accounts() -> None:
    def accounts(*arguments: str) -> set[str]:
        commands = starting_with(
            "iam service-accounts add-iam-policy-binding", dry_run("bootstrap.sh", *arguments)
        )
        return {
            command[4]
            for command in commands
            if flag(command, "member") == f"serviceAccount:{email('slipway-reconciler')}"
        }

    chosen = {email("slipway-model"), email("slipway-waker")}  # whose tasks publish wake-ups
    assert accounts() == chosen
    assert accounts("--default-account") == {*chosen, "0-compute@developer.gserviceaccount.com"}


def test_scheduled_wake_ups_are_published_by_an_account_that_can_do_nothing_else(
    tmp_path: Path,
) -> None:
    queue = "slipway-wakeups"
    assert granted("slipway-waker") == {("roles/pubsub.publisher", "model-wakeups")}
    assert ("roles/cloudtasks.enqueuer", queue) in granted("slipway-reconciler")
    assert queue not in {resource for _, resource in granted("slipway-intake")}
    (made,) = starting_with("tasks queues create", dry_run("bootstrap.sh"))
    (again,) = starting_with("tasks queues update", run_against_existing(tmp_path, "bootstrap.sh"))
    assert made[4:] == again[4:]
    deployed = dry_run("functions.sh")
    environment = [flag(each, "set-env-vars") for each in starting_with("run deploy", deployed)]
    path = f"projects/{PROJECT}/locations/us-central1/queues/{queue}"
    assert [
        f"SLIPWAY_QUEUE={path},SLIPWAY_QUEUE_ACCOUNT={email('slipway-waker')}" in each
        for each in environment
    ] == [False, False, False, False, False, True]


@pytest.mark.parametrize("name", ["bootstrap.sh", "functions.sh"])
def test_documents_never_share_the_database_that_functions_may_not_write(name: str) -> None:
    result = script(name, f"--project={PROJECT}", "--dry-run", "--database=slipway-settings")
    assert (result.returncode, result.stdout) == (1, "")
    assert "is the database of the settings" in result.stderr


def test_the_way_back_can_be_printed_without_a_login() -> None:
    (command,) = dry_run("functions.sh", "--back", "intake")
    assert command[:5] == ["gcloud", "run", "services", "update-traffic", "slipway-intake"]


def test_a_source_of_metrics_is_named_to_those_who_accept_and_who_ask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert ("roles/monitoring.viewer", PROJECT) in granted("slipway-reconciler")
    deployed = starting_with("run deploy", dry_run("functions.sh"))
    assert not any("PROMETHEUS" in flag(each, "set-env-vars") for each in deployed)
    counter = 'envoy_rq{job="edge", cluster=~"$backend_services"}'
    monkeypatch.setenv("PROMETHEUS_URL", "http://10.0.0.9:9090")
    monkeypatch.setenv("SLIPWAY_REQUESTS_COUNTER", counter)
    errors = 'envoy_rq{code=~"502|503", cluster=~"$backend_services"}'
    monkeypatch.setenv("SLIPWAY_ERRORS_COUNTER", errors)
    deployed = starting_with("run deploy", dry_run("functions.sh"))
    ending = (
        f";PROMETHEUS_URL=http://10.0.0.9:9090;SLIPWAY_REQUESTS_COUNTER={counter}"
        f";SLIPWAY_ERRORS_COUNTER={errors}"
    )
    has_metrics = [flag(each, "set-env-vars").endswith(ending) for each in deployed]
    assert has_metrics == [True, False, False, False, False, True]


def test_the_field_that_the_tick_queries_stays_indexed() -> None:
    exempt = starting_with("firestore indexes fields update", dry_run("bootstrap.sh"))
    assert ("models", "desired") in {
        (flag(command, "collection-group"), command[5]) for command in exempt
    }
    assert ("models", "requeue_at") not in {
        (flag(command, "collection-group"), command[5]) for command in exempt
    }


def test_the_publisher_may_only_publish_releases() -> None:
    assert granted("slipway-publisher") == {("roles/pubsub.publisher", "model-releases")}


def test_only_the_push_identity_may_call_the_functions() -> None:
    everything = [*dry_run("bootstrap.sh"), *dry_run("functions.sh")]
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
    deploys = starting_with("run deploy", everything)
    assert deploys
    assert all(
        "--no-allow-unauthenticated" in command and "--ingress=internal" in command
        for command in deploys
    )


def test_no_deployment_file_but_that_of_webhooks_makes_a_function_public() -> None:
    """Also covers branches that no dry run reaches, and the build."""
    files = [
        ROOT / "cloudbuild.yaml",
        *(
            path
            for path in DEPLOY.rglob("*")
            if path.is_file() and path.suffix in (".sh", ".yaml", ".py") and path != WEBHOOKS
        ),
    ]
    assert len(files) >= 5
    words = re.compile(
        r"allUsers|allAuthenticatedUsers|(?<!no-)allow-unauthenticated|ingress=all|invoker-iam-check|domain:"
    )
    assert [
        (path.name, found[0]) for path in files if (found := words.search(path.read_text()))
    ] == []


def test_the_public_service_takes_webhooks_and_may_only_publish_them() -> None:
    commands = dry_run("webhooks.sh", "--secret=hooks")
    (deployed,) = starting_with("run deploy", commands)
    assert (deployed[3], flag(deployed, "function")) == ("slipway-webhooks", "on_webhook")
    assert {"--allow-unauthenticated", "--ingress=all"} <= set(deployed)
    assert flag(deployed, "service-account") == email("slipway-webhooks")
    assert flag(deployed, "set-secrets") == "SLIPWAY_WEBHOOK_SECRETS=hooks:latest"
    bindings = [command for command in commands if "add-iam-policy-binding" in command]
    member = f"serviceAccount:{email('slipway-webhooks')}"
    assert {flag(command, "member") for command in bindings} == {member}
    assert {
        (each[each.index("add-iam-policy-binding") + 1], flag(each, "role")) for each in bindings
    } == {
        ("model-artifacts", "roles/pubsub.publisher"),
        ("hooks", "roles/secretmanager.secretAccessor"),
    }
    assert len(WEBHOOKS.read_text().split("allow-unauthenticated")) == 2
    assert "allUsers" not in WEBHOOKS.read_text()
    assert "slipway-webhooks" not in str([*dry_run("bootstrap.sh"), *dry_run("functions.sh")])


def test_only_pub_sub_can_create_tokens_that_call_the_functions() -> None:
    """Cloud Run verifies each token before a request reaches a function. The deployer can neither
    create tokens nor say where Pub/Sub sends them.
    """
    everything = [*dry_run("bootstrap.sh"), *dry_run("functions.sh")]
    about = [
        command
        for command in everything
        if "add-iam-policy-binding" in command and command[4] == email("slipway-invoker")
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
    assert {role for role, _ in may} == {"serviceAccountTokenCreator"}
    assert {role for role, _ in granted("slipway-deployer") if "pubsub" in role} == {
        "roles/pubsub.publisher",
        "roles/pubsub.viewer",
    }
    assert not starting_with("iam service-accounts keys", everything)


def test_each_function_runs_as_its_own_service_account() -> None:
    deploys = starting_with("run deploy", dry_run("functions.sh"))
    assert {flag(command, "function"): flag(command, "service-account") for command in deploys} == {
        "on_release": email("slipway-intake"),
        "on_approval": email("slipway-approver"),
        "on_alert": email("slipway-alert-intake"),
        "on_artifact": email("slipway-artifact-intake"),
        "on_status": email("slipway-notifier"),
        "on_wakeup": email("slipway-reconciler"),
    }


def test_the_ack_deadline_is_longer_than_the_function_timeout() -> None:
    limits = [
        int(flag(command, "timeout"))
        for command in starting_with("run deploy", dry_run("functions.sh"))
    ]
    subscriptions = starting_with("pubsub subscriptions create", dry_run("bootstrap.sh"))
    deadlines = [
        int(flag(command, "ack-deadline"))
        for command in subscriptions
        if "dead" not in command[4] and not command[4].endswith("-check")
    ]
    assert limits == [120] * 6
    assert deadlines == [135] * 8


def test_an_undeliverable_release_is_kept() -> None:
    subscriptions = {
        command[4]: command
        for command in starting_with("pubsub subscriptions create", dry_run("bootstrap.sh"))
    }
    dead = flag(subscriptions["model-releases-intake"], "dead-letter-topic").removeprefix(
        f"projects/{PROJECT}/topics/"
    )
    assert dead in {flag(command, "topic") for command in subscriptions.values()}
    assert all(flag(command, "expiration-period") == "never" for command in subscriptions.values())
    agent = [
        command for command in dry_run("bootstrap.sh") if "gcp-sa-pubsub" in flag(command, "member")
    ]
    assert {
        ("roles/pubsub.publisher", dead),
        ("roles/pubsub.subscriber", "model-releases-intake"),
        ("roles/pubsub.subscriber", "model-approvals-approver"),
        ("roles/pubsub.subscriber", "model-alerts-intake"),
        ("roles/pubsub.subscriber", "gcr-slipway"),
        ("roles/pubsub.subscriber", "cloud-builds-slipway"),
        ("roles/pubsub.subscriber", "model-artifacts-intake"),
    } <= {(flag(command, "role"), command[4]) for command in agent}


def test_a_release_survives_an_outage_of_half_a_day() -> None:
    """The number of attempts, with a delay that doubles up to the maximum."""
    (intake,) = (
        command
        for command in starting_with("pubsub subscriptions create", dry_run("bootstrap.sh"))
        if command[4] == "model-releases-intake"
    )
    attempts = int(flag(intake, "max-delivery-attempts"))
    first, longest = (
        int(flag(intake, f"{which}-retry-delay").removesuffix("s")) for which in ("min", "max")
    )
    assert sum(min(first * 2**number, longest) for number in range(attempts - 1)) >= 12 * 3600


def test_the_minute_tick_publishes_a_wake_up() -> None:
    (tick,) = starting_with("scheduler jobs", dry_run("bootstrap.sh"))
    assert flag(tick, "schedule") == "* * * * *"
    assert flag(tick, "topic") == f"projects/{PROJECT}/topics/model-wakeups"
    assert json.loads(flag(tick, "message-body")) == {"tick": True}


def test_the_scripts_create_the_topics_that_the_code_uses() -> None:
    code = "\n".join(
        path.read_text()
        for folder in ("handlers", "infra")
        for path in (ROOT / folder).rglob("*.py")
    )
    in_code = set(re.findall(r'"(model-(?:releases|wakeups|rollout|dead)[a-z-]*)"', code))
    elsewhere = {"model-approvals", "model-alerts", "model-artifacts", *artifact.TOPICS}
    assert in_code | elsewhere | {self_check.TOPIC} == {
        command[4] for command in starting_with("pubsub topics create", dry_run("bootstrap.sh"))
    }


def test_push_tokens_have_the_service_as_audience(tmp_path: Path) -> None:
    commands = run_against_existing(tmp_path, "functions.sh")
    pushes = starting_with("pubsub subscriptions modify-push-config", commands)
    checks = [command for command in pushes if command[4].endswith("-check")]
    assert [command[4] for command in checks] == [f"slipway-{each}-check" for each in SERVICES]
    for command in checks:
        assert flag(command, "push-auth-token-audience") == "https://service.example"
        assert flag(command, "push-endpoint") == (
            f"https://next---service.example/projects/{PROJECT}/topics/slipway-checks"
        )
    pushes = [command for command in pushes if command not in checks]
    assert [command[4] for command in pushes] == [
        "model-releases-intake",
        "model-approvals-approver",
        "model-alerts-intake",
        "gcr-slipway",
        "cloud-builds-slipway",
        "model-artifacts-intake",
        "model-rollout-status-notifier",
        "model-wakeups-reconciler",
    ]
    for command in pushes:
        assert flag(command, "push-auth-service-account") == email("slipway-invoker")
        assert flag(command, "push-auth-token-audience") == "https://service.example"
    topics = [
        flag(command, "push-endpoint").removeprefix(
            f"https://service.example/projects/{PROJECT}/topics/"
        )
        for command in pushes
    ]
    assert topics == [
        "model-releases",
        "model-approvals",
        "model-alerts",
        "gcr",
        "cloud-builds",
        "model-artifacts",
        "model-rollout-status",
        "model-wakeups",
    ]


def test_nobody_may_approve_until_somebody_is_named() -> None:
    """Not even those who may release, or deploy."""
    commands = dry_run("bootstrap.sh")
    bindings = starting_with("pubsub topics add-iam-policy-binding", commands)
    assert "model-approvals" not in {command[4] for command in bindings}
    on_topics = {role for role, resource in granted("slipway-approver") if resource != PROJECT}
    assert on_topics == {"roles/pubsub.publisher"}
    assert {role for role, resource in granted("slipway-approver") if resource == PROJECT} == WRITER


def test_every_function_reads_settings_and_nobody_whom_the_script_names_writes_them() -> None:
    """By an IAM condition on the database's name; a role without one would be on both."""
    commands = dry_run("bootstrap.sh")
    created = starting_with("firestore databases create", commands)
    documents, settings = (flag(each, "database") for each in created)
    assert settings == databases.SETTINGS_DATABASE
    may: dict[str, dict[str, str]] = {documents: {}, settings: {}}
    for command in starting_with("projects add-iam-policy-binding", commands):
        role = flag(command, "role")
        if "datastore" in role or role in ("roles/owner", "roles/editor"):
            name = (
                r'expression=resource.name=="projects/slipway-project/databases/([^"]+)",title=.+'
            )
            condition = re.fullmatch(name, flag(command, "condition"))
            assert condition, command
            may[condition[1]][flag(command, "member")] = role
    functions = {
        f"serviceAccount:{flag(each, 'service-account')}"
        for each in starting_with("run deploy", commands)
    }
    reader = f"serviceAccount:{email('slipway-artifact-intake')}"
    assert may[settings] == dict.fromkeys(functions, "roles/datastore.viewer")
    assert may[documents] == dict.fromkeys(functions, "roles/datastore.user") | {
        reader: "roles/datastore.viewer"
    }


def test_the_deployer_grants_nothing_and_moves_no_subscription() -> None:
    """Its code runs as every function; it must not gain more than those have."""
    roles = granted("slipway-deployer")
    of_subscriptions = {role for role, name in roles if name in dry_run_subscriptions()}
    assert of_subscriptions == {"roles/pubsub.viewer"}
    assert {(role, name) for role, name in roles if role == "roles/pubsub.publisher"} == {
        ("roles/pubsub.publisher", "model-releases"),
        ("roles/pubsub.publisher", "slipway-checks"),
    }
    assert {role for role, name in roles if name == PROJECT} == {
        "roles/run.sourceDeveloper",
        "roles/run.builder",
        "roles/logging.logWriter",
        "roles/logging.viewer",
    }
    may_be = {name for role, name in roles if role == "roles/iam.serviceAccountUser"}
    deploys = starting_with("run deploy", dry_run("functions.sh"))
    assert may_be == {flag(each, "service-account") for each in deploys} | {
        email("slipway-deployer")
    }


def dry_run_subscriptions() -> set[str]:
    return {
        each[4] for each in starting_with("pubsub subscriptions create", dry_run("bootstrap.sh"))
    }


def test_nobody_whom_the_script_names_may_read_dead_letters() -> None:
    """Those of Pub/Sub itself are messages as they were published, with values of variables."""
    commands = dry_run("bootstrap.sh")
    on_topics = starting_with("pubsub topics add-iam-policy-binding", commands)
    assert {flag(each, "role") for each in on_topics if each[4] == "model-releases-dead"} == {
        "roles/pubsub.publisher"
    }
    on_subscriptions = starting_with("pubsub subscriptions add-iam-policy-binding", commands)
    assert "model-releases-dead-kept" not in {each[4] for each in on_subscriptions}
    on_project = starting_with("projects add-iam-policy-binding", commands)
    assert not [each for each in on_project if "pubsub" in flag(each, "role")]


def test_only_cloud_monitoring_may_publish_alerts() -> None:
    bindings = starting_with("pubsub topics add-iam-policy-binding", dry_run("bootstrap.sh"))
    who = [flag(command, "member") for command in bindings if command[4] == "model-alerts"]
    agent = "service-0@gcp-sa-monitoring-notification.iam.gserviceaccount.com"
    assert who == [f"serviceAccount:{agent}"]
    on_project = {role for role, resource in granted("slipway-alert-intake") if resource == PROJECT}
    assert on_project == WRITER


def test_only_the_reconciler_reads_the_secret_of_gates() -> None:
    commands = dry_run("functions.sh", SLIPWAY_GATE_SECRET="gates")
    deploys = starting_with("run deploy", commands)
    secrets = {
        flag(command, "function"): flag(command, "set-secrets")
        for command in deploys
        if any(each.startswith("--set-secrets=") for each in command)
    }
    assert secrets == {"on_wakeup": "SLIPWAY_GATE_SECRET=gates:latest"}
    signed = {
        flag(command, "function")
        for command in deploys
        if "SLIPWAY_HTTP_GATES=signed" in flag(command, "set-env-vars")
    }
    assert signed == {"on_release", "on_wakeup"}
    assert "SLIPWAY_HTTP_GATES" not in str(dry_run("functions.sh"))


def test_only_the_notifier_reads_the_secrets_of_notifications_and_it_publishes_nothing() -> None:
    deploys = starting_with(
        "run deploy", dry_run("functions.sh", SLIPWAY_NOTIFICATION_SECRETS="notify")
    )
    secrets = {
        flag(command, "function"): flag(command, "set-secrets")
        for command in deploys
        if any(each.startswith("--set-secrets=") for each in command)
    }
    assert secrets == {"on_status": "SLIPWAY_NOTIFICATION_SECRETS=notify:latest"}
    assert granted("slipway-notifier") == {(role, PROJECT) for role in WRITER}


def test_the_artifact_intake_may_only_read_documents_and_publish_releases() -> None:
    assert granted("slipway-artifact-intake") == {
        ("roles/datastore.viewer", PROJECT),
        ("roles/pubsub.publisher", "model-releases"),
    }


def test_only_builds_that_succeeded_are_delivered(tmp_path: Path) -> None:
    created = starting_with("pubsub subscriptions create", dry_run("bootstrap.sh"))
    filters = {each[4]: flag(each, "message-filter") for each in created}
    checks = {f"slipway-{each}-check": f"slipway-{each}" for each in SERVICES}
    assert {name: each for name, each in filters.items() if each} == {
        "cloud-builds-slipway": 'attributes.status = "SUCCESS"',
        **{name: f'attributes.service = "{each}"' for name, each in checks.items()},
    }
    again = run_against_existing(tmp_path, "bootstrap.sh")
    assert not any("message-filter" in str(each) for each in again), "it cannot be changed"


def test_records_that_expire_say_when() -> None:
    commands = starting_with("firestore fields ttls update", dry_run("bootstrap.sh"))
    assert {(command[5], flag(command, "collection-group")) for command in commands} == {
        ("expires_at", "notifications"),
        ("expires_at", "notification_threads"),
        ("expires_at", "ignored"),
    }
    assert all("--enable-ttl" in command for command in commands)


def test_a_second_run_creates_nothing(tmp_path: Path) -> None:
    commands = run_against_existing(tmp_path, "bootstrap.sh")
    assert commands
    made = [command[1:-1] for command in commands if "create" in command]
    assert [words for words in made if words[:3] != ["beta", "services", "identity"]] == []
    assert not starting_with("run deploy", commands), (
        "an empty service would replace a deployed function"
    )


def test_one_function_can_be_deployed_alone() -> None:
    assert [
        flag(command, "function")
        for command in starting_with("run deploy", dry_run("functions.sh", "reconciler"))
    ] == ["on_wakeup"]


def test_the_prometheus_may_find_instances_and_change_nothing(tmp_path: Path) -> None:
    commands = dry_run("prometheus.sh")
    roles = {
        flag(each, "role") for each in starting_with("projects add-iam-policy-binding", commands)
    }
    assert roles == {"roles/compute.viewer", "roles/logging.logWriter"}
    answers, scrapes = sorted(starting_with("compute firewall-rules create", commands))
    assert flag(scrapes, "source-service-accounts") == email("slipway-prometheus")
    assert flag(answers, "target-service-accounts") == email("slipway-prometheus")
    assert not any(each.startswith("0.") for each in flag(answers, "source-ranges").split(","))
    (machine,) = starting_with("compute instances create", commands)
    assert "--no-address" in machine
    assert "--no-address" not in str(dry_run("prometheus.sh", "--external-ip"))
    again = run_against_existing(tmp_path, "prometheus.sh")
    assert not [each for each in again if "create" in each]
    assert starting_with("compute instances reset", again), "a changed configuration takes effect"


def test_the_dashboard_may_only_read_documents_and_only_its_viewers_see_it() -> None:
    commands = dry_run("dashboard.sh", f"--viewer={VIEWER}")
    (deployed,) = starting_with("beta run deploy", commands)
    assert {"--iap", "--no-allow-unauthenticated"} <= set(deployed)
    assert flag(deployed, "service-account") == email("slipway-dashboard")
    agent = "service-0@gcp-sa-iap.iam.gserviceaccount.com"
    assert {
        (flag(command, "member"), flag(command, "role"))
        for command in commands
        if "add-iam-policy-binding" in command
    } == {
        (f"serviceAccount:{email('slipway-dashboard')}", "roles/datastore.viewer"),
        (f"serviceAccount:{agent}", "roles/run.invoker"),
        (VIEWER, "roles/iap.httpsResourceAccessor"),
    }
    bound = starting_with("projects add-iam-policy-binding", commands)
    assert [flag(each, "condition").partition(",")[0] for each in bound] == [
        f'expression=resource.name=="projects/{PROJECT}/databases/{name}"'
        for name in ("slipway", "slipway-settings")
    ]
    assert starting_with("projects remove-iam-policy-binding", commands), "of earlier versions"
    everybody = script("dashboard.sh", f"--project={PROJECT}", "--viewer=allUsers", "--dry-run")
    assert everybody.returncode == 1
    assert "--viewer must be" in everybody.stderr


def test_the_dashboards_image_has_all_that_it_needs(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "gcloud"
    fake.parent.mkdir()
    saved = tmp_path / "source"
    fake.write_text(
        "#!/bin/sh\n"
        f'for part; do case "$part" in --source=*) cp -R "${{part#*=}}" {saved} ;; esac; done\n'
        'if [ "$1" = version ]; then echo 2026.01.01; fi\n'
    )
    fake.chmod(0o755)
    path = f"{fake.parent}:{os.environ['PATH']}"
    assert script("dashboard.sh", f"--project={PROJECT}", f"--viewer={VIEWER}", PATH=path).stdout
    assert "console.dashboard.service:make_app()" in (saved / "Procfile").read_text()
    code = (
        "import sys; sys.modules |= {'rich': None, 'typer': None}\n"
        "import console.dashboard.service as service; print(service.__file__)\n"
        "service.make_app()\n"
    )
    environment = {"GOOGLE_CLOUD_PROJECT": PROJECT, "PATH": os.environ["PATH"]}
    environment["SLIPWAY_IAP_AUDIENCE"] = "/projects/1/locations/r/services/slipway-dashboard"
    started = subprocess.run(
        [sys.executable, "-c", code], cwd=saved, env=environment, capture_output=True, text=True
    )
    assert started.stdout.startswith(str(saved)), started.stderr
    assert started.returncode == 0, started.stderr


@pytest.mark.parametrize("name", sorted({path.name for path in DEPLOY.glob("*.sh")} - SOURCED))
def test_a_script_prints_its_usage_and_names_a_missing_argument(name: str) -> None:
    assert script(name, "--help").stdout.startswith(f"Usage: deploy/{name}")
    without = script(name)
    assert (without.returncode, without.stdout) == (1, "")
    assert "--project" in without.stderr
    for wrong in ("--project=1234567890", "--region=us-central1-a", "--database=it's"):
        refused = script(name, f"--project={PROJECT}", wrong, "--dry-run")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"{wrong}: not " in refused.stderr
    unknown = script(name, f"--project={PROJECT}", "--dry-run", "--color=blue")
    assert unknown.returncode == 1
    assert "--color=blue" in unknown.stderr
