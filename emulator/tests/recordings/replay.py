"""Replays a recorded log on an emulator of its own, in virtual time.

Not everything can be replayed: a log may use collections that the emulator does not have, and the
recorders gave several resources one name. What is not compared has a reason.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from compute_emulator import Emulator, Request, VirtualClock
from emulator.tests.recordings.compare import Difference, differences
from emulator.tests.recordings.translate import BASE, PROJECT, REGION, body_to_send, translate

COLLECTIONS = frozenset(
    [
        "addresses",
        "autoscalers",
        "backendServices",
        "forwardingRules",
        "healthChecks",
        "httpHealthChecks",
        "instanceGroupManagers",
        "instanceTemplates",
        "operations",
        "sslCertificates",
        "targetHttpProxies",
        "targetHttpsProxies",
        "urlMaps",
    ]
)
OTHER_TARGETS = re.compile(
    "target(Grpc|Ssl|Tcp|VpnGateway)|targetVpnGateways|serviceAttachments|psc|allApis"
)
"""Targets of forwarding rules that the emulator does not have."""
URL = re.compile(
    r"/compute/v1/projects/[^/]+/(global|regions/[^/]+|zones/[^/]+)/(\w+)(?:/([^/?]+))?"
)
NO_ANSWERS = [{"never_ready": True, "never_alive": True}]
"""The recorded groups ran plain images: nothing ever answered the health check."""
GROUP_DELETE = "compute.instanceGroupManagers.delete"


@dataclass
class Row:
    """One exchange: compared, with its differences, or skipped for a reason."""

    log: str
    number: int
    collection: str
    skipped: str = ""
    differences: list[Difference] = field(default_factory=list)

    @property
    def is_compared(self) -> bool:
        return not self.skipped


def replay(log: dict[str, Any]) -> list[Row]:
    return _Replay(log).run()


class _Replay:
    def __init__(self, log: dict[str, Any]) -> None:
        self.log: str = log["id"]
        self.exchanges: list[dict[str, Any]] = log["exchanges"]
        self.emulator = Emulator(
            PROJECT, VirtualClock(), operation_seconds=2, wait_advances_clock=True
        )
        self.emulator.set_behaviours(log.get("behaviours", NO_ANSWERS))
        self.operations: dict[tuple[str, str | None], str] = {}
        """Path of the emulator's operation by target and type of the recorded one."""
        self.inserted: Counter[tuple[str, str, str]] = Counter()
        self.has_other_targets = any(
            OTHER_TARGETS.search(json.dumps(each["request"]))
            for each in self.exchanges
            if "forwardingRules" in each["url"] and each["method"] == "POST"
        )

    def run(self) -> list[Row]:
        if self.log.startswith("bs-") and "securitysettings" not in self.log:
            self._prepare_group()
        return [self._exchange(number, each) for number, each in enumerate(self.exchanges)]

    def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        response = self.emulator.handle(Request(method, path, sent))
        return response.status, json.loads(response.body) if response.body else None

    def _prepare_group(self) -> None:
        """The group that the backend services refer to."""
        image = "projects/debian-cloud/global/images/family/debian-12"
        properties = {
            "machineType": "e2-small",
            "disks": [{"boot": True, "initializeParams": {"sourceImage": image}}],
            "networkInterfaces": [{"network": "global/networks/default"}],
        }
        template = {"name": "prepared", "properties": properties}
        self._call("POST", f"{BASE}/global/instanceTemplates", template)
        self.emulator.advance(5)
        group = {
            "name": "computeinstancegroup-u1",
            "targetSize": 1,
            "versions": [{"instanceTemplate": "global/instanceTemplates/prepared"}],
        }
        self._call("POST", f"{BASE}/regions/{REGION}/instanceGroupManagers", group)
        self.emulator.advance(60)

    def _exchange(self, number: int, raw: dict[str, Any]) -> Row:
        recorded = translate(self.log, raw)
        match = URL.search(recorded["url"])
        scope, collection, name = match.groups() if match else ("", "", None)
        row = Row(self.log, number, collection)
        if collection == "backendBuckets" and recorded["method"] == "POST" and not name:
            self._replace_bucket(recorded["request"]["name"])
        if collection not in COLLECTIONS or "backendBuckets" in raw["url"]:
            row.skipped = "of other collections"
        elif collection == "forwardingRules" and self.has_other_targets:
            row.skipped = "with targets of other collections"
        elif (
            collection != "operations"
            and scope.startswith("regions/")
            and self._call("GET", f"{BASE}/{scope}")[0] == 404
        ):
            row.skipped = "in a region that the emulator lacks"
        else:
            self._compare(row, recorded, (scope, collection, name or ""))
        return row

    def _replace_bucket(self, name: str) -> None:
        """A backend service takes the place of a backend bucket in URL maps."""
        body = {"name": f"bb-{name}", "loadBalancingScheme": "EXTERNAL_MANAGED"}
        self._call("POST", f"{BASE}/global/backendServices", body)
        self.emulator.advance(5)

    def _compare(self, row: Row, recorded: dict[str, Any], key: tuple[str, str, str]) -> None:
        method, real = recorded["method"], recorded["response"]
        path = re.sub(r"^https://[a-z]+\.googleapis\.com", "", recorded["url"])
        if row.collection == "operations":
            operation = self.operations.get(_identity(real))
            if operation is None:
                row.skipped = "operations of what is not replayed"
                return
            path = operation + path.partition("${operationID}")[2]
            self.emulator.advance(400 if real["operationType"] == GROUP_DELETE else 3)
        self.emulator.advance(0.2)
        body = recorded["request"]
        if isinstance(body, dict):
            _, current = self._call("GET", re.sub(r"/setLabels.*|\?.*", "", path))
            body = body_to_send(self.log, method, row.collection, body, current or {})
        if self._is_name_reused(recorded, key, body):
            row.skipped = "on a name that the recording uses twice"
            return
        self._pass_time(recorded, row.collection)
        status, answered = self._call(method, path, body)
        if status == 200 and answered.get("kind") == "compute#operation":
            self._remember(real, answered)
        if self.log.startswith("published"):
            self.emulator.advance(5)
        self._judge(row, recorded, status, answered)

    def _judge(self, row: Row, recorded: dict[str, Any], status: int, answered: Any) -> None:
        is_preparation = not recorded.get("compare", True)
        if is_preparation and status == 200:
            row.skipped = "preparations"
        elif not is_preparation and status == 404 and recorded["status"] == 200:
            row.skipped = "after a refusal or a name that is used twice"
        elif status == 200 and recorded["method"] == "DELETE" and recorded["status"] == 400:
            row.skipped = "deletions that a user delayed"
        elif status != recorded["status"]:
            at = recorded["method"]
            row.differences = [Difference("status", at, recorded["status"], answered)]
        else:
            row.differences = differences(self.log, recorded["response"], answered)

    def _remember(self, real: dict[str, Any] | None, answered: dict[str, Any]) -> None:
        """The emulator's operation, under the type of the recorded one."""
        target, _ = _identity(answered)
        _, _, path = answered["selfLink"].partition("www.googleapis.com")
        self.operations[target, (real or {}).get("operationType")] = path

    def _is_name_reused(
        self, recorded: dict[str, Any], key: tuple[str, str, str], body: Any
    ) -> bool:
        """Whether the recording has two resources of this name, which were two in reality."""
        scope, collection, name = key
        match recorded["method"]:
            case "POST" if not name and collection != "operations":
                key = (scope, collection, str(body["name"]))
                self.inserted[key] += 1
                return self.inserted[key] > 1
            case "DELETE" if self.inserted[key] > 1:
                self.inserted[key] -= 1
                return True
            case "DELETE":
                self.inserted[key] = 0
            case "GET" if collection != "operations" and recorded["status"] == 404:
                return self.inserted[key] > 0
        return False

    def _pass_time(self, recorded: dict[str, Any], collection: str) -> None:
        """As much as passed before the recorded answer, roughly: the recordings have no times."""
        match recorded["method"]:
            case "DELETE":
                self.emulator.advance(3)
            case "GET" if collection != "operations":
                self.emulator.advance(_seconds_before_read(recorded, collection))


def _seconds_before_read(recorded: dict[str, Any], collection: str) -> float:
    is_group = collection == "instanceGroupManagers"
    if recorded["status"] == 404:
        return 400 if is_group else 5
    if not recorded.get("compare", True):
        return 300
    actions = (recorded["response"] or {}).get("currentActions") or {}
    return 60 if is_group and actions.get("verifying", 0) > 1 else 3


def _identity(operation: dict[str, Any] | None) -> tuple[str, str | None]:
    """Target and type of a recorded operation; its own name was replaced."""
    given = operation or {}
    return "/".join(given.get("targetLink", "").split("/")[-2:]), given.get("operationType")
