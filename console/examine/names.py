"""What a project should have, by name. The only place in which `slipway doctor` has names.

`tests/console/test_doctor_names.py` compares them with what `deploy/` creates.
"""

from __future__ import annotations

from dataclasses import dataclass

REGION = "us-central1"
"""Where the functions run, unless they say otherwise."""
DEAD_LETTERS = "model-releases-dead"
DEAD_LETTERS_KEPT = "model-releases-dead-kept"
SETTINGS_DATABASE = "slipway-settings"
QUEUE = "slipway-wakeups"
TICK = "slipway-tick"
INVOKER = "slipway-invoker"
SHELL_IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"
"""The image of a service before its first deployment. It acknowledges messages and loses them."""
LONGEST_SECONDS = 120
"""The timeout of a function. A message must not be delivered again before it."""


@dataclass(frozen=True)
class Function:
    """A service, and how it is deployed. `writes`: whether it writes documents. `is_public`:
    whether anybody may call it; such a one is optional.
    """

    service: str
    script: str
    writes: bool = True
    is_public: bool = False

    def deploy(self, project: str) -> str:
        return f"Run deploy/{self.script} --project={project}"


INTAKE = Function("slipway-intake", "functions.sh intake")
APPROVER = Function("slipway-approver", "functions.sh approver")
ALERT_INTAKE = Function("slipway-alert-intake", "functions.sh alert-intake")
ARTIFACT_INTAKE = Function("slipway-artifact-intake", "functions.sh artifact-intake", writes=False)
NOTIFIER = Function("slipway-notifier", "functions.sh notifier")
RECONCILER = Function("slipway-reconciler", "functions.sh reconciler")
WEBHOOKS = Function("slipway-webhooks", "webhooks.sh --secret=NAME", writes=False, is_public=True)
FUNCTIONS = (INTAKE, APPROVER, ALERT_INTAKE, ARTIFACT_INTAKE, NOTIFIER, RECONCILER, WEBHOOKS)


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

CHECKS = "slipway-checks"
"""On it a new revision is asked whether it can take over."""
CHECKED = {f"{each.service}-check": each for each in FUNCTIONS if not each.is_public}
"""By the subscription that asks it, each function that takes over by its answer."""
TOPICS = (*(flow.topic for flow in FLOWS), DEAD_LETTERS, CHECKS)

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
