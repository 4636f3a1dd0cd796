"""Which permissions each function needs, and on what: the ones that it tests of itself. Pure.

`deploy/bootstrap.sh` grants the roles that have them; `tests/test_identities.py` compares both.
Permissions on documents are missing here: they are granted on one database by a condition, and no
database tests conditions, so a function tests them by use (`handlers/self_test.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from infra.identity.compute import PERMISSIONS
from rollout.deferred import dataclass

Kind = Literal["project", "topic", "service account", "queue"]
PUBLISH = ("pubsub.topics.publish",)
ACT_AS = ("iam.serviceAccounts.actAs",)
CREATE_TASK = ("cloudtasks.tasks.create",)
READ_IMAGE = ("artifactregistry.repositories.downloadArtifacts",)
READ_METRICS = ("monitoring.timeSeries.list",)
COMPUTE = tuple(sorted({each for method in PERMISSIONS.values() for each in method}))

WAKEUPS, STATUS, DEAD_LETTERS = "model-wakeups", "model-rollout-status", "model-releases-dead"
TOPICS: dict[str, tuple[str, ...]] = {
    "on_release": (WAKEUPS, STATUS, DEAD_LETTERS),
    "on_approval": (WAKEUPS, STATUS, DEAD_LETTERS),
    "on_alert": (WAKEUPS, STATUS, DEAD_LETTERS),
    "on_artifact": ("model-releases",),
    "on_webhook": ("model-artifacts",),
    "on_wakeup": (WAKEUPS, STATUS, DEAD_LETTERS),
}
"""On which topics the function of each entry point publishes; `on_status` publishes nothing."""
MODEL_ACCOUNT = "slipway-model"
"""As which instances run, unless a release names another account."""


@dataclass(frozen=True)
class Instance:
    """One instance of a function. `queue` and `queue_account`: of scheduled wake-ups, or empty."""

    service: str
    revision: str
    entry_point: str
    project: str
    queue: str = ""
    queue_account: str = ""
    has_cloud_monitoring: bool = False


@dataclass(frozen=True)
class Need:
    """Permissions on one resource. `name`: of a topic or service account without its path."""

    kind: Kind
    name: str
    permissions: tuple[str, ...]


def needs_of(instance: Instance) -> tuple[Need, ...]:
    return tuple(_needs_of(instance))


def _needs_of(instance: Instance) -> Iterable[Need]:
    for topic in TOPICS.get(instance.entry_point, ()):
        yield Need("topic", topic, PUBLISH)
    if instance.entry_point == "on_release":
        yield Need("project", instance.project, READ_IMAGE)
    if instance.entry_point == "on_wakeup":
        metrics = READ_METRICS if instance.has_cloud_monitoring else ()
        yield Need("project", instance.project, COMPUTE + metrics)
        model = f"{MODEL_ACCOUNT}@{instance.project}.iam.gserviceaccount.com"
        yield Need("service account", model, ACT_AS)
        if instance.queue:
            yield Need("queue", instance.queue, CREATE_TASK)
            yield Need("service account", instance.queue_account, ACT_AS)
