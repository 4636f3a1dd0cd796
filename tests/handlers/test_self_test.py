"""A function tests its own permissions and records the answer, and nothing depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from handlers import self_test
from infra.identity.google import GoogleIdentity
from infra.identity.needs import COMPUTE, Instance
from infra.identity.record import Lack, function_from_document, function_to_document
from infra.store.port import Put
from infra.version import version
from infra.wiring import instance_of
from tests.infra.google_apis import Reply, error, google_apis, metadata
from tests.scenario import PROJECT, Scenario

QUEUE = f"projects/{PROJECT}/locations/us-central1/queues/slipway-wakeups"
WAKER = f"slipway-waker@{PROJECT}.iam.gserviceaccount.com"
RECONCILER = Instance("slipway-reconciler", "r-1", "on_wakeup", PROJECT, QUEUE, WAKER)
RECORD = "functions/slipway-reconciler"


@dataclass
class Grants:
    """Grants all but what is `revoked`; `broken` resources answer with an error."""

    revoked: set[str] = field(default_factory=set)
    broken: dict[str, Reply] = field(default_factory=dict)
    paths: list[str] = field(default_factory=list)

    def answer(self, path: str, body: Any) -> Reply:
        if about := metadata(path):
            return about
        resource = path.removesuffix(":testIamPermissions").rpartition("/")[2]
        self.paths.append(path)
        if resource in self.broken:
            return self.broken[resource]
        granted = [
            each
            for each in body["permissions"]
            if each not in self.revoked and f"{each} {resource}" not in self.revoked
        ]
        return 200, {"permissions": granted} if granted else {}


@contextmanager
def identity_with(grants: Grants) -> Iterator[GoogleIdentity]:
    with google_apis(grants.answer) as url:
        yield GoogleIdentity(PROJECT, url)


def record_of(scenario: Scenario, grants: Grants, instance: Instance = RECONCILER) -> Any:
    with identity_with(grants) as identity:
        self_test.attempt(instance, lambda: scenario.world, lambda: identity)
    document = scenario.store.get(f"functions/{instance.service}")
    return function_from_document(document.data) if document else None


def test_a_function_that_may_do_everything_records_who_and_where_it_is() -> None:
    grants = Grants()
    record = record_of(Scenario(), grants)
    assert (record.lacks, record.untested) == ((), ())
    assert (record.account, record.region) == ("who@p.iam", "us-central1")
    assert (record.revision, record.version) == ("r-1", version())
    model = f"slipway-model@{PROJECT}.iam.gserviceaccount.com"
    assert {path.removesuffix(":testIamPermissions") for path in grants.paths} == {
        f"/v1/projects/{PROJECT}",
        f"/v1/projects/{PROJECT}/topics/model-wakeups",
        f"/v1/projects/{PROJECT}/topics/model-rollout-status",
        f"/v1/projects/{PROJECT}/topics/model-releases-dead",
        f"/v1/projects/-/serviceAccounts/{model}",
        f"/v1/projects/-/serviceAccounts/{WAKER}",
        f"/v2/{QUEUE}",
    }


def test_what_is_revoked_missing_or_cannot_be_tested_is_recorded() -> None:
    publish = "pubsub.topics.publish model-wakeups"
    grants = Grants(
        revoked={COMPUTE[0], COMPUTE[-1], publish},
        broken={
            WAKER: error(404, "Unknown service account"),
            "slipway-wakeups": error(403, "Cloud Tasks API has not been used"),
        },
    )
    record = record_of(Scenario(), grants)
    assert record.lacks == (
        Lack("topic model-wakeups", ("pubsub.topics.publish",)),
        Lack(f"project {PROJECT}", (COMPUTE[0], COMPUTE[-1])),
        Lack(f"service account {WAKER}", ("iam.serviceAccounts.actAs",)),
    )
    assert record.untested == (f"{QUEUE}: 403: Cloud Tasks API has not been used",)


def test_instances_of_a_revision_share_a_record_until_it_is_old() -> None:
    scenario, grants = Scenario(), Grants()
    first = record_of(scenario, grants)
    grants.revoked.add("compute.regions.get")
    scenario.clock.sleep(600)
    assert record_of(scenario, grants) == first
    newer = record_of(scenario, grants, replace(RECONCILER, revision="r-2"))
    assert newer.lacks
    grants.revoked.clear()
    scenario.clock.sleep(self_test.PERIOD.total_seconds())
    renewed = record_of(scenario, grants, replace(RECONCILER, revision="r-2"))
    assert not renewed.lacks
    assert renewed.at - newer.at == timedelta(minutes=15)


@pytest.mark.parametrize("entry_point", ["on_artifact", "on_webhook"])
def test_a_function_that_writes_nothing_logs_the_answer(
    entry_point: str, caplog: pytest.LogCaptureFixture
) -> None:
    scenario, grants = Scenario(), Grants(revoked={"pubsub.topics.publish"})
    instance = Instance("slipway-other", "o-1", entry_point, PROJECT)
    with caplog.at_level("INFO", "slipway"):
        assert record_of(scenario, grants, instance) is None
    (line,) = caplog.records
    assert (line.levelname, line.message) == ("ERROR", "permissions tested")
    logged = function_from_document(line.__dict__["fields"])
    assert logged is not None
    assert [each.permissions for each in logged.lacks] == [("pubsub.topics.publish",)]


@pytest.mark.parametrize(
    "damage", [{}, {"at": 7}, {"at": "2026-01-01T00:00:00"}, {"lacks": [7]}, {"lacks": 7}]
)
def test_a_damaged_record_says_nothing_and_is_replaced(damage: Any) -> None:
    scenario = Scenario()
    first = record_of(scenario, Grants())
    stored = (function_to_document(first) | damage) if damage else {}
    scenario.store.commit(Put(RECORD, stored))
    assert function_from_document(stored) is None
    assert record_of(scenario, Grants()) == first


def test_a_test_that_fails_is_a_warning_and_keeps_the_last_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scenario = Scenario()
    first = record_of(scenario, Grants())
    scenario.clock.sleep(self_test.PERIOD.total_seconds())

    def no_identity() -> GoogleIdentity:
        raise OSError("no metadata server")

    self_test.attempt(RECONCILER, lambda: scenario.world, no_identity)
    assert [each.message for each in caplog.records] == ["permissions not tested"]
    document = scenario.store.get(RECORD)
    assert document is not None
    assert function_from_document(document.data) == first


FORK = """
import os, sys, threading
from handlers import self_test
self_test.FIRST_SECONDS = 0.1
read, write = os.pipe()
def tell(*_):
    os.write(write, f"{os.getpid()} ".encode())
    raise OSError("enough")
self_test.run_in_background(None, tell, tell)
child = os.fork() if sys.argv[1] == "fork" else os.getpid()
if child == 0:
    threading.Event().wait(0.4)
    os._exit(0)
threading.Event().wait(0.3)
print(child, os.read(read, 100).decode())
"""


@pytest.mark.parametrize("server", ["fork", "stay"])
def test_the_process_that_serves_tests_itself_alone(server: str) -> None:
    """functions-framework's server imports the function, and then forks the process that serves."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FORK), server],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    serving, *tested = process.stdout.split()
    assert tested == [serving]


def test_only_an_instance_on_cloud_run_tests_itself() -> None:
    assert instance_of({"GOOGLE_CLOUD_PROJECT": PROJECT}) is None
    assert os.environ.get("K_SERVICE") is None
    environment = {
        "K_SERVICE": "slipway-reconciler",
        "K_REVISION": "r-1",
        "FUNCTION_TARGET": "on_wakeup",
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        "SLIPWAY_QUEUE": QUEUE,
        "SLIPWAY_QUEUE_ACCOUNT": WAKER,
    }
    assert instance_of(environment) == RECONCILER
