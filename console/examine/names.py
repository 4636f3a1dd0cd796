"""What a project should have, by name. The only place in which `slipway doctor` has names.

`tests/console/test_doctor_names.py` compares them with what `deploy/` creates.
"""

from __future__ import annotations

from dataclasses import dataclass

REGION = "us-central1"
"""Where the functions run, unless they say otherwise."""
DEAD_LETTERS = "model-releases-dead"
DEAD_LETTERS_KEPT = "model-releases-dead-kept"
QUEUE = "slipway-wakeups"
TICK = "slipway-tick"
INVOKER = "slipway-invoker"
SHELL_IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"
"""The image of a service before its first deployment. It acknowledges messages and loses them."""
LONGEST_SECONDS = 120
"""The timeout of a function. A message must not be delivered again before it."""


@dataclass(frozen=True)
class Function:
    """A service, and what `deploy/functions.sh` calls it. `writes`: whether it writes documents."""

    service: str
    part: str
    writes: bool = True


INTAKE = Function("slipway-intake", "intake")
APPROVER = Function("slipway-approver", "approver")
ALERT_INTAKE = Function("slipway-alert-intake", "alert-intake")
ARTIFACT_INTAKE = Function("slipway-artifact-intake", "artifact-intake", writes=False)
NOTIFIER = Function("slipway-notifier", "notifier")
RECONCILER = Function("slipway-reconciler", "reconciler")
FUNCTIONS = (INTAKE, APPROVER, ALERT_INTAKE, ARTIFACT_INTAKE, NOTIFIER, RECONCILER)


@dataclass(frozen=True)
class Flow:
    """Messages of a topic go to a function; with `dead`, what fails for good is a dead letter."""

    topic: str
    subscription: str
    function: Function
    dead: bool = True


FLOWS = (
    Flow("model-releases", "model-releases-intake", INTAKE),
    Flow("model-approvals", "model-approvals-approver", APPROVER),
    Flow("model-alerts", "model-alerts-intake", ALERT_INTAKE),
    Flow("gcr", "gcr-slipway", ARTIFACT_INTAKE),
    Flow("cloud-builds", "cloud-builds-slipway", ARTIFACT_INTAKE),
    Flow("model-artifacts", "model-artifacts-intake", ARTIFACT_INTAKE),
    Flow("model-rollout-status", "model-rollout-status-notifier", NOTIFIER, dead=False),
    Flow("model-wakeups", "model-wakeups-reconciler", RECONCILER, dead=False),
)

NOT_INDEXED = frozenset(
    ("models", field)
    for field in (
        *("candidate", "conditions", "desired", "outputs", "previous", "recent_events"),
        *("rollout", "stable", "verified"),
    )
) | {("releases", "spec"), ("outbox", "data")}
"""Fields, by collection, that no query uses: an index on them would make each write slower."""
EXPIRING = frozenset(
    (collection, "expires_at")
    for collection in ("notifications", "notification_threads", "ignored")
)
"""Fields by which Firestore deletes documents."""


def account(name: str, project: str) -> str:
    return f"{name}@{project}.iam.gserviceaccount.com"
