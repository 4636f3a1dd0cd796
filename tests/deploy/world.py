"""A small imitation of Google's APIs: one dict of resources and one of IAM policies.

`tests/deploy/imitation.py` serves it to the real gcloud over HTTP, and `tests/deploy/shim.py` sends
it the requests that gcloud would send, without gcloud. It refuses what Google refuses, as far as
deployment scripts could meet it: absent and existing resources, APIs that are not enabled, stale
policies, and members, roles, topics and databases that do not exist.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

PROJECT = "slipway-project"
NUMBER = "1234567890"
REGION = "us-central1"
STORAGE_AGENT = f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
SUBNETWORK = f"compute/projects/{PROJECT}/regions/{REGION}/subnetworks/default"

Json = dict[str, Any]


class Refusal(Exception):
    """An error of an API: its HTTP status, its canonical name, and its message."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message


def not_found(name: str) -> Refusal:
    return Refusal(404, "NOT_FOUND", f"Resource not found (resource={name}).")


def invalid(message: str) -> Refusal:
    return Refusal(400, "INVALID_ARGUMENT", message)


class World:
    """What a project contains. Every change goes through `request`.

    A resource's key is `API/NAME`, with the name that the API gives it.
    """

    def __init__(self) -> None:
        default = f"{NUMBER}-compute@developer.gserviceaccount.com"
        self.resources: dict[str, Json] = {
            f"iam/projects/{PROJECT}/serviceAccounts/{default}": {"email": default},
            SUBNETWORK: {"name": "default", "privateIpGoogleAccess": False},
        }
        self.policies: dict[str, Json] = {}
        self.enabled = {"serviceusage", "cloudresourcemanager", "storage", "iap", "logging"}
        self.agents = {f"service-{NUMBER}@gcp-sa-iap.iam.gserviceaccount.com", STORAGE_AGENT}
        self.delay = 0
        """How many requests that name a new service account are refused, as if IAM did not have it
        yet."""
        self._refused: dict[str, int] = {}
        self.published: list[tuple[str, Json]] = []
        self.operations: dict[str, Json] = {}
        self.answers: dict[str, str] = {}
        """What new revisions of a service answer to their self-check, if it is not "right"."""
        self.unready: set[str] = set()
        """Services whose new revisions fail their startup probe."""
        self.fleets: list[Json] = []
        self.components = {"alpha", "beta"}
        """Of gcloud."""
        self.unusable_metrics: set[str] = set()
        """Log-based metrics that are too new for an alert policy."""
        self._number = 0

    def state(self) -> Json:
        """What exists, who may do what, and which APIs are enabled; of a service, what was chosen
        for it. Sources and builds are left out, and names of alert policies and dashboards, since
        they are random.
        """
        left_out = ("run/", "storage/", "cloudbuild/", "monitoring/")
        resources = {
            key: each for key, each in self.resources.items() if not key.startswith(left_out)
        }
        return copy.deepcopy(
            {
                "resources": resources,
                "monitoring": sorted(
                    self.monitoring(), key=lambda each: json.dumps(each, sort_keys=True)
                ),
                "services": {name: chosen(each) for name, each in self.services().items()},
                "bindings": sorted(self.bindings()),
                "enabled": sorted(self.enabled),
            }
        )

    def situation(self) -> str:
        """All that a script can find here: in equal situations it does the same. Operations and
        etags have numbers that only gcloud reads.
        """
        resources = {
            key: each
            for key, each in self.resources.items()
            if not key.startswith(("storage/", "cloudbuild/", "monitoring/"))
        }
        parts = (
            sorted(resources.items()),
            sorted(json.dumps(each, sort_keys=True) for each in self.monitoring()),
            sorted(self.bindings()),
            *(sorted(each) for each in (self.enabled, self.agents, self.unusable_metrics)),
        )
        return json.dumps(parts, sort_keys=True)

    def services(self) -> dict[str, Json]:
        return self.named(f"run/namespaces/{PROJECT}/services/")

    def monitoring(self) -> Iterator[Json]:
        """Alert policies and dashboards without their names and when they were created."""
        for each in self.named("monitoring/").values():
            yield {
                name: value
                for name, value in each.items()
                if name not in ("name", "creationRecord")
            }

    def image(self, revision: str) -> str:
        found = self.resources[f"run/namespaces/{PROJECT}/revisions/{revision}"]
        return str(found["spec"]["containers"][0]["image"])

    def subscriptions(self) -> dict[str, Json]:
        return self.named(f"pubsub/projects/{PROJECT}/subscriptions/")

    def bindings(self) -> Iterator[tuple[str, str, str, str]]:
        """Each member's roles: the resource, the role, the member, and the condition or ""."""
        for name, policy in self.policies.items():
            for each in policy.get("bindings", ()):
                condition = (each.get("condition") or {}).get("expression", "")
                for member in each["members"]:
                    yield name, each["role"], member, condition

    def named(self, prefix: str) -> dict[str, Json]:
        """The resources whose key begins like this, by the rest of the key."""
        return {
            key.removeprefix(prefix): each
            for key, each in self.resources.items()
            if key.startswith(prefix)
        }

    def request(
        self, api: str, method: str, path: str, query: Mapping[str, str], body: Json
    ) -> Json:
        """Answer one request for `path`, with the API's version in front."""
        if api not in self.enabled:
            raise Refusal(
                403,
                "PERMISSION_DENIED",
                f"{api} API has not been used in project {PROJECT} before or it is disabled.",
            )
        name = re.sub(r"^(compute/|storage/|upload/storage/|apis/[a-z.]+/)?v\d\w*/", "", path)
        name, _, verb = name.replace(
            "projects/-/serviceAccounts", f"projects/{PROJECT}/serviceAccounts"
        ).partition(":")
        handler: Callable[..., Json] = _HANDLERS.get(api, _generic)
        return copy.deepcopy(
            handler(self, f"{api}/{name}", method, verb, query, copy.deepcopy(body))
        )

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def get(self, key: str) -> Json:
        if key not in self.resources:
            raise not_found(key.partition("/")[2])
        return self.resources[key]

    def create(self, key: str, resource: Json) -> Json:
        if key in self.resources:
            raise Refusal(409, "ALREADY_EXISTS", "Resource already exists in the project.")
        self.resources[key] = resource
        return resource

    def has_account(self, email: str) -> bool:
        if email in self.agents:
            return True
        if f"iam/projects/{PROJECT}/serviceAccounts/{email}" not in self.resources:
            return False
        self._refused[email] = self._refused.get(email, 0) + 1
        return self._refused[email] > self.delay


def chosen(service: Json) -> Json:
    """What a deployment chose for a service."""
    template = service["spec"]["template"]
    spec, container = template["spec"], template["spec"]["containers"][0]
    variables = {each["name"]: each.get("value") for each in container.get("env", ())}
    return {
        "is shell": container["image"].endswith("/hello"),
        "latest serves": _serving(service) == service["status"]["latestReadyRevisionName"],
        "account": spec.get("serviceAccountName"),
        "environment": variables,
        "secrets": _secrets(template),
        "ingress": service["metadata"]["annotations"].get("run.googleapis.com/ingress") or "all",
        "labels": service["metadata"].get("labels", {}),
        "most instances": template["metadata"]["annotations"]["autoscaling.knative.dev/maxScale"],
        "timeout": spec.get("timeoutSeconds"),
        "concurrency": spec.get("containerConcurrency"),
    }


def _serving(service: Json) -> str:
    """The revision with most requests."""
    traffic = service["status"]["traffic"]
    return str(max(traffic, key=lambda each: each.get("percent", 0))["revisionName"])


# -- any API: GET, POST to a collection, PUT, PATCH, DELETE, and policies

_IDS = {  # of a new resource: in the query, or in the body
    "databases": "databaseId",
    "settings": "documentId",
    "repositories": "repositoryId",
    "secrets": "secretId",
    "serviceAccounts": "accountId",
    "roles": "roleId",
}
_WRAPPERS = {"serviceAccounts": "serviceAccount", "roles": "role"}
_OPERATIONS = ("databases", "repositories", "fields")  # changed by long-running operations


def _generic(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    name, last = key.partition("/")[2], key.rpartition("/")[2]
    if verb.endswith("IamPolicy"):
        return _policy(world, key, verb, body)
    if verb:
        return _verb(world, key, verb, body)
    match method:
        case "GET" if "/operations/" in key:
            return {"name": name, "done": True, "response": world.operations[key]}
        case "GET" if key not in world.resources and last in _COLLECTIONS:
            return {last: _children(world, key, query)}
        case "GET":
            return world.get(key)
        case "DELETE":
            return _delete(world, key)
        case "PATCH":
            return _finish(world, key, _patch(world, key, query, body))
        case "POST" if last == "builds":
            return {**_build(world, body)["buildOperation"], "response": {}}
        case "POST":
            key, body = _named(world, key, query, body)
    body["name"] = key.partition("/")[2]
    _check(world, key, body)
    return _finish(world, key, world.create(key, body))


def _named(world: World, key: str, query: Mapping[str, str], body: Json) -> tuple[str, Json]:
    """The key and the content of a new resource in a collection."""
    last = key.rpartition("/")[2]
    identifier = query.get(_IDS.get(last, "")) or body.get(_IDS.get(last, "")) or ""
    identifier = identifier or body.get("name", "").rpartition("/")[2]
    identifier = identifier or str(world.next_number())
    body = body.get(_WRAPPERS[last], {}) if last in _WRAPPERS else body
    if last == "serviceAccounts":
        identifier += f"@{PROJECT}.iam.gserviceaccount.com"
        body |= {"email": identifier, "uniqueId": identifier}
    key = f"{key}/{identifier}"
    if last == "triggers":
        body |= {"id": identifier, "resourceName": key.partition("/")[2]}
    return key, body


_COLLECTIONS = {
    *("topics", "subscriptions", "databases", "repositories", "serviceAccounts", "roles", "jobs"),
    *("queues", "secrets", "fields", "sinks", "triggers", "notificationChannels", "builds"),
    *("metrics", "alertPolicies", "dashboards", "dockerImages"),
    *("zones", "locations", "firewalls", "instances", "services", "notificationConfigs"),
}


def _delete(world: World, key: str) -> Json:
    world.get(key)
    del world.resources[key]
    return {}


def _children(world: World, key: str, query: Mapping[str, str]) -> list[Json]:
    pattern = re.compile(re.escape(key).replace("/\\-/", "/[^/]+/").replace("/-/", "/[^/]+/"))
    found = [
        each for name, each in world.resources.items() if pattern.fullmatch(name.rpartition("/")[0])
    ]
    if "ttlConfig" in query.get("filter", ""):
        return [each for each in found if "ttlConfig" in each]
    if "usesAncestorConfig" in query.get("filter", ""):
        return [each for each in found if "indexConfig" in each]
    return found


def _patch(world: World, key: str, query: Mapping[str, str], body: Json) -> Json:
    mask = query.get("updateMask") or body.pop("updateMask", "")
    body = body.pop("subscription", body)
    if "/fields/" in key:
        world.get(key.partition("/collectionGroups/")[0])
        world.resources.setdefault(key, {"name": key.partition("/")[2]})
    changed = copy.deepcopy(world.get(key))
    body.pop("name", None)
    if "/alertPolicies/" in key and not mask:  # the whole policy is replaced
        changed = {name: changed[name] for name in ("name", "creationRecord")}
    for path in filter(None, mask.split(",")) if mask else body:
        first, *rest = (
            re.sub(r"_([a-z])", lambda each: each[1].upper(), part) for part in path.split(".")
        )
        if first == "name":
            continue
        source, target = body, changed
        while rest:
            source, target = source.get(first, {}), target.setdefault(first, {})
            first, *rest = rest
        if first in source:
            target[first] = source[first]
        else:
            target.pop(first, None)
    _check(world, key, changed)
    world.resources[key] = changed
    return changed


def _finish(world: World, key: str, resource: Json) -> Json:
    if key.split("/")[-2] not in _OPERATIONS:
        return resource
    return _operation(world, key, resource)


def _operation(world: World, key: str, resource: Json) -> Json:
    """A long-running operation that is done."""
    parent = key.partition("/repositories/" if "/repositories/" in key else "/collectionGroups")[0]
    name = f"{parent}/operations/{world.next_number()}"
    world.operations[name] = resource
    return {"name": name.partition("/")[2], "done": True, "response": resource}


def _check(world: World, key: str, body: Json) -> None:
    """Refuse what names something that does not exist."""
    if key.startswith("pubsub/") and "/subscriptions/" in key:
        if f"pubsub/{body['topic']}" not in world.resources:
            raise not_found(body["topic"])
        dead = body.get("deadLetterPolicy", {}).get("deadLetterTopic")
        if dead and f"pubsub/{dead}" not in world.resources:
            raise not_found(dead)
        account = body.get("pushConfig", {}).get("oidcToken", {}).get("serviceAccountEmail")
        if account and not world.has_account(account):
            raise invalid(f"Service account {account} does not exist.")
    if "/alertPolicies/" in key:
        _check_alert(world, body)
    if "/documents/" in key:
        world.get(key.partition("/documents/")[0])
    if "/jobs/" in key and f"pubsub/{body['pubsubTarget']['topicName']}" not in world.resources:
        raise not_found(body["pubsubTarget"]["topicName"])


def _check_alert(world: World, body: Json) -> None:
    for name in re.findall(r"logging\.googleapis\.com/user/(\w+)", str(body["conditions"])):
        metric = f"logging/projects/{PROJECT}/metrics/{name}"
        if metric not in world.resources or name in world.unusable_metrics:
            raise Refusal(404, "NOT_FOUND", f"Cannot find metric that matches type = {name}.")
    body.setdefault("enabled", True)
    number = world.next_number()
    body.setdefault("creationRecord", {"mutateTime": f"2026-01-01T00:00:{number / 1000:06.3f}Z"})
    channels = body.get("notificationChannels", [])
    if len(set(channels)) < len(channels):
        raise invalid("The policy has a notification channel twice.")
    for channel in channels:
        world.get(f"monitoring/{channel}")


def _policy(world: World, key: str, verb: str, body: Json) -> Json:
    key = re.sub(r"/iap_web/.*", "/iap_web", key)
    anything = "cloudresourcemanager/" in key or "iap/" in key
    if not anything and key not in world.resources and not key.startswith("storage/"):
        raise not_found(key)
    policy = world.policies.setdefault(key, {"bindings": [], "etag": "0000", "version": 1})
    if verb == "getIamPolicy":
        return policy
    new = body["policy"]
    if new.get("etag", policy["etag"]) != policy["etag"]:
        raise Refusal(409, "ABORTED", "There were concurrent policy changes.")
    for binding in new.get("bindings", ()):
        role = binding["role"]
        if not role.startswith("roles/") and f"iam/{role}" not in world.resources:
            raise invalid(f"Role {role} is not supported for this resource.")
        for member in binding["members"]:
            kind, _, email = member.partition(":")
            if kind == "serviceAccount" and not world.has_account(email):
                raise invalid(f"Service account {email} does not exist.")
    bindings = [each for each in new.get("bindings", ()) if each["members"]]
    world.policies[key] = policy = {
        "bindings": bindings,
        "etag": f"{world.next_number():04}",
        "version": 3,
    }
    return policy


def _verb(world: World, key: str, verb: str, body: Json) -> Json:
    resource = world.get(key)
    if verb == "undelete":
        resource.pop("deleted", None)
    elif verb == "modifyPushConfig":
        changed = resource | {"pushConfig": body["pushConfig"]}
        _check(world, key, changed)
        resource["pushConfig"] = body["pushConfig"]
        return {}
    elif verb == "publish":
        world.published += [(key.rpartition("/")[2], each) for each in body["messages"]]
        return {"messageIds": ["1"] * len(body["messages"])}
    elif verb == "pull":
        return {"receivedMessages": []}
    elif verb in ("exportDocuments", "importDocuments"):
        return _operation(world, key, {})
    elif verb == "addVersion":
        return {"name": f"{resource['name']}/versions/1"}
    return resource


# -- APIs of other forms


def _serviceusage(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    done = {"name": "operations/done", "done": True, "response": {}}
    if verb == "batchEnable":
        world.enabled |= {each.removesuffix(".googleapis.com") for each in body["serviceIds"]}
    elif verb == "enable":
        world.enabled.add(key.rpartition("/")[2].removesuffix(".googleapis.com"))
    elif verb == "generateServiceIdentity":
        agent = f"service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
        world.agents.add(agent)
        done["response"] = {"email": agent, "uniqueId": "1"}
    elif method == "GET" and "/services/" in key:
        name = key.rpartition("/")[2]
        is_enabled = name.removesuffix(".googleapis.com") in world.enabled
        return {"name": name, "state": "ENABLED" if is_enabled else "DISABLED"}
    return done


def _projects(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    if key != f"cloudresourcemanager/projects/{PROJECT}":
        raise not_found(key)
    if verb:
        return _policy(world, key, verb, body)
    return {"projectId": PROJECT, "projectNumber": NUMBER, "lifecycleState": "ACTIVE"}


def _run(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    """Cloud Run: services and revisions in Knative's form, builds, and policies."""
    name = key.partition("/")[2]
    key = f"run/{name.replace(f'projects/{PROJECT}/locations/{REGION}', f'namespaces/{PROJECT}')}"
    if verb == "submit":
        return _build(world, {})
    if verb:
        return _policy(world, key, verb, body)
    if name.endswith("/locations"):
        return {"locations": [{"locationId": REGION, "name": f"{name}/{REGION}"}]}
    if method == "GET":
        return world.get(key)
    if method == "POST":
        key = f"{key}/{body['metadata']['name']}"
        if key in world.resources:
            raise Refusal(409, "ALREADY_EXISTS", "the service exists already")
    elif method == "DELETE":
        return _delete(world, key)
    return body if "dryRun" in query else _serve(world, key, body)


def _build(world: World, given: Json) -> Json:
    """A build that has succeeded, and the operation that says so."""
    number = str(world.next_number())
    here = f"projects/{PROJECT}/locations/{REGION}"
    build = given | {
        "id": number,
        "name": f"{here}/builds/{number}",
        "projectId": PROJECT,
        "logUrl": "https://logs.example",
        "status": "SUCCESS",
        "results": {"images": [{"digest": "sha256:" + "0" * 64}]},
    }
    world.operations[f"cloudbuild/{here}/operations/{number}"] = build
    world.resources[f"cloudbuild/{build['name']}"] = build
    operation = {"name": f"{here}/operations/{number}", "metadata": {"build": build}}
    return {"baseImageUri": "base:1", "buildOperation": operation}


def _serve(world: World, key: str, body: Json) -> Json:
    """A service with a new revision, unless its template is the same. Without a word about traffic
    the latest revision has all requests.
    """
    template = body["spec"]["template"]
    account = template["spec"].get("serviceAccountName")
    if account and not world.has_account(account):
        raise invalid(f"Service account {account} does not exist.")
    for secret in _secrets(template):
        if f"secretmanager/projects/{PROJECT}/secrets/{secret}" not in world.resources:
            raise not_found(f"secrets/{secret}")
    service, old = body["metadata"]["name"], world.resources.get(key, {})
    if service in world.unready:
        raise Refusal(400, "FAILED_PRECONDITION", "The container failed its startup probe.")
    number = old.get("metadata", {}).get("generation", 0) + 1
    revision = template["metadata"].get("name") or f"{service}-{number:05}"
    if old and old["spec"]["template"] == template:
        revision = old["status"]["latestReadyRevisionName"]
    everything = [{"percent": 100, "latestRevision": True}]
    traffic = [
        each | {"revisionName": each.get("revisionName") or revision}
        for each in body["spec"].get("traffic") or everything
    ]
    ready = {"type": "Ready", "status": "True"}
    parts = [{**ready, "type": kind} for kind in ("ConfigurationsReady", "RoutesReady")]
    body |= {"apiVersion": "serving.knative.dev/v1", "kind": "Service"}
    body["metadata"] |= {
        "namespace": PROJECT,
        "generation": number,
        "resourceVersion": str(number),
        "uid": service,
    }
    body["status"] = {
        "observedGeneration": number,
        "conditions": [ready, *parts],
        "url": f"https://{service}-{NUMBER}.{REGION}.run.app",
        "address": {"url": f"https://{service}-{NUMBER}.{REGION}.run.app"},
        "latestCreatedRevisionName": revision,
        "latestReadyRevisionName": revision,
        "traffic": traffic,
    }
    world.resources[f"{key.rsplit('/', 2)[0]}/revisions/{revision}"] = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": revision,
            "namespace": PROJECT,
            "labels": template["metadata"].get("labels", {}),
        },
        "spec": template["spec"],
        "status": {"conditions": [ready]},
    }
    world.resources[key] = body
    return body


def _secrets(template: Json) -> list[str]:
    return [
        each["valueFrom"]["secretKeyRef"]["name"]
        for each in template["spec"]["containers"][0].get("env", ())
        if "valueFrom" in each
    ]


def _compute_resource(world: World, key: str, method: str, operation: Json) -> Json:
    """Read or delete one."""
    link, last = operation["targetLink"], key.rpartition("/")[2]
    if last == "zones":
        region = f"http://compute.google.example/compute/v1/projects/{PROJECT}/regions/{REGION}"
        names = [f"{REGION}-{letter}" for letter in "abf"]
        zones = [{"name": each, "selfLink": f"{link}/{each}", "region": region} for each in names]
        return {"items": zones}
    if method == "GET" and "/images/" in key:
        return {"selfLink": link, "name": last}
    if key not in world.resources:
        raise Refusal(404, "NOT_FOUND", f"The resource '{key.partition('/')[2]}' was not found")
    if method == "GET":
        return world.resources[key]
    _delete(world, key)
    return operation | {"operationType": "delete"}


def _compute(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    link = "http://compute.google.example/compute/v1/" + key.partition("/")[2]
    last = key.rpartition("/")[2]
    operation = {
        "kind": "compute#operation",
        "name": f"operation-{world.next_number()}",
        "status": "DONE",
        "progress": 100,
        "operationType": "update",
        "targetLink": link,
    }
    if method in ("GET", "DELETE"):
        return _compute_resource(world, key, method, operation)
    if method == "PATCH":
        world.get(key).update(body)
    if method == "POST" and last in ("firewalls", "instances", "routers"):
        name = body["name"]
        if f"{key}/{name}" in world.resources:
            raise Refusal(409, "ALREADY_EXISTS", f"The resource '{name}' already exists")
        link = f"{link}/{name}"
        world.resources[f"{key}/{name}"] = body | {"selfLink": link}
        operation |= {"operationType": "insert", "targetLink": link}
    if last in ("setMetadata", "reset", "setPrivateIpGoogleAccess"):
        resource = world.get(key.rpartition("/")[0])
        operation["targetLink"] = link.rpartition("/")[0]
        resource |= {"setMetadata": {"metadata": body}, "reset": {}}.get(last, body)
    if "/zones/" in key:
        here = operation["zone"] = link.partition("/instances")[0]
    elif "/regions/" in key:
        here = operation["region"] = "/".join(link.split("/")[:9])
    else:
        here = link.partition("/global")[0] + "/global"
    return operation | {"selfLink": f"{here}/operations/{operation['name']}"}


def _storage(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    if key.endswith("/serviceAccount"):
        return {"email_address": STORAGE_AGENT}
    if method == "GET" and key == "storage/b":
        return {"items": list(world.named("storage/b/").values())}
    if method == "POST" and key == "storage/b":
        return world.create(f"storage/b/{body['name']}", body | {"id": body["name"]})
    if "/o" in key and method in ("POST", "PUT"):
        bucket = key.split("/")[2]
        return {"bucket": bucket, "name": query.get("name", ""), "generation": "1", **body}
    if key.endswith("/iam"):
        if method == "PUT":
            return _policy(world, key, "setIamPolicy", {"policy": body})
        return _policy(world, key, "getIamPolicy", {})
    if method == "POST":
        return world.create(f"{key}/{world.next_number()}", body)
    return world.get(key)


def _logging(
    world: World, key: str, method: str, verb: str, query: Mapping[str, str], body: Json
) -> Json:
    if key == "logging/entries":
        return {"entries": []}
    if key.endswith("/metrics") and method == "POST":
        return world.create(f"{key}/{body['name']}", body)
    if method == "PUT":
        world.resources[key] = body | {"name": world.get(key)["name"]}
        return world.resources[key]
    return _generic(world, key, method, verb, query, body)


_HANDLERS: dict[str, Callable[..., Json]] = {
    "logging": _logging,
    "serviceusage": _serviceusage,
    "cloudresourcemanager": _projects,
    "run": _run,
    "compute": _compute,
    "storage": _storage,
}
