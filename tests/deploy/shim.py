"""Answers the scripts' commands without gcloud, by requests like gcloud's to a `World`.

It is for fault injection, which runs the scripts hundreds of times.
`tests/deploy/test_whole_run.py` shows that it leaves the same world as the real gcloud.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import yaml

from tests.deploy.commands import Answer, Call
from tests.deploy.world import NUMBER, PROJECT, REGION, Json, Refusal, World

_PROJECT = f"v1/projects/{PROJECT}"
_HERE = f"{_PROJECT}/locations/{REGION}"
_NAMES = {
    "artifacts repositories": ("artifactregistry", f"{_HERE}/repositories/"),
    "compute firewall-rules": ("compute", f"compute/{_PROJECT}/global/firewalls/"),
    "compute networks subnets": ("compute", f"compute/{_PROJECT}/regions/{REGION}/subnetworks/"),
    "compute instances": ("compute", f"compute/{_PROJECT}/zones/{REGION}-a/instances/"),
    "firestore databases": ("firestore", f"{_PROJECT}/databases/"),
    "logging metrics": ("logging", f"v2/projects/{PROJECT}/metrics/"),
    "alpha monitoring dashboards": ("monitoring", ""),
    "alpha monitoring policies": ("monitoring", ""),
    "iam roles": ("iam", f"{_PROJECT}/roles/"),
    "iam service-accounts": ("iam", f"{_PROJECT}/serviceAccounts/"),
    "projects": ("cloudresourcemanager", "v1/projects/"),
    "pubsub subscriptions": ("pubsub", f"{_PROJECT}/subscriptions/"),
    "pubsub topics": ("pubsub", f"{_PROJECT}/topics/"),
    "run revisions": ("run", f"v1/namespaces/{PROJECT}/revisions/"),
    "run services": ("run", f"v1/namespaces/{PROJECT}/services/"),
    "scheduler jobs": ("cloudscheduler", f"{_HERE}/jobs/"),
    "secrets": ("secretmanager", f"{_PROJECT}/secrets/"),
    "tasks queues": ("cloudtasks", f"{_HERE}/queues/"),
}
_IDS = {
    "artifacts repositories": "repositoryId",
    "firestore databases": "databaseId",
    "iam roles": "roleId",
    "iam service-accounts": "accountId",
}


class Words(NamedTuple):
    """A command taken apart: its kind of resource, its verb, names, and flags."""

    kind: str
    verb: str
    names: list[str]
    flags: dict[str, str]
    call: Call

    def flag(self, name: str, default: str = "") -> str:
        return self.flags.get(name, default)

    def number(self, name: str) -> int:
        return int(self.flags[name])


class Shim:
    """Answers commands by changing a world."""

    def __init__(self, world: World) -> None:
        self.world = world

    def __call__(self, call: Call) -> Answer:
        if call.program == "curl":
            return self._curl(call)
        words = _parse(call)
        try:
            form = "value(token)" if words.kind == "auth" else words.flag("format")
            return Answer(0, _format(self._run(words), form))
        except Refusal as refusal:
            return Answer(1, "", _errors(words, refusal))

    def _curl(self, call: Call) -> Answer:
        """A request to Firestore; the answer ends with its status."""
        after = dict(itertools.pairwise(call.arguments))
        url = urlsplit(next(each for each in call.arguments if each.startswith("http")))
        query, body = dict(parse_qsl(url.query)), json.loads(after["-d"])
        assert call.input == "Authorization: Bearer token"
        try:
            self.world.request("firestore", after["-X"], url.path.lstrip("/"), query, body)
        except Refusal as refusal:
            return Answer(0, f"{refusal.status}\n{refusal.code}")
        return Answer(0, "{}\n200")

    def request(self, method: str, address: tuple[str, str], body: Json, **query: str) -> Json:
        return self.world.request(*(address[0], method, address[1], query, body))

    def _run(self, words: Words) -> Any:
        special = _SPECIAL.get(f"{words.kind} {words.verb}".strip())
        if special:
            return special(self, words)
        name = words.flag("database") or words.names[0]
        resource = _NAMES[words.kind][0], _NAMES[words.kind][1] + name
        match words.verb:
            case "describe":
                found = self.request("GET", resource, {})
                if words.flag("flatten") == "status.traffic[]":
                    return [{"status": {"traffic": each}} for each in found["status"]["traffic"]]
                return _flatten(found) if words.flag("flatten") else found
            case "create":
                return self._create(words, resource, name)
            case "update":
                body = _BODIES[words.kind](words)
                return self.request("PATCH", resource, body, updateMask=",".join(body))
            case "delete":
                return self.request("DELETE", resource, {})
            case "add-iam-policy-binding" | "remove-iam-policy-binding":
                return self.bind(words, resource)
        raise AssertionError(f"unknown command: {words}")

    def _create(self, words: Words, resource: tuple[str, str], name: str) -> Json:
        api, path = resource
        body = _BODIES[words.kind](words)
        if api == "pubsub":
            return self.request("PUT", resource, body)
        if words.kind in ("iam roles", "iam service-accounts"):
            wrapper = "role" if words.kind == "iam roles" else "serviceAccount"
            body = {_IDS[words.kind]: name, wrapper: body}
        elif words.kind not in _IDS:
            body |= {"name": name}
        parent = path.rpartition("/")[0]
        return self.request("POST", (api, parent), body, **{_IDS.get(words.kind, "_"): name})

    def bind(self, words: Words, resource: tuple[str, str]) -> None:
        api, path = resource
        policy = self.request("GET", (api, f"{path}:getIamPolicy"), {})
        expression = re.match(r"expression=(.*),title=(.*)$", words.flag("condition"))
        condition = {"expression": expression[1], "title": expression[2]} if expression else None
        role, member = words.flag("role"), words.flag("member")
        same = [
            each
            for each in policy["bindings"]
            if each["role"] == role and (words.flag("all") or each.get("condition") == condition)
        ]
        members = dict.fromkeys(name for each in same for name in each["members"])
        if words.verb.startswith("add"):
            members[member] = None
        elif members.pop(member, "") == "":
            raise _NO_BINDING
        binding: Json = {"role": role, "members": list(members)}
        binding |= {"condition": condition} if condition else {}
        others = [each for each in policy["bindings"] if each not in same]
        changed = {"bindings": [*others, binding], "etag": policy["etag"]}
        self.request("POST", (api, f"{path}:setIamPolicy"), {"policy": changed})


_NO_BINDING = Refusal(
    0, "", "Policy binding with the specified principal, role, and condition not found!"
)


def _parse(call: Call) -> Words:
    plain = [each for each in call.arguments if not each.startswith("--")]
    flags = {}
    for each in call.arguments:
        if each.startswith("--"):
            name, _, value = each[2:].partition("=")
            flags[name] = value or "yes"
    for length in (5, 4, 3, 2):
        *kind, verb = plain[:length]
        if " ".join(kind) in _NAMES or " ".join([*kind, verb]) in _SPECIAL:
            return Words(" ".join(kind), verb, plain[length:], flags, call)
    raise AssertionError(f"unknown command: {call.arguments}")


def _seconds(text: str) -> str:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return f"{int(text[:-1]) * units[text[-1]]}s"


def _subscription(words: Words) -> Json:
    body: Json = {
        "ackDeadlineSeconds": words.number("ack-deadline"),
        "expirationPolicy": {},
        "messageRetentionDuration": _seconds(words.flag("message-retention-duration")),
    }
    if words.flag("min-retry-delay"):
        body["retryPolicy"] = {
            "minimumBackoff": words.flag("min-retry-delay"),
            "maximumBackoff": words.flag("max-retry-delay"),
        }
    if words.flag("dead-letter-topic"):
        body["deadLetterPolicy"] = {
            "deadLetterTopic": words.flag("dead-letter-topic"),
            "maxDeliveryAttempts": words.number("max-delivery-attempts"),
        }
    if words.flag("topic"):
        body["topic"] = f"projects/{PROJECT}/topics/{words.flag('topic')}"
    if words.flag("message-filter"):
        body["filter"] = words.flag("message-filter")
    return body


def _database(words: Words) -> Json:
    body = {"pointInTimeRecoveryEnablement": "POINT_IN_TIME_RECOVERY_ENABLED"}
    if words.verb == "update":
        return body
    return body | {
        "cmekConfig": {},
        "databaseEdition": "STANDARD",
        "deleteProtectionState": "DELETE_PROTECTION_ENABLED",
        "locationId": words.flag("location"),
        "type": "FIRESTORE_NATIVE",
    }


def _role(words: Words) -> Json:
    return dict(yaml.safe_load((Path(words.call.directory) / words.flag("file")).read_text()))


def _queue(words: Words) -> Json:
    return {
        "rateLimits": {
            "maxConcurrentDispatches": words.number("max-concurrent-dispatches"),
            "maxDispatchesPerSecond": float(words.number("max-dispatches-per-second")),
        },
        "retryConfig": {
            "maxAttempts": words.number("max-attempts"),
            "minBackoff": words.flag("min-backoff"),
            "maxBackoff": words.flag("max-backoff"),
        },
    }


def _firewall(words: Words) -> Json:
    protocol, _, port = words.flag("allow").partition(":")
    given = {
        "sourceRanges": words.flag("source-ranges"),
        "sourceServiceAccounts": words.flag("source-service-accounts"),
        "targetServiceAccounts": words.flag("target-service-accounts"),
    }
    return {
        "allowed": [{"IPProtocol": protocol} | ({"ports": [port]} if port else {})],
        "direction": words.flag("direction"),
        "network": f"http://compute.google.example/compute/{_PROJECT}/global/networks/default",
        **{name: each.split(",") for name, each in given.items() if each},
    }


def _machine(words: Words) -> Json:
    return {"metadata": _metadata(words)}


def _metadata(words: Words) -> Json:
    files = [each.partition("=") for each in words.flag("metadata-from-file").split(",")]
    content = {name: (Path(words.call.directory) / path).read_text() for name, _, path in files}
    content |= dict(each.split("=") for each in words.flag("metadata").split(","))
    return {"items": [{"key": name, "value": each} for name, each in sorted(content.items())]}


_BODIES: dict[str, Callable[[Words], Json]] = {
    "artifacts repositories": lambda words: {
        "description": words.flag("description"),
        "format": "DOCKER",
        "mode": "MODE_UNSPECIFIED",
    },
    "compute firewall-rules": _firewall,
    "compute instances": _machine,
    "firestore databases": _database,
    "iam roles": _role,
    "iam service-accounts": lambda words: {"displayName": words.flag("display-name")},
    "pubsub subscriptions": _subscription,
    "pubsub topics": lambda _: {},
    "tasks queues": _queue,
}


# -- commands of other forms


def _enable(shim: Shim, words: Words) -> Json:
    body = {"serviceIds": words.names}
    return shim.request("POST", ("serviceusage", f"{_PROJECT}/services:batchEnable"), body)


def _identity(shim: Shim, words: Words) -> Json:
    path = f"{_PROJECT}/services/{words.flag('service')}:generateServiceIdentity"
    return shim.request("POST", ("serviceusage", path), {})


def _list_fields(shim: Shim, words: Words) -> list[Json]:
    which = "ttlConfig:*" if "ttls" in words.kind else "indexConfig.usesAncestorConfig:false"
    path = f"{_PROJECT}/databases/{words.flag('database')}/collectionGroups/-/fields"
    fields = shim.request("GET", ("firestore", path), {}, filter=which)["fields"]
    return [each for each in fields if isinstance(each, dict)]


def _update_field(shim: Shim, words: Words) -> Json:
    group = f"databases/{words.flag('database')}/collectionGroups/{words.flag('collection-group')}"
    part = "ttlConfig" if "ttls" in words.kind else "indexConfig"
    address = "firestore", f"{_PROJECT}/{group}/fields/{words.names[0]}"
    return shim.request("PATCH", address, {part: {}}, updateMask=part)


def _subnet(shim: Shim, words: Words) -> Json:
    api, path = _NAMES["compute networks subnets"]
    address = api, f"{path}{words.names[0]}/setPrivateIpGoogleAccess"
    return shim.request("POST", address, {"privateIpGoogleAccess": True})


def _change_machine(shim: Shim, words: Words) -> Json:
    api, path = _NAMES["compute instances"]
    is_reset = words.verb == "reset"
    address = api, f"{path}{words.names[0]}/{'reset' if is_reset else 'setMetadata'}"
    return shim.request("POST", address, {} if is_reset else _metadata(words))


def _zones(shim: Shim, words: Words) -> list[Json]:
    return list(shim.request("GET", ("compute", f"compute/{_PROJECT}/zones"), {})["items"])


def _token(shim: Shim, words: Words) -> Json:
    return {"token": "token"}


def _undelete(shim: Shim, words: Words) -> Json:
    return shim.request("POST", ("iam", f"{_PROJECT}/roles/{words.names[0]}:undelete"), {})


def _modify_push(shim: Shim, words: Words) -> Json:
    token = {
        "serviceAccountEmail": words.flag("push-auth-service-account"),
        "audience": words.flag("push-auth-token-audience"),
    }
    body = {"pushConfig": {"pushEndpoint": words.flag("push-endpoint"), "oidcToken": token}}
    path = f"{_PROJECT}/subscriptions/{words.names[0]}:modifyPushConfig"
    return shim.request("POST", ("pubsub", path), body)


def _job(shim: Shim, words: Words) -> Json:
    body = {
        "schedule": words.flag("schedule"),
        "timeZone": words.flag("time-zone"),
        "pubsubTarget": {
            "topicName": words.flag("topic"),
            "data": base64.b64encode(words.flag("message-body").encode()).decode(),
        },
    }
    retry = {
        "maxBackoffDuration": "3600s",
        "maxDoublings": 5,
        "minBackoffDuration": "5s",
        "retryCount": 0,
    }
    api, path = "cloudscheduler", f"{_HERE}/jobs"
    if words.kind.endswith("update"):
        mask = ",".join(body)
        return shim.request("PATCH", (api, f"{path}/{words.names[0]}"), body, updateMask=mask)
    return shim.request("POST", (api, path), {"name": words.names[0], "retryConfig": retry, **body})


def _deploy(shim: Shim, words: Words) -> Json:
    """Build, if there is a source, and create the service or its next revision."""
    name = words.names[0]
    image = words.flag("image")
    if not image:
        repository = f"{_HERE}/repositories/cloud-run-source-deploy"
        shim.request("GET", ("artifactregistry", repository), {})
        build = shim.request("POST", ("run", f"v2/projects/{PROJECT}/builds:submit"), {})
        assert build["buildOperation"]
        image = (
            f"{REGION}-docker.pkg.dev/{PROJECT}/cloud-run-source-deploy/{name}@sha256:{'0' * 64}"
        )
    account = words.flag("service-account")
    annotations = {"autoscaling.knative.dev/maxScale": words.flag("max-instances")}
    container = {"image": image, "env": _environment(words)}
    spec: Json = {"containers": [container], "serviceAccountName": account}
    if words.flag("timeout"):
        spec |= {
            "timeoutSeconds": words.number("timeout"),
            "containerConcurrency": words.number("concurrency"),
        }
    labels = dict(each.split("=") for each in words.flag("labels").split(",") if each)
    body: Json = {
        "metadata": {
            "name": name,
            "annotations": {"run.googleapis.com/ingress": words.flag("ingress")},
            "labels": labels,
        },
        "spec": {
            "template": {
                "metadata": {"annotations": annotations, "labels": labels},
                "spec": spec,
            }
        },
    }
    before = shim.world.services().get(name)
    if before:
        generation = before["metadata"]["generation"] + 1
        body["spec"]["template"]["metadata"]["name"] = f"{name}-{generation:05}"
    revision = body["spec"]["template"]["metadata"].get("name")
    body["spec"]["traffic"] = _traffic(words, before, revision)
    services = f"v1/namespaces/{PROJECT}/services"
    if before:
        deployed = shim.request("PUT", ("run", f"{services}/{name}"), body)
    else:
        deployed = shim.request("POST", ("run", services), body)
    if words.flag("allow-unauthenticated"):
        everybody = {"role": "roles/run.invoker", "member": "allUsers"}
        shim.bind(words._replace(flags=everybody, verb="add"), ("run", f"{services}/{name}"))
    return deployed


def _traffic(words: Words, before: Json | None, revision: str | None) -> list[Json]:
    """What a deployment leaves to the revisions before, and the tag of the new one."""
    tag = words.flag("tag")
    latest: Json = {"latestRevision": True}
    if before is None:
        traffic = [latest | {"percent": 100}]
    elif words.flag("no-traffic"):
        traffic = [each | {"latestRevision": False} for each in before["status"]["traffic"]]
    else:
        traffic = before["spec"]["traffic"]
    others = [each for each in traffic if not tag or each.get("tag") != tag]
    tagged = {"revisionName": revision} if revision else latest
    return [*others, tagged | {"tag": tag}] if tag else others


def _viewer(shim: Shim, words: Words) -> None:
    """Lets a member through the proxy of a service."""
    path = f"v1/projects/{NUMBER}/iap_web/cloud_run-{REGION}/services/{words.flag('service')}"
    shim.bind(words, ("iap", path))


def _environment(words: Words) -> list[Json]:
    given, separator = words.flag("set-env-vars"), ","
    if given.startswith("^"):
        separator, given = given[1], given[3:]
    plain = [each.partition("=") for each in given.split(separator) if each]
    secrets = [each.partition("=") for each in words.flag("set-secrets").split(",") if each]
    return [
        *({"name": name, "value": value} for name, _, value in plain),
        *(
            {
                "name": name,
                "valueFrom": {
                    "secretKeyRef": {"name": value.split(":")[0], "key": value.split(":")[1]}
                },
            }
            for name, _, value in secrets
        ),
    ]


def _metric(shim: Shim, words: Words) -> Json:
    body = _file(words, "config-from-file") | {"name": words.names[0]}
    path = f"v2/projects/{PROJECT}/metrics"
    if words.verb == "update":
        return shim.request("PUT", ("logging", f"{path}/{words.names[0]}"), body)
    return shim.request("POST", ("logging", path), body)


def _file(words: Words, flag: str) -> Json:
    return dict(yaml.safe_load((Path(words.call.directory) / words.flag(flag)).read_text()))


_POLICIES = "monitoring", f"v3/projects/{PROJECT}/alertPolicies"
_DASHBOARDS = "monitoring", f"v1/projects/{PROJECT}/dashboards"


def _policy(shim: Shim, words: Words) -> Json:
    body = _file(words, "policy-from-file")
    content = (Path(words.call.directory) / words.flag("documentation-from-file")).read_text()
    body["documentation"] = {
        "content": content,
        "mimeType": words.flag("documentation-format"),
    }
    channels = words.flag("notification-channels") or words.flag("set-notification-channels")
    if channels:
        body["notificationChannels"] = channels.split(",")
    if words.verb == "create":
        return shim.request("POST", _POLICIES, body | {"enabled": True})
    if words.flag("no-enabled"):
        body["enabled"] = False
    return shim.request("PATCH", ("monitoring", f"v3/{words.names[0]}"), body)


def _list_of(address: tuple[str, str]) -> Callable[[Shim, Words], Any]:
    return lambda shim, words: shim.request("GET", address, {})[address[1].rpartition("/")[2]]


def _delete_named(version: str) -> Callable[[Shim, Words], Json]:
    return lambda shim, words: shim.request(
        "DELETE", ("monitoring", f"{version}/{words.names[0]}"), {}
    )


def _update_traffic(shim: Shim, words: Words) -> Json:
    """All requests to one revision; a tag to another one."""
    name = words.names[0]
    address = "run", f"v1/namespaces/{PROJECT}/services/{name}"
    service = shim.request("GET", address, {})
    serving = words.flag("to-revisions").removesuffix("=100")
    tag, _, revision = words.flag("update-tags").partition("=")
    others = [
        {key: value for key, value in each.items() if key != "percent"}
        for each in service["spec"]["traffic"]
        if each.get("tag") not in (None, tag)
    ]
    moved = [{"revisionName": revision, "tag": tag}] if tag else []
    service["spec"]["traffic"] = [{"revisionName": serving, "percent": 100}, *others, *moved]
    return shim.request("PUT", address, service)


def _publish(shim: Shim, words: Words) -> Json:
    attributes = dict(each.split("=") for each in words.flag("attribute").split(","))
    message = {"data": words.flag("message"), "attributes": attributes}
    path = f"{_PROJECT}/topics/{words.names[0]}:publish"
    return shim.request("POST", ("pubsub", path), {"messages": [message]})


def _read_log(shim: Shim, words: Words) -> list[Json]:
    """The answer of the revision to which the subscription of its checks pushes."""
    revision, _, check = re.findall(r'"([^"]*)"', words.names[0])
    for topic, message in shim.world.published:
        given = message.get("attributes", {})
        if topic != "slipway-checks" or given.get("check") != check:
            continue
        service = given["service"]
        found = shim.world.services()[service]
        tagged = [each for each in found["status"]["traffic"] if each.get("tag") == "next"]
        push = shim.world.subscriptions()[f"{service}-check"].get("pushConfig", {})
        url = found["status"]["url"].replace("https://", "https://next---")
        is_reached = push.get("pushEndpoint", "").startswith(url)
        if is_reached and [each["revisionName"] for each in tagged] == [revision]:
            return [{"jsonPayload": {"answer": shim.world.answers.get(service, "right")}}]
    return []


_SPECIAL: dict[str, Callable[[Shim, Words], Any]] = {
    "compute instance-groups managed list": lambda shim, words: shim.world.fleets,
    "logging metrics create": _metric,
    "logging metrics list": _list_of(("logging", f"v2/projects/{PROJECT}/metrics")),
    "logging metrics update": _metric,
    "logging read": _read_log,
    "alpha monitoring dashboards create": lambda shim, words: shim.request(
        "POST", _DASHBOARDS, _file(words, "config-from-file")
    ),
    "alpha monitoring dashboards delete": _delete_named("v1"),
    "alpha monitoring dashboards list": _list_of(_DASHBOARDS),
    "alpha monitoring policies create": _policy,
    "alpha monitoring policies delete": _delete_named("v3"),
    "alpha monitoring policies list": _list_of(_POLICIES),
    "alpha monitoring policies update": _policy,
    "pubsub topics publish": _publish,
    "version": lambda shim, words: {name: "2026.01.01" for name in shim.world.components},
    "run services update-traffic": _update_traffic,
    "auth print-access-token": _token,
    "compute instances add-metadata": _change_machine,
    "compute instances reset": _change_machine,
    "compute networks subnets update": _subnet,
    "compute zones list": _zones,
    "beta iap web add-iam-policy-binding": _viewer,
    "beta run deploy": _deploy,
    "beta services identity create": _identity,
    "firestore indexes fields list": _list_fields,
    "firestore indexes fields update": _update_field,
    "firestore fields ttls list": _list_fields,
    "firestore fields ttls update": _update_field,
    "iam roles undelete": _undelete,
    "pubsub subscriptions modify-push-config": _modify_push,
    "run deploy": _deploy,
    "scheduler jobs create pubsub": _job,
    "scheduler jobs update pubsub": _job,
    "services enable": _enable,
}


# -- output


def _errors(words: Words, refusal: Refusal) -> str:
    """What gcloud says about it."""
    command = f"ERROR: (gcloud.{f'{words.kind} {words.verb}'.replace(' ', '.')})"
    if words.kind == "run services" and refusal.code == 404:
        return f"{command} Cannot find service [{words.names[0]}]\n"
    if words.kind.startswith("compute"):
        return f"{command} Could not fetch resource:\n - {refusal.message}\n\n"
    if words.kind.startswith("pubsub") and words.verb == "create":
        return f"ERROR: Failed to create topic [{words.names[0]}]: {refusal.message}.\n"
    status = f"{refusal.status}: " if refusal.status else ""
    return f"{command} {status}{refusal.message}\n"


def _flatten(revision: Json) -> list[Json]:
    """One for each environment variable."""
    variables = revision["spec"]["containers"][0]["env"]
    return [{"spec": {"containers": {"env": each}}} for each in variables]


def _format(result: Any, form: str) -> str:
    """`value(a.b,c)` of one resource, or of each."""
    found = re.fullmatch(r'value(?:\[separator="(.)"\])?\((.*)\)', form)
    if not found:
        return ""
    separator = found[1] or "\t"
    rows = result if isinstance(result, list) else [result]
    return "".join(
        separator.join(_value(row, path) for path in re.split(r",(?!\")", found[2])) + "\n"
        for row in rows
    )


def _value(resource: Any, path: str) -> str:
    if path.endswith('.join(",")'):
        return ",".join(resource.get(path.partition(".")[0], ()))
    for part in re.findall(r"[\w-]+|\[\d*\]", path):
        if part == "[]":
            rest = path.partition("[].")[2]
            return ";".join(_value(each, rest) for each in resource)
        index = part.startswith("[")
        resource = (
            resource[int(part[1:-1])] if index else resource.get(part, "") if resource else ""
        )
    return str(resource)
