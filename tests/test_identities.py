"""What each function tests of itself is what bootstrap grants to it."""

from __future__ import annotations

import tomllib

import pytest

from infra import version
from infra.identity.needs import TOPICS, Instance, Need, needs_of
from tests.test_deploy import PROJECT, ROOT, email, granted

QUEUE = f"projects/{PROJECT}/locations/us-central1/queues/slipway-wakeups"
SERVICES = {
    "slipway-intake": "on_release",
    "slipway-approver": "on_approval",
    "slipway-alert-intake": "on_alert",
    "slipway-artifact-intake": "on_artifact",
    "slipway-notifier": "on_status",
    "slipway-reconciler": "on_wakeup",
}
ROLES = {
    "pubsub.topics.publish": "roles/pubsub.publisher",
    "iam.serviceAccounts.actAs": "roles/iam.serviceAccountUser",
    "cloudtasks.tasks.create": "roles/cloudtasks.enqueuer",
    "artifactregistry.repositories.downloadArtifacts": "roles/artifactregistry.reader",
    "monitoring.timeSeries.list": "roles/monitoring.viewer",
}
RECONCILER_ROLE = f"projects/{PROJECT}/roles/slipwayReconciler"


def roles_of(need: Need) -> set[tuple[str, str]]:
    """The grants that a need requires."""
    resource = need.name.rpartition("/")[2]
    return {(ROLES.get(each, RECONCILER_ROLE), resource) for each in need.permissions}


@pytest.mark.parametrize("service", SERVICES)
def test_each_function_tests_what_bootstrap_grants_to_it(service: str) -> None:
    instance = Instance(
        service, "r-1", SERVICES[service], PROJECT, QUEUE, email("slipway-waker"), True
    )
    needed = {grant for need in needs_of(instance) for grant in roles_of(need)}
    bound = granted(service)
    assert needed <= bound
    untested = {role for role, _ in bound - needed if "datastore" not in role}
    # Without the option that forbids it, releases may run as the project's default account.
    assert untested <= ({"roles/iam.serviceAccountUser"} if instance.queue else set())
    assert TOPICS.keys() | {"on_status"} >= {instance.entry_point}


def test_the_version_is_that_of_the_package_and_tells_sources_apart() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert version.number_of(version.version()) == version.number_of(package) == (0, 1, 0)
    assert version.version() == f"{package}+{version.version()[-8:]}"
    assert version.number_of("unknown") == ()
