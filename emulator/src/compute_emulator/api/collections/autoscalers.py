"""Regional autoscalers: the resource, its defaults and its validation. A group has at most one
autoscaler.

`engine/autoscaling.py` holds their controller. Source: Compute API reference, regionAutoscalers.
"""

from __future__ import annotations

import copy

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections import standard
from compute_emulator.api.group_policies import is_stateful
from compute_emulator.engine.autoscaling import ERRORS, Autoscaler, autoscaler_at, schedule_of
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import size_of
from compute_emulator.engine.groups import group_at
from compute_emulator.errors import InUse, Invalid, JsonObject, NotFound, Required
from compute_emulator.keys import Key
from compute_emulator.rules.schedules import schedule_problem
from compute_emulator.rules.sizes import rounded_up

HANDLERS = Handlers()

MAX_METRICS, MAX_SCHEDULES = 5, 128
DEFAULT_MIN = 2
POLICY = "resource.autoscalingPolicy"


def complete(call: Call, resource: JsonObject) -> None:
    _check_target(call, resource)
    policy = resource.get("autoscalingPolicy")
    if not policy:
        raise Required(POLICY)
    _check_limits(policy)
    policy.setdefault("coolDownPeriodSec", 60)
    policy.setdefault("mode", "ON")
    _check_signals(policy)
    _check_schedules(policy)
    control = policy.get("scaleInControl") or {}
    percent = (control.get("maxScaledInReplicas") or {}).get("percent", 0)
    if not 0 <= percent <= 100:
        where = f"{POLICY}.scaleInControl.maxScaledInReplicas.percent"
        raise Invalid(where, percent, "Must be between 0 and 100.")
    limit = size_of(control.get("maxScaledInReplicas"))
    if limit is not None:
        control["maxScaledInReplicas"]["calculated"] = rounded_up(limit, policy["maxNumReplicas"])
    window = control.get("timeWindowSec")
    if window is not None and not 60 <= window <= 3600:
        raise Invalid(
            f"{POLICY}.scaleInControl.timeWindowSec", window, "Must be between 60 and 3600."
        )


def _check_target(call: Call, resource: JsonObject) -> None:
    """The group must exist in the region and have no other autoscaler."""
    if not resource.get("target"):
        raise Required("resource.target")
    key = call.cloud.resolve("resource.target", resource["target"], "instanceGroupManagers")
    if key.scope != call.scope:
        raise Invalid(
            "resource.target", resource["target"], "The group must be in the autoscaler's region."
        )
    group = group_at(call.cloud, key)
    other = group.autoscaler if group is not None else None
    if other is not None and other.name != resource["name"]:
        raise InUse("instance_group_manager", call.cloud.path(key), call.cloud.path(other))
    shape = call.cloud.get(key)["distributionPolicy"]["targetShape"]
    if shape not in ("EVEN", "BALANCED"):
        raise Invalid(
            "resource.target",
            resource["target"],
            f"A group of target shape {shape} cannot be autoscaled.",
        )
    if group is not None and is_stateful(group):
        raise Invalid(
            "resource.target", resource["target"], "A stateful group cannot be autoscaled."
        )
    resource["target"] = call.cloud.link(*key)


def _check_limits(policy: JsonObject) -> None:
    maximum = policy.get("maxNumReplicas")
    if maximum is None:
        raise Required(f"{POLICY}.maxNumReplicas")
    if maximum <= 0:
        raise Invalid(f"{POLICY}.maxNumReplicas", maximum, "Must be greater than 0.")
    _check_not_negative(f"{POLICY}.coolDownPeriodSec", policy.get("coolDownPeriodSec", 0))
    minimum = policy.setdefault("minNumReplicas", min(DEFAULT_MIN, maximum))
    if not 0 <= minimum <= maximum:
        raise Invalid(
            f"{POLICY}.minNumReplicas",
            minimum,
            f"Must be between 0 and maxNumReplicas ({maximum}).",
        )


def _check_not_negative(where: str, value: int) -> None:
    if value < 0:
        raise Invalid(where, value, "Must not be negative.")


def _check_signals(policy: JsonObject) -> None:
    """Without any signal it is CPU."""
    metrics = policy.get("customMetricUtilizations") or []
    _check_metrics(metrics)
    others = ("loadBalancingUtilization", "cpuUtilization")
    if not (metrics or policy.get("scalingSchedules") or any(name in policy for name in others)):
        policy["cpuUtilization"] = {"utilizationTarget": 0.6}
    if "cpuUtilization" in policy:
        policy["cpuUtilization"].setdefault("predictiveMethod", "NONE")
    for name in others:
        target = policy.get(name, {}).get("utilizationTarget")
        if target is not None and not 0 < target <= 1:
            raise Invalid(
                f"{POLICY}.{name}.utilizationTarget",
                target,
                "Must be greater than 0 and at most 1.",
            )


def _check_metrics(metrics: list[JsonObject]) -> None:
    if len(metrics) > MAX_METRICS:
        raise Invalid(
            f"{POLICY}.customMetricUtilizations",
            len(metrics),
            f"At most {MAX_METRICS} metrics are allowed.",
        )
    for index, metric in enumerate(metrics):
        where = f"{POLICY}.customMetricUtilizations[{index}]"
        if not metric.get("metric"):
            raise Required(f"{where}.metric")
        given = [
            name for name in ("utilizationTarget", "singleInstanceAssignment") if metric.get(name)
        ]
        if len(given) != 1:
            raise Invalid(
                where,
                metric["metric"],
                "Exactly one of utilizationTarget and singleInstanceAssignment must be set.",
            )
        if metric[given[0]] <= 0:
            raise Invalid(f"{where}.{given[0]}", metric[given[0]], "Must be greater than 0.")
    names = [(metric["metric"], metric.get("filter")) for metric in metrics]
    if len(set(names)) < len(names):
        raise Invalid(
            f"{POLICY}.customMetricUtilizations", names[-1][0], "Each metric can be used once."
        )


def _check_schedules(policy: JsonObject) -> None:
    schedules = policy.get("scalingSchedules") or {}
    if len(schedules) > MAX_SCHEDULES:
        raise Invalid(
            f"{POLICY}.scalingSchedules",
            len(schedules),
            f"At most {MAX_SCHEDULES} schedules are allowed.",
        )
    for name, given in schedules.items():
        if "minRequiredReplicas" not in given:
            raise Required(f"{POLICY}.scalingSchedules[{name}].minRequiredReplicas")
        _check_not_negative(
            f"{POLICY}.scalingSchedules[{name}].minRequiredReplicas", given["minRequiredReplicas"]
        )
        problem = schedule_problem(schedule_of(name, given))
        if problem:
            raise Invalid(f"{POLICY}.scalingSchedules[{name}]", given.get("schedule", ""), problem)


def on_write(cloud: Cloud, resource: JsonObject) -> None:
    key = cloud.key_of(resource["selfLink"])
    autoscaler = autoscaler_at(cloud, key)
    if autoscaler is None:
        cloud.autoscalers[key] = Autoscaler(cloud, key)
    else:
        autoscaler.on_write()


def on_delete(cloud: Cloud, resource: JsonObject) -> None:
    autoscaler = cloud.autoscalers.pop(cloud.key_of(resource["selfLink"]), None)
    if autoscaler is not None:
        autoscaler.detach()


def view(cloud: Cloud, resource: JsonObject) -> JsonObject:
    """The resource with its recommendation, its status, and the status of its schedules."""
    key = cloud.key_of(resource["selfLink"])
    autoscaler = autoscaler_at(cloud, key)
    if autoscaler is None:
        return resource
    details = [{"type": each.type, "message": each.message} for each in autoscaler.details()]
    decision = autoscaler.decision
    result = resource | {"status": "PENDING" if decision is None else "ACTIVE"}
    if any(each["type"] in ERRORS for each in details):
        result["status"] = "ERROR"
    if _is_being_deleted(cloud, key):
        result["status"] = "DELETING"
    if details:
        result["statusDetails"] = details
    if decision is None:
        return result
    result["recommendedSize"] = decision.recommended
    if decision.schedules:
        result["scalingScheduleStatus"] = {
            name: (
                {"state": each.state}
                | ({"nextStartTime": cloud.timestamp(each.next_start)} if each.next_start else {})
                | ({"lastStartTime": cloud.timestamp(each.last_start)} if each.last_start else {})
            )
            for name, each in decision.schedules.items()
        }
    return result


def _is_being_deleted(cloud: Cloud, key: Key) -> bool:
    busy_targets = cloud.operations.busy_targets.get(key)
    return busy_targets is not None and str(
        cloud.operations.table[busy_targets]["operationType"]
    ).endswith("delete")


KIND = standard.Kind(
    collection="autoscalers",
    word="autoscaler",
    schema="Autoscaler",
    discovery=("regionAutoscalers",),
    complete=complete,
    view=view,
    on_write=on_write,
    on_delete=on_delete,
)
METHOD = "compute.regionAutoscalers."


@HANDLERS.handles(METHOD + "insert")
def insert(call: Call) -> JsonObject:
    return standard.insert(KIND, call)


@HANDLERS.handles(METHOD + "get")
def get(call: Call) -> JsonObject:
    return view(call.cloud, call.resource())


@HANDLERS.handles(METHOD + "list")
def list_autoscalers(call: Call) -> JsonObject:
    return standard.list_(KIND, call)


@HANDLERS.handles("compute.autoscalers.aggregatedList")
def aggregated_list(call: Call) -> JsonObject:
    return standard.aggregated_list(KIND, call)


@HANDLERS.handles(METHOD + "delete")
def delete(call: Call) -> JsonObject:
    return standard.delete(KIND, call)


@HANDLERS.handles(METHOD + "patch", METHOD + "update")
def change(call: Call) -> JsonObject:
    """PATCH merges, PUT replaces. The autoscaler is named by the query's `autoscaler`, else by
    the body.
    """
    name = call.params.get("autoscaler") or call.body.get("name")
    if not name:
        raise Required("autoscaler")
    key = Key(call.scope, call.collection, name)
    kept = call.cloud.find(key)
    if kept is None:
        raise NotFound(call.cloud.path(key))
    call.cloud.require_ready(key)
    changed = (
        standard.merge(copy.deepcopy(kept), call.body)
        if call.method.verb == "patch"
        else dict(call.body)
    )
    changed.setdefault("target", kept["target"])
    changed |= {member: kept[member] for member in standard.SERVER_SET if member in kept}
    complete(call, changed)
    on_write(call.cloud, call.cloud.put(key, changed))
    return call.operation(target=key)
