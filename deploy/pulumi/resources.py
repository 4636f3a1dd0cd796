"""Slipway's own infrastructure as a list of typed values: what `deploy/bootstrap.sh` and
`deploy/monitoring.sh` make.

Nothing here imports Pulumi: `__main__.py` turns each value into a resource, and a test compares the
values with what the scripts make (tests/deploy/test_pulumi.py).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RELEASES, APPROVALS, ALERTS = "model-releases", "model-approvals", "model-alerts"
ARTIFACTS, IMAGES, BUILDS = "model-artifacts", "gcr", "cloud-builds"
WAKEUPS, STATUS = "model-wakeups", "model-rollout-status"
DEAD, CHECKS = "model-releases-dead", "slipway-checks"
TOPICS = (
    *(RELEASES, APPROVALS, ALERTS, IMAGES, BUILDS, ARTIFACTS, WAKEUPS, STATUS),
    *(DEAD, CHECKS),
)

# Subscriptions whose messages nobody repeats: they become dead letters, never lost ones.
INTENTS = {
    "model-releases-intake": RELEASES,
    "model-approvals-approver": APPROVALS,
    "model-alerts-intake": ALERTS,
    "gcr-slipway": IMAGES,
    "cloud-builds-slipway": BUILDS,
    "model-artifacts-intake": ARTIFACTS,
}
NOTIFIER_SUBSCRIPTION, RECONCILER_SUBSCRIPTION = (
    "model-rollout-status-notifier",
    "model-wakeups-reconciler",
)
FILTERS = {"cloud-builds-slipway": 'attributes.status = "SUCCESS"'}

INTAKE, APPROVER, ALERT_INTAKE = "slipway-intake", "slipway-approver", "slipway-alert-intake"
ARTIFACT_INTAKE, NOTIFIER = "slipway-artifact-intake", "slipway-notifier"
RECONCILER, WAKER, INVOKER = "slipway-reconciler", "slipway-waker", "slipway-invoker"
DEPLOYER, PUBLISHER, MODEL = "slipway-deployer", "slipway-publisher", "slipway-model"
ACCOUNTS = {
    INTAKE: "Slipway intake: records releases, has no Compute permission",
    APPROVER: "Slipway approver: records approvals, has no Compute permission",
    ALERT_INTAKE: "Slipway alert intake: records alerts, has no Compute permission",
    ARTIFACT_INTAKE: "Slipway artifact intake: publishes releases, writes nothing",
    NOTIFIER: "Slipway notifier: sends status events on, publishes nothing",
    RECONCILER: "Slipway reconciler: makes Compute Engine match the release",
    WAKER: "Slipway waker: scheduled wake-ups are published as this account",
    INVOKER: "Slipway push: Pub/Sub calls the functions with this identity",
    DEPLOYER: "Slipway deployer: the identity of Cloud Build",
    PUBLISHER: "Slipway publisher: may only publish releases",
    MODEL: "Slipway model: the identity of the instances",
}
SERVICES = (INTAKE, APPROVER, ALERT_INTAKE, ARTIFACT_INTAKE, NOTIFIER, RECONCILER)

SETTINGS_DATABASE = "slipway-settings"
QUEUE, TICK, ROLE = "slipway-wakeups", "slipway-tick", "slipwayReconciler"
SHELL_IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"
IMAGE_REPOSITORY = "cloud-run-source-deploy"
OWN_NETWORK = "slipway"

APIS = (
    *("artifactregistry", "cloudbuild", "cloudresourcemanager", "cloudscheduler", "cloudtasks"),
    *("compute", "firestore", "iam", "logging", "monitoring", "pubsub", "run", "secretmanager"),
)
# Large fields that no query uses: each index would make writes slower.
UNINDEXED = {
    "models": (
        *("candidate", "conditions", "desired", "outputs", "previous", "recent_events"),
        *("rollout", "stable", "verified"),
    ),
    "releases": ("spec",),
    "outbox": ("data",),
}
EXPIRING = ("notifications", "notification_threads", "ignored")

# The types whose names IAM conditions know. Others pass the condition, and so do lists.
NAMED_TYPES = {
    "BackendService": "backendServices",
    "GlobalForwardingRule": "forwardingRules",
    "Instance": "instances",
    "InstanceTemplate": "instanceTemplates",
    "TargetHttpProxy": "targetHttpProxies",
    "TargetHttpsProxy": "targetHttpsProxies",
}


@dataclass(frozen=True)
class Settings:
    """What the stack's configuration chooses; the defaults are those of `bootstrap.sh`."""

    project: str
    number: str
    """The project's number, which the names of Google's service agents contain."""
    region: str = "us-central1"
    database: str = "slipway"
    firestore_location: str = ""
    """By default the region."""
    network: str = "default"
    create_network: bool = False
    """Create a network `slipway` with a subnetwork in the region, instead of using `network`."""
    subnetwork_range: str = "10.128.0.0/20"
    default_account: bool = False
    """Let Slipway start instances as the default Compute Engine account too."""
    alerts: bool = False
    """Let Cloud Monitoring publish alerts; its first notification channel makes its agent."""
    monitoring: bool = True
    """Log-based metrics, alert policies and a dashboard."""
    notify: str = ""
    """Full names of the notification channels of the alert policies, with commas between them."""
    docs: str = ""
    """Where the folder docs is published: runbooks in alert policies then link to its pages."""
    deletion_protection: bool = True
    """Whether `pulumi destroy` is refused."""

    def __post_init__(self) -> None:
        if not re.fullmatch("[a-z][a-z0-9-]*", self.project):
            raise ValueError(f"project: {self.project} is not the ID of a project")
        if not self.number.isdigit():
            raise ValueError(f"number: {self.number} is not a project's number")
        if not re.fullmatch("[a-z]+-[a-z]+[0-9]+", self.region):
            raise ValueError(f"region: {self.region} is not a region, such as us-central1")
        channel = "projects/[^/,]+/notificationChannels/[^/,]+"
        if self.notify and not re.fullmatch(f"{channel}(,{channel})*", self.notify):
            raise ValueError(
                f"notify: {self.notify} is not projects/PROJECT/notificationChannels/ID, or several"
                " with commas between them"
            )
        if self.docs and not re.fullmatch(r"https://[\w.~:/%@+-]+", self.docs, re.ASCII):
            raise ValueError(f"docs: {self.docs} is not the address of a folder, https://…")
        if self.database == SETTINGS_DATABASE:
            raise ValueError(
                f"database: {SETTINGS_DATABASE} is the database of the settings, and functions may"
                " write that of the documents; choose another"
            )

    @property
    def instances_network(self) -> str:
        return OWN_NETWORK if self.create_network else self.network


@dataclass(frozen=True)
class Sources:
    """The files from which the scripts make the same."""

    role: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    alerts: Mapping[str, Mapping[str, Any]]
    runbooks: Mapping[str, str]
    dashboard: Mapping[str, Any]


def read_sources(root: Path) -> Sources:
    """`root` is the repository's."""
    monitoring = root / "deploy/monitoring"
    return Sources(
        yaml.safe_load((root / "deploy/roles/reconciler.yaml").read_text()),
        _json_files(monitoring / "metrics"),
        _json_files(monitoring / "alerts"),
        {path.stem: path.read_text() for path in (root / "docs/runbooks").glob("*.md")},
        json.loads((monitoring / "dashboard.json").read_text()),
    )


def _json_files(folder: Path) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


@dataclass(frozen=True)
class Resource:
    """A resource with the class of `pulumi_gcp` (`pubsub.Topic`) and its arguments."""

    kind: str
    name: str
    properties: Mapping[str, Any]
    later: tuple[str, ...] = field(default=())
    """Arguments that others change afterwards, and which the program then leaves alone."""
    is_protected: bool = False
    """Whether `pulumi destroy` refuses to delete it."""


Stage = list[Resource]


def stages(settings: Settings, sources: Sources) -> list[Stage]:
    """All resources; each stage needs those before it."""
    found = [
        [*_apis(settings)],
        [*_foundations(settings, sources.role)],
        [*_subscriptions(settings), *_dependents(settings)],
        [*_documents_grants(settings), *_publishing_grants(settings), *_other_grants(settings)],
    ]
    if settings.monitoring:
        found[1] += _metrics(settings, sources)
        found.append([*_alerts(settings, sources), _dashboard(settings, sources)])
    return found


def _apis(settings: Settings) -> Iterator[Resource]:
    for name in APIS:
        service = f"{name}.googleapis.com"
        arguments = {"project": settings.project, "service": service, "disable_on_destroy": False}
        yield Resource("projects.Service", name, arguments)


# -- what others name


def _foundations(settings: Settings, role: Mapping[str, Any]) -> Iterator[Resource]:
    project, region = settings.project, settings.region
    for name in TOPICS:
        yield Resource("pubsub.Topic", name, {"project": project, "name": name})
    for name, title in ACCOUNTS.items():
        arguments = {"project": project, "account_id": name, "display_name": title}
        yield Resource("serviceaccount.Account", name, arguments)
    for name in (settings.database, SETTINGS_DATABASE):
        yield _database(settings, name)
    yield Resource(
        "projects.IAMCustomRole",
        ROLE,
        {
            "project": project,
            "role_id": ROLE,
            "title": role["title"],
            "description": role["description"],
            "stage": role["stage"],
            "permissions": list(role["includedPermissions"]),
        },
    )
    yield Resource(
        "artifactregistry.Repository",
        IMAGE_REPOSITORY,
        {
            "project": project,
            "location": region,
            "repository_id": IMAGE_REPOSITORY,
            "format": "DOCKER",
            "description": "Images of Slipway's functions",
        },
    )
    yield Resource(
        "cloudtasks.Queue",
        QUEUE,
        {
            "project": project,
            "location": region,
            "name": QUEUE,
            "rate_limits": {"max_concurrent_dispatches": 100, "max_dispatches_per_second": 200.0},
            "retry_config": {"max_attempts": 5, "min_backoff": "1s", "max_backoff": "10s"},
        },
    )
    # Pub/Sub's service agent signs the push tokens and forwards dead letters.
    agent = {"project": project, "service": "pubsub.googleapis.com"}
    yield Resource("projects.ServiceIdentity", "pubsub", agent)
    if settings.create_network:
        own = {"project": project, "name": OWN_NETWORK, "auto_create_subnetworks": False}
        yield Resource("compute.Network", OWN_NETWORK, own)


def _database(settings: Settings, name: str) -> Resource:
    arguments = {
        "project": settings.project,
        "name": name,
        "location_id": settings.firestore_location or settings.region,
        "type": "FIRESTORE_NATIVE",
        "delete_protection_state": "DELETE_PROTECTION_ENABLED",
        "point_in_time_recovery_enablement": "POINT_IN_TIME_RECOVERY_ENABLED",
    }
    return Resource(
        "firestore.Database", name, arguments, is_protected=settings.deletion_protection
    )


# -- subscriptions


def _subscriptions(settings: Settings) -> Iterator[Resource]:
    # 100 attempts, 10 s to 10 min apart, take about 16 hours.
    intent = _delivery(135, "604800s", ("10s", "600s")) | {
        "dead_letter_policy": {
            "dead_letter_topic": f"projects/{settings.project}/topics/{DEAD}",
            "max_delivery_attempts": 100,
        }
    }
    for name, topic in INTENTS.items():
        yield _subscription(settings, name, topic, intent, FILTERS.get(name, ""))
    # The notifier gives an event up after 12 hours by itself; a wake-up is repeated by the tick.
    status = _delivery(135, "86400s", ("10s", "600s"))
    yield _subscription(settings, NOTIFIER_SUBSCRIPTION, STATUS, status)
    wakeup = _delivery(135, "3600s", ("10s", "60s"))
    yield _subscription(settings, RECONCILER_SUBSCRIPTION, WAKEUPS, wakeup)
    for service in SERVICES:
        check = _delivery(60, "600s", ("5s", "10s"))
        chosen = f'attributes.service = "{service}"'
        yield _subscription(settings, f"{service}-check", CHECKS, check, chosen)
    yield _subscription(settings, f"{DEAD}-kept", DEAD, _delivery(60, "604800s", None))


def _delivery(deadline: int, retention: str, backoff: tuple[str, str] | None) -> dict[str, Any]:
    delivery = {
        "ack_deadline_seconds": deadline,
        "message_retention_duration": retention,
        "expiration_policy": {"ttl": ""},  # never
    }
    if backoff is None:
        return delivery
    return delivery | {
        "retry_policy": {"minimum_backoff": backoff[0], "maximum_backoff": backoff[1]}
    }


def _subscription(
    settings: Settings, name: str, topic: str, delivery: Mapping[str, Any], chosen: str = ""
) -> Resource:
    """It pulls until an owner connects it to a deployed function (`deploy/functions.sh`)."""
    arguments = {
        "project": settings.project,
        "name": name,
        "topic": f"projects/{settings.project}/topics/{topic}",
        **delivery,
    }
    if chosen:
        arguments["filter"] = chosen
    return Resource("pubsub.Subscription", name, arguments, later=("push_config",))


# -- services, the tick, fields, the network, the first policy


def _dependents(settings: Settings) -> Iterator[Resource]:
    for name in SERVICES:
        yield _service(settings, name)
    yield Resource(
        "cloudscheduler.Job",
        TICK,
        {
            "project": settings.project,
            "region": settings.region,
            "name": TICK,
            "schedule": "* * * * *",
            "time_zone": "Etc/UTC",
            "pubsub_target": {
                "topic_name": f"projects/{settings.project}/topics/{WAKEUPS}",
                "data": base64.b64encode(b'{"tick":true}').decode(),
            },
        },
    )
    for collection, names in UNINDEXED.items():
        for name in names:
            yield _field(settings, collection, name, "index_config")
    for collection in EXPIRING:
        yield _field(settings, collection, "expires_at", "ttl_config")
    yield from _network(settings)
    yield _policy(settings)


def _service(settings: Settings, name: str) -> Resource:
    """An empty service; a deployment puts the function into it."""
    arguments = {
        "project": settings.project,
        "location": settings.region,
        "name": name,
        "deletion_protection": settings.deletion_protection,
        "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
        "template": {
            "service_account": email(settings, name),
            "scaling": {"max_instance_count": 1},
            "containers": [{"image": SHELL_IMAGE}],
        },
    }
    deployed = ("annotations", "build_config", "client", "client_version", "labels", "template")
    return Resource("cloudrunv2.Service", name, arguments, later=(*deployed, "scaling", "traffics"))


def _field(settings: Settings, collection: str, name: str, part: str) -> Resource:
    arguments = {
        "project": settings.project,
        "database": settings.database,
        "collection": collection,
        "field": name,
        part: {},  # no index; or expiry at the time in the field
    }
    return Resource("firestore.Field", f"{collection}-{name}", arguments)


def _network(settings: Settings) -> Iterator[Resource]:
    """Google's health checks and load balancers reach the instances from these two ranges."""
    network = settings.instances_network
    if settings.create_network:
        subnetwork = {
            "project": settings.project,
            "region": settings.region,
            "name": OWN_NETWORK,
            "network": network,
            "ip_cidr_range": settings.subnetwork_range,
            "private_ip_google_access": True,
        }
        yield Resource("compute.Subnetwork", OWN_NETWORK, subnetwork)
    firewall = {
        "project": settings.project,
        "name": "slipway-health-checks",
        "network": network,
        "direction": "INGRESS",
        "allows": [{"protocol": "tcp"}],
        "source_ranges": ["130.211.0.0/22", "35.191.0.0/16"],
    }
    yield Resource("compute.Firewall", "slipway-health-checks", firewall)


def _policy(settings: Settings) -> Resource:
    """A first policy, which allows little. People change it afterwards."""
    numbers = {
        "max_instances": 10,
        "max_project_instances": 40,
        "max_accelerators": 0,
        "max_project_accelerators": 0,
        "max_cost_per_hour": 1,
        "max_project_cost_per_hour": 4,
    }
    names = {
        "regions": [settings.region],
        "machine_types": ["e2-small", "e2-medium", "e2-standard-2", "n1-standard-1"],
        "images": [f"{settings.region}-docker.pkg.dev/{settings.project}/"],
        "service_accounts": [MODEL],
        "networks": [f"global/networks/{settings.instances_network}"],
    }
    fields: dict[str, Any] = {key: {"integerValue": str(each)} for key, each in numbers.items()}
    for key, values in names.items():
        fields[key] = {"arrayValue": {"values": [{"stringValue": each} for each in values]}}
    arguments = {
        "project": settings.project,
        "database": SETTINGS_DATABASE,
        "collection": "settings",
        "document_id": "policy",
        "fields": json.dumps(fields),
    }
    return Resource(
        "firestore.Document",
        "policy",
        arguments,
        later=("fields",),
        is_protected=settings.deletion_protection,
    )


# -- who may do what


def email(settings: Settings, account: str) -> str:
    return f"{account}@{settings.project}.iam.gserviceaccount.com"


def _agent(settings: Settings, service: str) -> str:
    return f"service-{settings.number}@gcp-sa-{service}.iam.gserviceaccount.com"


def _documents_grants(settings: Settings) -> Iterator[Resource]:
    """What decides what a function may do is not the function's to write."""
    for who in SERVICES:
        yield _on_database(settings, who, "viewer", SETTINGS_DATABASE)
        role = "viewer" if who == ARTIFACT_INTAKE else "user"
        yield _on_database(settings, who, role, settings.database)


def _on_database(settings: Settings, who: str, role: str, database: str) -> Resource:
    name = f"projects/{settings.project}/databases/{database}"
    title = "slipway-settings" if database == SETTINGS_DATABASE else "slipway-documents"
    condition = {"title": title, "expression": f'resource.name=="{name}"'}
    return _on_project(settings, who, f"roles/datastore.{role}", condition)


def _on_project(
    settings: Settings, who: str, role: str, condition: Mapping[str, str] | None = None
) -> Resource:
    arguments: dict[str, Any] = {
        "project": settings.project,
        "role": role,
        "member": f"serviceAccount:{email(settings, who)}",
    }
    if condition:
        arguments["condition"] = dict(condition)
    end = f"-{condition['title']}" if condition else ""
    return Resource("projects.IAMMember", f"{who}-{role.rpartition('/')[2]}{end}", arguments)


def _publishing_grants(settings: Settings) -> Iterator[Resource]:
    publishers = {
        RELEASES: (ARTIFACT_INTAKE, PUBLISHER, DEPLOYER),
        WAKEUPS: (INTAKE, APPROVER, ALERT_INTAKE, RECONCILER, WAKER),
        STATUS: (INTAKE, APPROVER, ALERT_INTAKE, RECONCILER),
        DEAD: (INTAKE, APPROVER, ALERT_INTAKE, RECONCILER),
        CHECKS: (DEPLOYER,),
    }
    for topic, accounts in publishers.items():
        for who in accounts:
            yield _publisher(settings, topic, who, email(settings, who))
    yield _publisher(settings, DEAD, "pubsub-agent", _agent(settings, "pubsub"))
    if settings.alerts:
        agent = _agent(settings, "monitoring-notification")
        yield _publisher(settings, ALERTS, "monitoring-agent", agent)


def _publisher(settings: Settings, topic: str, who: str, address: str) -> Resource:
    arguments = {
        "project": settings.project,
        "topic": topic,
        "role": "roles/pubsub.publisher",
        "member": f"serviceAccount:{address}",
    }
    return Resource("pubsub.TopicIAMMember", f"{who}-publishes-{topic}", arguments)


def _other_grants(settings: Settings) -> Iterator[Resource]:
    own_role = f"projects/{settings.project}/roles/{ROLE}"
    yield _on_project(settings, RECONCILER, own_role, _named_slipway())
    for who, role in (
        (INTAKE, "roles/artifactregistry.reader"),  # the digest of a tag
        (RECONCILER, "roles/monitoring.viewer"),
        (MODEL, "roles/artifactregistry.reader"),
        (MODEL, "roles/logging.logWriter"),
        (MODEL, "roles/monitoring.metricWriter"),
        (DEPLOYER, "roles/run.sourceDeveloper"),
        (DEPLOYER, "roles/run.builder"),
        (DEPLOYER, "roles/logging.logWriter"),
        (DEPLOYER, "roles/logging.viewer"),
    ):
        yield _on_project(settings, who, role)
    yield from _acting_grants(settings)
    yield from _subscription_grants(settings)
    yield Resource(
        "cloudtasks.QueueIamMember",
        f"{RECONCILER}-enqueues",
        {
            "project": settings.project,
            "location": settings.region,
            "name": QUEUE,
            "role": "roles/cloudtasks.enqueuer",
            "member": f"serviceAccount:{email(settings, RECONCILER)}",
        },
    )
    for name in SERVICES:
        arguments = {
            "project": settings.project,
            "location": settings.region,
            "name": name,
            "role": "roles/run.invoker",
            "member": f"serviceAccount:{email(settings, INVOKER)}",
        }
        yield Resource("cloudrunv2.ServiceIamMember", f"{INVOKER}-calls-{name}", arguments)


def _named_slipway() -> dict[str, str]:
    each = (
        f'(resource.type != "compute.googleapis.com/{kind}" || '
        f'resource.name.extract("/{part}/{{name}}").startsWith("slipway-"))'
        for kind, part in NAMED_TYPES.items()
    )
    return {"title": "slipway-names", "expression": " && ".join(each)}


def _acting_grants(settings: Settings) -> Iterator[Resource]:
    acting = [(RECONCILER, MODEL), (RECONCILER, WAKER)]
    acting += [(DEPLOYER, other) for other in (*SERVICES, DEPLOYER)]
    for who, other in acting:
        member, address = email(settings, who), email(settings, other)
        yield _on_account(settings, f"{who}-acts-as-{other}", address, "User", member)
    if settings.default_account:
        member = email(settings, RECONCILER)
        address = f"{settings.number}-compute@developer.gserviceaccount.com"
        yield _on_account(settings, f"{RECONCILER}-acts-as-default", address, "User", member)
    agent, invoker = _agent(settings, "pubsub"), email(settings, INVOKER)
    yield _on_account(settings, f"pubsub-agent-signs-{INVOKER}", invoker, "TokenCreator", agent)


def _on_account(settings: Settings, name: str, address: str, role: str, member: str) -> Resource:
    arguments = {
        "service_account_id": f"projects/{settings.project}/serviceAccounts/{address}",
        "role": f"roles/iam.serviceAccount{role}",
        "member": f"serviceAccount:{member}",
    }
    return Resource("serviceaccount.IAMMember", name, arguments)


def _subscription_grants(settings: Settings) -> Iterator[Resource]:
    checks = [f"{name}-check" for name in SERVICES]
    deployer, agent = email(settings, DEPLOYER), _agent(settings, "pubsub")
    for name in (*INTENTS, NOTIFIER_SUBSCRIPTION, RECONCILER_SUBSCRIPTION, *checks):
        yield _on_subscription(settings, f"{DEPLOYER}-views-{name}", name, "viewer", deployer)
    for name in INTENTS:
        yield _on_subscription(settings, f"pubsub-agent-takes-{name}", name, "subscriber", agent)


def _on_subscription(
    settings: Settings, name: str, subscription: str, role: str, member: str
) -> Resource:
    arguments = {
        "project": settings.project,
        "subscription": subscription,
        "role": f"roles/pubsub.{role}",
        "member": f"serviceAccount:{member}",
    }
    return Resource("pubsub.SubscriptionIAMMember", name, arguments)


# -- monitoring


def _metrics(settings: Settings, sources: Sources) -> Iterator[Resource]:
    for name, metric in sources.metrics.items():
        arguments = {"project": settings.project, "name": name, **_in_snakes(metric)}
        yield Resource("logging.Metric", name, arguments)


def _alerts(settings: Settings, sources: Sources) -> Iterator[Resource]:
    """Whether one is enabled is set by people, and whom it notifies unless the stack says that."""
    for name, policy in sources.alerts.items():
        content = sources.runbooks[name]
        if settings.docs:
            link = rf"[docs/\1]({settings.docs.rstrip('/')}/\1)"
            content = re.sub(r"`docs/([a-z/-]*\.md)`", link, content)
        arguments = {
            "project": settings.project,
            "enabled": True,
            "documentation": {"content": content, "mime_type": "text/markdown"},
            **_in_snakes(policy),
        }
        later = ["enabled"]
        if settings.notify:
            arguments["notification_channels"] = settings.notify.split(",")
        else:
            later.append("notification_channels")
        yield Resource("monitoring.AlertPolicy", name, arguments, later=tuple(later))


def _dashboard(settings: Settings, sources: Sources) -> Resource:
    """People change it afterwards."""
    arguments = {"project": settings.project, "dashboard_json": json.dumps(sources.dashboard)}
    return Resource("monitoring.Dashboard", "slipway", arguments, later=("dashboard_json",))


def _in_snakes(value: Any) -> Any:
    """JSON of an API as arguments of Pulumi, whose names have underscores. Keys of labels, which
    are in lower case, stay as they are.
    """
    if isinstance(value, dict):
        return {
            re.sub("[A-Z]", lambda each: f"_{each[0].lower()}", key): _in_snakes(each)
            for key, each in value.items()
        }
    return [_in_snakes(each) for each in value] if isinstance(value, list) else value
