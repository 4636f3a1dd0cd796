"""What `slipway doctor` finds: each line is right, or says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from console.examine.answer import NoAnswer
from console.examine.documents import LATE, of_passes, of_tick
from console.examine.finding import Finding
from console.examine.functions import of_function, of_versions
from console.examine.messages import of_backlog, of_dead_letters, of_flow
from console.examine.names import (
    ARTIFACT_INTAKE,
    DEAD_LETTERS_KEPT,
    FLOWS,
    INTAKE,
    RECONCILER,
    WEBHOOKS,
    Function,
)
from console.examine.project import of_databases, of_indexes, of_queue, of_quota, of_scheduler
from console.examine.topics import Subscription
from infra.identity.record import LAST_TICK, FunctionRecord, Lack, TickRecord
from infra.store.port import Delete, Due, Put
from tests.console.terminal import Terminal
from tests.rollout.build import NOON
from tests.scenario import Scenario


@pytest.fixture
def scenario() -> Scenario:
    scenario = Scenario()
    scenario.when_released("1")
    scenario.when_seconds_pass(1)  # with a tick
    return scenario


def examine(scenario: Scenario) -> tuple[int, dict[str, dict[str, Any]]]:
    result = Terminal(scenario).run("doctor", "--output", "json")
    return result.status, {each["check"]: each for each in result.json}


def test_all_is_right_where_slipway_works(scenario: Scenario) -> None:
    status, found = examine(scenario)
    assert status == 0
    assert {name: each["result"] for name, each in found.items()} == {
        "database": "right",
        "documents": "right",
        "holds": "right",
        "policy": "right",
        "stop": "right",
        "prices": "right",
        "notifications": "right",
        "sources": "right",
        "passes": "right",
        "gateways": "right",
        "outbox": "right",
        "tick": "right",
        "topics": "left out",
        "functions": "left out",
    }
    text = Terminal(scenario).run("doctor").out
    assert all(len(line) <= 80 for line in text.splitlines())


def wrong_policy(scenario: Scenario) -> None:
    scenario.given_policy(max_instances="many")


def wrong_destination(scenario: Scenario) -> None:
    team = {"type": "slack", "secret": "team", "evnts": ["paused"]}
    scenario.settings.commit(Put("settings/notifications", {"destinations": {"team": team}}))


def wrong_route(scenario: Scenario) -> None:
    scenario.settings.commit(Put("settings/sources", {"routes": {"tiny": {"mach": "*"}}}))


def wrong_prices(scenario: Scenario) -> None:
    scenario.settings.commit(Put("settings/prices", {"cpus": {}}))


def another_schema(scenario: Scenario) -> None:
    scenario.store.commit(Put("models/older", {"schema": 1, "model": "older"}))


def no_tick_yet(scenario: Scenario) -> None:
    scenario.store.commit(Delete(LAST_TICK))


def failed_part(scenario: Scenario) -> None:
    at = scenario.clock.now()
    scenario.store.commit(Put(LAST_TICK, {"at": at, "failed": ["drift scan: Boom"]}))


def damaged_tick(scenario: Scenario) -> None:
    scenario.store.commit(Put(LAST_TICK, {"at": "yesterday"}))


def no_ticks(scenario: Scenario) -> None:
    scenario.clock.sleep(600)


def messages_left(scenario: Scenario) -> None:
    at = scenario.clock.now() - timedelta(minutes=10)
    scenario.store.commit(Put("outbox/x", {"topic": "t", "data": "", "attributes": {}, "at": at}))


@pytest.mark.parametrize(
    ("break_it", "check", "what"),
    [
        (wrong_policy, "policy", "settings/policy: max_instances must be a non-negative"),
        (wrong_destination, "notifications", "destinations.team: has unknown fields evnts"),
        (wrong_route, "sources", "routes.tiny: has unknown fields mach"),
        (wrong_prices, "prices", "cpus"),
        (no_tick_yet, "tick", "no tick has been processed yet"),
        (damaged_tick, "tick", "no tick has been processed yet"),
        (failed_part, "tick", "parts of the last one failed: drift scan: Boom"),
        (another_schema, "documents", "models/older: the document has schema 1"),
        (no_ticks, "passes", "and less: tiny"),
        (messages_left, "outbox", "messages not published: 1, the oldest since 10 min"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_is_named_with_status_2(
    scenario: Scenario, break_it: Any, check: str, what: str
) -> None:
    break_it(scenario)
    status, found = examine(scenario)
    assert status == 2
    wrong = {name for name, each in found.items() if each["result"] == "wrong"}
    assert wrong == ({check, "tick"} if break_it is no_ticks else {check})
    assert what in found[check]["what"]
    assert found[check]["todo"]


def test_a_pass_is_overdue_only_after_minutes() -> None:
    due = Due(NOON - LATE, "tiny")
    assert of_passes((), NOON).result == "right"
    finding = of_passes((due, *(Due(NOON, f"m{number}") for number in range(5))), NOON)
    assert finding.what == "overdue for 3 min and less: tiny, m0, m1 and 3 more"
    assert "tick" in finding.todo


def test_a_tick_is_old_after_minutes() -> None:
    assert of_tick(TickRecord(NOON - LATE), NOON).result == "right"
    assert of_tick(TickRecord(NOON + LATE), NOON).result == "right"  # another clock
    finding = of_tick(TickRecord(NOON - 2 * LATE), NOON)
    assert finding.what.startswith("the last one was processed 6 min ago")
    assert "scheduler" in finding.todo


# ---- What only a project on Google Cloud has

PROJECT = "p-1"
URL = "https://intake-x.run.app"
FLOW = FLOWS[0]
PUSHING = Subscription(
    FLOW.subscription,
    f"{URL}/projects/{PROJECT}/topics/{FLOW.topic}",
    is_active=True,
    push_account=f"slipway-invoker@{PROJECT}.iam.gserviceaccount.com",
    push_audience=URL,
    dead_letters="model-releases-dead",
    ack_seconds=135,
)


@pytest.mark.parametrize(
    ("subscriptions", "what"),
    [
        (NoAnswer("absent", "no such topic"), "it does not exist"),
        ((), f"subscription {FLOW.subscription} does not exist"),
        ((replace(PUSHING, name="theirs"),), f"subscription {FLOW.subscription} does not exist"),
        ((replace(PUSHING, push_endpoint=""),), "no subscription pushes to a function"),
        ((replace(PUSHING, push_endpoint="https://x"),), "pushes to https://x, not to"),
        ((replace(PUSHING, is_active=False),), "cannot deliver"),
        ((replace(PUSHING, push_account=""),), "signs as nobody"),
        ((replace(PUSHING, push_audience="other"),), "signs for other"),
        ((replace(PUSHING, dead_letters=""),), "has no dead letters"),
        ((replace(PUSHING, ack_seconds=10),), "again after 10 s"),
    ],
)
def test_a_topic_needs_a_subscription_that_pushes_to_its_function(
    subscriptions: tuple[Subscription, ...] | NoAnswer, what: str
) -> None:
    assert of_flow(FLOW, (PUSHING,), PROJECT, URL).result == "right"
    finding = of_flow(FLOW, subscriptions, PROJECT, URL)
    assert finding.result == "wrong"
    assert what in finding.what
    assert "deploy/bootstrap.sh --project=p-1" in finding.todo


def test_without_the_right_to_read_a_service_its_url_is_not_compared() -> None:
    elsewhere = replace(PUSHING, push_endpoint="https://e/projects/p-1/topics/model-releases")
    assert of_flow(FLOW, (elsewhere,), PROJECT, "").result == "right"
    other_topic = replace(PUSHING, push_endpoint="https://e/projects/p-1/topics/gcr")
    assert of_flow(FLOW, (other_topic,), PROJECT, "").result == "wrong"
    assert of_flow(FLOW, DENIED, PROJECT, "").todo == "Ask for roles/pubsub.viewer"
    failed = NoAnswer("failed", "Pub/Sub: 503")
    assert of_flow(FLOW, failed, PROJECT, "").todo == "Try again"


def measured(name: str, value: float) -> dict[str, Any]:
    labels = {"labels": {"subscription_id": name}}
    return {"timeSeries": [{"resource": labels, "points": [{"value": {"int64Value": value}}]}]}


def test_messages_that_nobody_acknowledges_are_found() -> None:
    assert of_backlog(measured(FLOW.subscription, 30)).what == "the oldest message is 30 s old"
    late = of_backlog(measured(FLOW.subscription, 3600))
    assert (late.result, late.what) == (
        "wrong",
        "messages are not acknowledged: model-releases-intake since 1 h",
    )
    assert of_backlog({}).result == "left out"
    assert of_backlog(measured("theirs", 3600)).result == "left out"
    assert of_backlog(NoAnswer("denied", "no")).todo == "Ask for roles/monitoring.viewer"


def test_dead_letters_are_kept_by_a_subscription() -> None:
    kept = (replace(PUSHING, name=DEAD_LETTERS_KEPT, push_endpoint=""),)
    counted = of_dead_letters(kept, measured(DEAD_LETTERS_KEPT, 2), PROJECT, is_google=True)
    assert counted.what == "subscriptions: 1; messages in it: 2"
    assert of_dead_letters((), None, PROJECT, is_google=True).result == "wrong"
    assert of_dead_letters((), None, PROJECT, is_google=False).result == "right"


RECORD = FunctionRecord("slipway-reconciler", "r-2", "0.1.0+a", NOON, "us-central1", "who@p")
SERVICE = {
    "uri": URL,
    "latestReadyRevision": "projects/p-1/locations/l/services/slipway-reconciler/revisions/r-2",
    "template": {"containers": [{"image": "us-central1-docker.pkg.dev/p-1/r/reconciler"}]},
    "terminalCondition": {"state": "CONDITION_SUCCEEDED"},
}
INVOKER = f"serviceAccount:{PUSHING.push_account}"
CALLERS = {"bindings": [{"role": "roles/run.invoker", "members": [INVOKER]}]}
SHELL = {"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]}}
FAILED = {"terminalCondition": {"state": "CONDITION_FAILED", "message": "Image not found"}}
ABSENT, DENIED = NoAnswer("absent", "no such thing"), NoAnswer("denied", "run: not allowed")
LACKS = replace(RECORD, lacks=(Lack("project p-1", ("compute.a", "compute.b")),))


@pytest.mark.parametrize(
    ("record", "service", "result", "what"),
    [
        (RECORD, SERVICE, "right", "who@p may do all it needs, tested 0 s ago"),
        (RECORD, DENIED, "right", "who@p may do all it needs"),
        (RECORD, ABSENT, "wrong", "it is not deployed"),
        (RECORD, SERVICE | SHELL, "wrong", "an empty shell"),
        (RECORD, SERVICE | FAILED, "wrong", "Cloud Run: Image not found"),
        (None, SERVICE, "wrong", "it has recorded no test of itself"),
        (None, DENIED, "wrong", "it has recorded no test of itself"),
        (replace(RECORD, revision="r-1"), SERVICE, "wrong", "revision r-2 has recorded nothing"),
        (replace(LACKS, revision="r-1"), SERVICE, "wrong", "revision r-2 has recorded nothing"),
        (LACKS, SERVICE, "wrong", "who@p lacks compute.a, compute.b on project p-1"),
        (replace(RECORD, at=NOON - timedelta(hours=1)), SERVICE, "wrong", "tested itself 1 h ago"),
        (replace(RECORD, untested=("queue: 503",)), SERVICE, "left out", "queue: 503"),
    ],
)
def test_a_function_is_judged_by_its_own_record(
    record: FunctionRecord | None, service: Any, result: str, what: str
) -> None:
    finding = of_function(RECONCILER, record, service, CALLERS, PROJECT, NOON)
    assert finding.result == result
    assert what in finding.what
    assert bool(finding.todo) == (result != "right")


def test_only_pub_sub_may_call_a_function_and_anybody_webhooks() -> None:
    def finding_of(function: Function, *members: str) -> Finding:
        callers = {"bindings": [{"role": "roles/run.invoker", "members": members}]}
        return of_function(function, RECORD, SERVICE, callers, PROJECT, NOON)

    assert "as which Pub/Sub pushes, may not call it" in finding_of(INTAKE).what
    assert "anybody may call it: remove allUsers" in finding_of(INTAKE, INVOKER, "allUsers").what
    assert finding_of(WEBHOOKS, "allUsers").result == "right"
    unread = of_function(INTAKE, RECORD, SERVICE, DENIED, PROJECT, NOON)
    assert unread.result == "right"
    absent = of_function(WEBHOOKS, None, ABSENT, ABSENT, PROJECT, NOON)
    assert (absent.result, "webhooks.sh" in absent.todo) == ("left out", True)


def test_only_the_reconciler_has_to_have_run_lately() -> None:
    old = replace(RECORD, service=INTAKE.service, at=NOON - timedelta(days=9))
    assert of_function(INTAKE, old, SERVICE, CALLERS, PROJECT, NOON).result == "right"


def test_a_function_without_documents_is_judged_by_its_log() -> None:
    denied = of_function(ARTIFACT_INTAKE, DENIED, SERVICE, CALLERS, PROJECT, NOON)
    assert (denied.result, denied.todo) == ("left out", "Ask for roles/logging.viewer")
    assert of_function(ARTIFACT_INTAKE, None, SERVICE, CALLERS, PROJECT, NOON).result == "wrong"


@pytest.mark.parametrize(
    ("deployed", "result", "what"),
    [
        ((), "left out", "no function has recorded"),
        (("0.1.0+a", "0.1.0+a"), "right", "all functions run 0.1.0+a, as this slipway"),
        (("0.1.0+b", "0.1.0+b"), "right", "the same version with other sources"),
        (("0.1.0+a", "0.1.0+b"), "wrong", "functions differ: 0.1.0+a in f0; 0.1.0+b in f1"),
        (("0.0.9+a",), "wrong", "older than this slipway"),
        (("0.2.0+a",), "wrong", "newer than this slipway"),
    ],
)
def test_versions_are_compared(deployed: tuple[str, ...], result: str, what: str) -> None:
    versions = {f"f{number}": version for number, version in enumerate(deployed)}
    finding = of_versions(versions, "0.1.0+a")
    assert finding.result == result
    assert what in finding.what


def quota(name: str, *values: float) -> dict[str, Any]:
    return {
        "resource": {"labels": {"location": "us-central1"}},
        "metric": {"labels": {"quota_metric": f"compute.googleapis.com/{name}"}},
        "points": [{"value": {"int64Value": str(value)}} for value in values],
    }


def test_the_quota_of_reads_that_is_nearest_to_its_limit_counts() -> None:
    limits = {"timeSeries": [quota("reads_per_region", 1500), quota("read_requests", 100)]}
    used = [quota("reads_per_region", 300, 450, 10), quota("read_requests", 5)]
    other = quota("global_writes", 99)
    finding = of_quota({"timeSeries": [*used, other]}, limits)
    assert finding == Finding(
        "quota of reads",
        "right",
        "reads_per_region in us-central1: at most 450 of 1500 a minute in the last half hour,"
        " 1050 left",
    )
    near = of_quota({"timeSeries": [*used, quota("read_requests", 96)]}, limits)
    assert (near.result, "96 of 100" in near.what) == ("wrong", True)
    unmeasured = of_quota({"timeSeries": used}, {})
    assert (unmeasured.result, "it is not known" in unmeasured.what) == ("left out", True)
    assert of_quota({}, limits).what.startswith("it is not known: Cloud Monitoring has no requests")
    assert of_quota(DENIED, limits).todo == "Ask for roles/monitoring.viewer"


NATIVE = {
    "type": "FIRESTORE_NATIVE",
    "locationId": "us-central1",
    "deleteProtectionState": "DELETE_PROTECTION_ENABLED",
    "pointInTimeRecoveryEnablement": "POINT_IN_TIME_RECOVERY_ENABLED",
}


def database(answer: Any, used: str = "slipway") -> Finding:
    variables = [{"name": "SLIPWAY_DATABASE", "value": used}]
    service = {"template": {"containers": [{"env": variables}]}}
    return of_databases({"slipway": answer}, "slipway", [service, DENIED], PROJECT)


@pytest.mark.parametrize(
    ("finding", "result", "what"),
    [
        (database(DENIED), "left out", "database slipway could not be read"),
        (database(ABSENT), "wrong", "database slipway does not exist"),
        (database(NATIVE | {"type": "DATASTORE_MODE"}), "wrong", "is of type DATASTORE_MODE"),
        (database(NATIVE | {"deleteProtectionState": ""}), "wrong", "is not protected"),
        (database({**NATIVE, "pointInTimeRecoveryEnablement": ""}), "wrong", "cannot be restored"),
        (database(NATIVE, "other"), "wrong", "keep documents in other, and this slipway reads"),
        (of_indexes({}, {}, PROJECT), "wrong", "these are never deleted: ignored.expires_at"),
        (of_indexes(DENIED, {}, PROJECT), "left out", "could not be read"),
        (of_queue(ABSENT, PROJECT, "l"), "wrong", "does not exist in l"),
        (of_queue({"state": "PAUSED"}, PROJECT, "l"), "wrong", "is PAUSED"),
        (of_scheduler(ABSENT, PROJECT, "l"), "wrong", "does not exist in l"),
        (of_scheduler({"state": "PAUSED"}, PROJECT, "l"), "wrong", "nothing is woken"),
        (of_scheduler({"state": "ENABLED", "schedule": "0 * * * *"}, PROJECT, "l"), "wrong", "0 *"),
        (
            of_scheduler(
                {"state": "ENABLED", "schedule": "* * * * *", "status": {"code": 7}}, PROJECT, "l"
            ),
            "wrong",
            "not published: code 7",
        ),
        (
            of_queue(NoAnswer("denied", "Cloud Tasks API has not been used in it"), PROJECT, "l"),
            "left out",
            "has not been used",
        ),
    ],
)
def test_what_a_project_has_is_judged(finding: Finding, result: str, what: str) -> None:
    assert finding.result == result
    assert what in finding.what
    assert finding.todo
