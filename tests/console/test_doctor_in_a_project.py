"""`slipway doctor` in a project: Pub/Sub is Google's emulator, all other APIs answer as they do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1.services.subscriber import SubscriberClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from console.connect import Connection
from console.examine import names
from console.examine.cloud import Cloud
from console.examine.topics import Topics
from handlers import self_test
from infra.identity.google import GoogleIdentity
from infra.identity.needs import Instance
from infra.identity.record import LAST_TICK, function_to_document
from infra.settings import POLICY
from infra.store.port import Delete, Put, StoreError
from infra.store.sqlite import SqliteStore
from infra.wiring import World, make_settings, make_world
from local.topics import make_topics
from tests.console.terminal import run
from tests.console.test_doctor import NATIVE
from tests.infra.google_apis import Reply, error, google_apis, metadata

ENTRY_POINTS = {
    names.INTAKE: "on_release",
    names.APPROVER: "on_approval",
    names.ALERT_INTAKE: "on_alert",
    names.ARTIFACT_INTAKE: "on_artifact",
    names.NOTIFIER: "on_status",
    names.RECONCILER: "on_wakeup",
    names.WEBHOOKS: "on_webhook",
}


@dataclass
class Google:
    """A project's APIs. `changed` answers come first; `revoked` permissions are nobody's."""

    project: str
    logged: dict[str, Any] = field(default_factory=dict)
    """By service: the last line about its test of itself."""
    changed: dict[str, Reply] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    is_closed: bool = False
    """Nobody may read anything."""

    def answer(self, path: str, body: Any) -> Reply:
        if about := metadata(path):
            return about
        if path.endswith(":testIamPermissions"):
            return 200, {"permissions": [*{*body["permissions"]} - self.revoked]}
        if self.is_closed:
            return error(403, "Permission denied")
        name = path.rpartition("/")[2]
        if name in self.changed:
            return self.changed[name]
        if name == "entries:list":
            return 200, self.last_log(body)
        if path.endswith(":getIamPolicy"):
            invoker = names.account(names.INVOKER, self.project)
            members = [f"serviceAccount:{invoker}"]
            return 200, {"bindings": [{"role": "roles/run.invoker", "members": members}]}
        if "/services/" in path:
            return 200, service(name)
        return 200, {
            "slipway": NATIVE,
            names.SETTINGS_DATABASE: NATIVE,
            "fields": {
                "fields": [
                    *(field_of(*each) for each in names.NOT_INDEXED),
                    *(field_of(*each, ttlConfig={"state": "ACTIVE"}) for each in names.EXPIRING),
                ]
            },
            names.QUEUE: {"state": "RUNNING"},
            names.TICK: {"state": "ENABLED", "schedule": "* * * * *"},
            "timeSeries": {"timeSeries": []},
        }[name]

    def last_log(self, body: Any) -> Any:
        found = [line for name, line in self.logged.items() if f'"{name}"' in body["filter"]]
        return {"entries": [{"jsonPayload": line} for line in found]} if found else {}


def service(name: str) -> dict[str, Any]:
    return {
        "uri": f"https://{name}.run.app",
        "latestReadyRevision": f"projects/p/services/{name}/revisions/{name}-00001",
        "template": {"containers": [{"image": f"us-docker.pkg.dev/p/r/{name}"}]},
    }


def field_of(collection: str, name: str, **more: Any) -> dict[str, Any]:
    path = f"projects/p/databases/slipway/collectionGroups/{collection}/fields/{name}"
    return {"name": path, "indexConfig": {}, **more}


@dataclass
class Project:
    """A project that bootstrap and a deployment have made."""

    id: str
    google: Google
    url: str
    world: World
    emulator: str
    subscriber: Any

    def subscription(self, name: str) -> str:
        return f"projects/{self.id}/subscriptions/{name}"

    def deploy(self) -> None:
        make_topics(self.emulator, self.id, names.TOPICS)
        for flow in names.FLOWS:
            self.subscribe(flow)
        for name, function in names.CHECKED.items():
            self.subscribe(names.Flow(names.CHECKS, name, function, dead=False))
        kept = {"name": self.subscription(names.DEAD_LETTERS_KEPT)}
        self.subscriber.create_subscription(
            request=kept | {"topic": f"projects/{self.id}/topics/{names.DEAD_LETTERS}"}, timeout=10
        )
        for function in names.FUNCTIONS:
            self.run_itself(function)
        self.world.store.commit(Put(LAST_TICK, {"at": self.world.clock.now(), "failed": []}))

    def subscribe(self, flow: names.Flow) -> None:
        url = f"https://{flow.function.service}.run.app"
        account = names.account(names.INVOKER, self.id)
        dead = f"projects/{self.id}/topics/{names.DEAD_LETTERS}"
        self.subscriber.create_subscription(
            request={
                "name": self.subscription(flow.subscription),
                "topic": f"projects/{self.id}/topics/{flow.topic}",
                "ack_deadline_seconds": 135,
                "push_config": {
                    "push_endpoint": f"{url}/projects/{self.id}/topics/{flow.topic}",
                    "oidc_token": {"service_account_email": account, "audience": url},
                },
                **({"dead_letter_policy": {"dead_letter_topic": dead}} if flow.dead else {}),
            },
            timeout=10,
        )

    def run_itself(self, function: names.Function, revision: str = "00001") -> None:
        """As the first instance of a revision does."""
        service, entry_point = function.service, ENTRY_POINTS[function]
        instance = Instance(service, f"{service}-{revision}", entry_point, self.id)
        record = self_test.test_itself(
            instance, self.world, lambda: GoogleIdentity(self.id, self.url)
        )
        assert record is not None
        if not function.writes:
            line = function_to_document(record) | {"at": record.at.isoformat()}
            self.google.logged[service] = line

    def doctor(self, world: World | None = None) -> tuple[int, dict[str, dict[str, str]]]:
        connection = Connection(
            world or self.world,
            self.id,
            f"project {self.id}",
            find_topics=lambda: Topics(self.id, self.emulator),
            find_cloud=lambda: Cloud(self.id, "slipway", self.url),
        )
        table = run(lambda _: connection, "doctor")
        assert all(len(line) <= 80 for line in table.out.splitlines())
        result = run(lambda _: connection, "doctor", "--output", "json")
        return result.status, {each["check"]: each for each in result.json}


@pytest.fixture
def slipway(pubsub_emulator: str, project: str, tmp_path: Path) -> Iterator[Project]:
    google = Google(project)
    environment = {
        "SLIPWAY_STORE": f"sqlite:{tmp_path}/s.sqlite",
        "GOOGLE_CLOUD_PROJECT": project,
    }
    world = make_world(environment)
    make_settings(environment).commit(Put(POLICY, {}))
    with google_apis(google.answer) as url, grpc.insecure_channel(pubsub_emulator) as channel:
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        made = Project(project, google, url, world, pubsub_emulator, subscriber)
        made.deploy()
        yield made


def test_each_line_of_a_project_is_right_or_says_what_to_do(slipway: Project) -> None:
    status, found = slipway.doctor()
    measured = {"backlog", "quota of reads"}  # Cloud Monitoring has nothing yet
    assert {name: each for name, each in found.items() if each["result"] != "right"}.keys() == (
        measured
    )
    assert status == 0
    assert names.RECONCILER.service in found

    # A permission is revoked, and found when the function tests itself again.
    slipway.google.revoked.add("compute.regions.get")
    slipway.world.store.commit(Delete(f"functions/{names.RECONCILER.service}"))
    slipway.run_itself(names.RECONCILER)
    status, found = slipway.doctor()
    reconciler = found["slipway-reconciler"]
    assert (status, reconciler["result"]) == (2, "wrong")
    assert f"lacks compute.regions.get on project {slipway.id}" in reconciler["what"]
    assert "deploy/bootstrap.sh" in reconciler["todo"]

    # A subscription is gone, a function never ran, one has a newer revision, the tick is old.
    flow = names.FLOWS[2]
    name = slipway.subscription(flow.subscription)
    slipway.subscriber.delete_subscription(subscription=name, timeout=10)
    newer = service(names.INTAKE.service) | {"latestReadyRevision": "projects/p/revisions/i-00002"}
    slipway.google.changed[names.INTAKE.service] = (200, newer)
    old = slipway.world.clock.now() - timedelta(minutes=9)
    slipway.world.store.commit(
        Delete(f"functions/{names.APPROVER.service}"),
        Put(LAST_TICK, {"at": old, "failed": []}),
    )
    status, found = slipway.doctor()
    wrong = {name: each["what"] for name, each in found.items() if each["result"] == "wrong"}
    assert wrong.keys() == {
        "slipway-reconciler",
        f"topic {flow.topic}",
        "slipway-approver",
        "slipway-intake",
        "tick",
    }
    assert "has recorded no test of itself" in wrong["slipway-approver"]
    assert "revision i-00002 has recorded nothing" in wrong["slipway-intake"]
    assert "processed 9 min" in wrong["tick"]
    assert all(each["todo"] for each in found.values() if each["result"] == "wrong")


class ClosedStore(SqliteStore):
    """Firestore for somebody without a role on it."""

    def list(self, *_: Any, **__: Any) -> Any:
        raise StoreError("Missing or insufficient permissions.")


def test_who_may_read_nothing_is_told_which_role_to_ask_for(slipway: Project) -> None:
    slipway.google.is_closed = True
    world = slipway.world
    closed = World(
        world.clock, lambda: ClosedStore(":memory:"), lambda: world.bus, lambda: world.compute
    )
    status, found = slipway.doctor(closed)
    assert status == 2
    database = found.pop("database")
    assert (database["result"], "roles/datastore.viewer" in database["todo"]) == ("wrong", True)
    roles = {
        name: re.findall(r"roles/[\w.]+", each["todo"])
        for name, each in found.items()
        if each["result"] == "left out"
    }
    assert roles["queue"] == ["roles/cloudtasks.viewer"]
    assert roles["quota of reads"] == roles["backlog"] == ["roles/monitoring.viewer"]
    assert roles["slipway-intake"] == ["roles/datastore.viewer"]
    assert roles["slipway-artifact-intake"] == ["roles/logging.viewer"]
