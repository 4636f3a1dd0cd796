"""Controller of a regional autoscaler: measures the group, decides (rules/autoscale.py), and
resizes.

It decides when its policy, the load or the group changes, when a VM's initialisation ends, and when
a stabilisation window, a scale-in window or a schedule is due. Otherwise it is idle. The load of
each group is a setting of the `Cloud`:

    cloud.load["us-central1/tiny"] = {    or "tiny", for a group of that name in any region
      "cpu": 0.9,           mean utilisation at any size, or
      "cpu_demand": 3.2,    work in VMs, shared by the VMs that serve
      "rps": 250,           requests/s to the whole group, for load balancing utilisation
      "balancing": 0.7,     or that utilisation itself
      "metrics": {          the group's total, or {"mean": 4} for a mean per VM, or
        "custom.googleapis.com/q": 40    "invalid" (no such metric) or "sparse" (too few points)
      },
    }
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from compute_emulator.engine.attached_services import services_of
from compute_emulator.engine.cloud import Cloud
from compute_emulator.engine.group_intent import size_of
from compute_emulator.engine.groups import Group, group_at
from compute_emulator.engine.managed_instance import ManagedInstance
from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key, parse
from compute_emulator.rules.autoscale import (
    CPU_TARGET,
    STABILIZATION_SECONDS,
    Decision,
    Detail,
    History,
    Measured,
    Metric,
    Policy,
    decide,
    surplus_over,
)
from compute_emulator.rules.group import AWAY
from compute_emulator.rules.schedules import Schedule

BALANCING_TARGET = 0.8
UTILIZATION = 0.8  # a backend's maxUtilization if it names none
UNUSABLE = {
    "invalid": Detail(
        "CUSTOM_METRIC_INVALID",
        "The custom metric does not exist or does not have the necessary labels.",
    ),
    "sparse": Detail(
        "CUSTOM_METRIC_DATA_POINTS_TOO_SPARSE", "The custom metric is not exported often enough."
    ),
}
ERRORS = frozenset(
    {
        "CUSTOM_METRIC_INVALID",
        "SCALING_TARGET_DOES_NOT_EXIST",
        "BACKEND_SERVICE_DOES_NOT_EXIST",
        "MORE_THAN_ONE_BACKEND_SERVICE",
        "UNSUPPORTED_MAX_RATE_LOAD_BALANCING_CONFIGURATION",
    }
)


def policy_of(resource: JsonObject) -> Policy:
    """An autoscaler's policy with defaults filled in. Without any signal it scales by CPU."""
    given = resource["autoscalingPolicy"]
    cool_down = float(given.get("coolDownPeriodSec", 60))
    control = given.get("scaleInControl") or {}
    cpu_utilization = given.get("cpuUtilization")
    balancing_utilization = given.get("loadBalancingUtilization")
    custom = given.get("customMetricUtilizations") or []
    return Policy(
        min_size=given["minNumReplicas"],
        max_size=given["maxNumReplicas"],
        mode=given.get("mode", "ON"),
        cool_down_seconds=cool_down,
        stabilization_seconds=float(
            given.get("stabilizationPeriodSec", max(STABILIZATION_SECONDS, cool_down))
        ),
        cpu_target=cpu_utilization.get("utilizationTarget", CPU_TARGET)
        if cpu_utilization is not None
        else None,
        balancing_target=(
            balancing_utilization.get("utilizationTarget", BALANCING_TARGET)
            if balancing_utilization is not None
            else None
        ),
        metrics=tuple(_metric(each) for each in custom),
        schedules=tuple(
            schedule_of(name, each) for name, each in (given.get("scalingSchedules") or {}).items()
        ),
        scale_in_limit=size_of(control.get("maxScaledInReplicas")),
        scale_in_seconds=float(control.get("timeWindowSec", 0)),
    )


def _metric(given: JsonObject) -> Metric:
    per_group = given.get("singleInstanceAssignment")
    if per_group:
        return Metric(given["metric"], float(per_group), is_per_group=True)
    return Metric(given["metric"], float(given.get("utilizationTarget", 1.0)))


def schedule_of(name: str, given: JsonObject) -> Schedule:
    return Schedule(
        name=name,
        cron=given.get("schedule", ""),
        duration_seconds=float(given.get("durationSec", 0)),
        required=given.get("minRequiredReplicas", 0),
        time_zone=given.get("timeZone") or "UTC",
        is_disabled=bool(given.get("disabled")),
    )


class Autoscaler:
    """The controller of one autoscaler."""

    def __init__(self, cloud: Cloud, key: Key) -> None:
        self.cloud = cloud
        self.key = key
        self.decision: Decision | None = None
        self._history = History()
        self._is_due = False
        self._recheck_at: float | None = None
        self._group: Group | None = None
        self.on_write()

    @property
    def resource(self) -> JsonObject:
        return self.cloud.get(self.key)

    @property
    def group(self) -> Group | None:
        return self._group

    def on_write(self) -> None:
        """The resource was written: follow the target it names, and decide."""
        target = parse(self.resource["target"])
        group = group_at(self.cloud, target) if target is not None else None
        if group is not self._group:
            self.detach()
            self._group = group
            if group is not None:
                group.autoscaler = self.key
                group.listeners.append(self.decide_soon)
                self.cloud.load.listeners.append(self.decide_soon)
                # The current size is the first need, so that the group is not scaled in before a
                # window has passed.
                self._history = History(needs=((self.cloud.now() - 1.0, group.intent.target_size),))
        self.decide_soon()

    def detach(self) -> None:
        """Detach from the group."""
        if self._group is not None:
            self._group.autoscaler = None
            self._group.listeners.remove(self.decide_soon)
            self.cloud.load.listeners.remove(self.decide_soon)
            self._group = None

    def decide_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self.cloud.at(self.cloud.now(), self._decide)

    def _decide(self) -> None:
        self._is_due = False
        group = self._group
        if (
            self.cloud.autoscalers.get(self.key) is not self
            or group is None
            or group.is_being_deleted
        ):
            return
        now = self.cloud.now()
        policy = policy_of(self.resource)
        size = group.intent.target_size
        self.decision = decide(policy, measure(group, policy), size, self._history, now)
        self._history = self.decision.history
        if self.decision.size != size:
            group.resize(self.decision.size)
        initialised = [
            m.running_since + policy.cool_down_seconds
            for m in group.instances.values()
            if m.is_running
        ]
        due = [self.decision.recheck_at, *initialised]
        self._decide_later(
            min((each for each in due if each is not None and each > now), default=None)
        )

    def _decide_later(self, when: float | None) -> None:
        if when is not None and when != self._recheck_at:
            self.cloud.at(when, lambda: self.decide_soon() if self._recheck_at == when else None)
        self._recheck_at = when

    def details(self) -> list[Detail]:
        """The current `statusDetails`."""
        if self._group is None:
            return [
                Detail(
                    "SCALING_TARGET_DOES_NOT_EXIST", "The managed instance group does not exist."
                )
            ]
        found = list(self.decision.details) if self.decision is not None else []
        policy = policy_of(self.resource)
        given = load_of(self._group).get("metrics", {})
        found += [
            UNUSABLE[how]
            for metric in policy.metrics
            if isinstance(how := given.get(metric.name), str)
        ]
        if policy.balancing_target is not None:
            problem = balancing_utilization(self._group, load_of(self._group), 1)[1]
            found += [problem] if problem is not None else []
        failures = [m.failure for m in self._group.instances.values() if m.failure is not None]
        if any(failure.is_stock_out for failure in failures):
            found.append(
                Detail(
                    "ZONE_RESOURCE_STOCKOUT", "A zone of the group does not have enough resources."
                )
            )
            if self._group.capacity.full_zones() >= set(self._group.intent.zones):
                found.append(
                    Detail("REGION_RESOURCE_STOCKOUT", "No zone of the group has enough resources.")
                )
        if any(failure.code == "QUOTA_EXCEEDED" for failure in failures):
            found.append(
                Detail("NOT_ENOUGH_QUOTA_AVAILABLE", "There is not enough quota to scale out.")
            )
        return found + self._unhealthy_details() + self._schedule_details(policy)

    def _unhealthy_details(self) -> list[Detail]:
        """ALL_INSTANCES_UNHEALTHY. Unhealthy here means not RUNNING, whatever the group's health
        check says; a VM that is being created is not unhealthy yet. Source: API reference,
        statusDetails.
        """
        instances = (
            [m for m in self._group.instances.values() if not m.standby and m.action != "CREATING"]
            if self._group is not None
            else []
        )
        if not instances or any(m.status == "RUNNING" for m in instances):
            return []
        return [
            Detail(
                "ALL_INSTANCES_UNHEALTHY",
                "All instances of the group are unhealthy (not in RUNNING state).",
            )
        ]

    def _schedule_details(self, policy: Policy) -> list[Detail]:
        """Schedules that the size limits overrule, whether in force or not. Source: API reference,
        statusDetails.
        """
        required = [schedule.required for schedule in policy.schedules if not schedule.is_disabled]
        found = []
        if any(count > policy.max_size for count in required):
            found.append(
                Detail(
                    "SCHEDULED_INSTANCES_GREATER_THAN_AUTOSCALER_MAX",
                    "A schedule asks for more than the maximum.",
                )
            )
        if any(count < policy.min_size for count in required):
            found.append(
                Detail(
                    "SCHEDULED_INSTANCES_LESS_THAN_AUTOSCALER_MIN",
                    "A schedule asks for less than the minimum.",
                )
            )
        return found


def load_of(group: Group) -> JsonObject:
    """The load set for a group, by region and name or by name; it overrides what the data plane
    measured.
    """
    load, name = group.cloud.load, f"{group.region}/{group.key.name}"
    given = load.get(name) or load.get(group.key.name) or {}
    seen = group.cloud.measured.get(name)
    return seen | given if seen else given


def measure(group: Group, policy: Policy) -> Measured:
    """The signals, over the VMs that serve and are initialised."""
    serving = _initialised_instances(group, policy.cool_down_seconds)
    load, zones = load_of(group), Counter(instance.zone for instance in serving)
    return Measured(
        serving=len(serving),
        cpu=cpu_utilization(load, len(serving)),
        balancing=balancing_utilization(group, load, len(serving))[0],
        surplus=surplus_over([zones[zone] for zone in group.intent.zones]),
        metrics={
            metric.name: value
            for metric in policy.metrics
            if (value := _value(metric, load, len(serving))) is not None
        },
    )


def _initialised_instances(group: Group, cool_down: float) -> list[ManagedInstance]:
    now = group.cloud.now()
    return [
        instance
        for instance in group.instances.values()
        if instance.is_running
        and not instance.standby
        and instance.action not in AWAY
        and instance.running_since + cool_down <= now
    ]


def cpu_utilization(load: Mapping[str, Any], serving: int) -> float:
    """Mean CPU utilisation. The serving VMs share the demand; none exceeds 1."""
    if "cpu_demand" in load:
        return min(1.0, float(load["cpu_demand"]) / serving) if serving else 0.0
    return float(load.get("cpu", 0.0))


def balancing_utilization(
    group: Group, load: Mapping[str, Any], serving: int
) -> tuple[float | None, Detail | None]:
    """Mean share of the serving capacity that the group's only backend service declares, or why
    there is none.
    """
    services = services_of(group.cloud, group.group_key)
    if not services:
        return None, Detail(
            "BACKEND_SERVICE_DOES_NOT_EXIST", "No backend service uses the managed instance group."
        )
    if len(services) > 1:
        return None, Detail(
            "MORE_THAN_ONE_BACKEND_SERVICE",
            "More than one backend service uses the managed instance group.",
        )
    backend = next(
        each for each in services[0]["backends"] if parse(each["group"]) == group.group_key
    )
    if backend.get("balancingMode") == "RATE" and not backend.get("maxRatePerInstance"):
        message = "Autoscaling by load balancing needs a maximum rate per instance."
        return None, Detail("UNSUPPORTED_MAX_RATE_LOAD_BALANCING_CONFIGURATION", message)
    if "balancing" in load:
        return float(load["balancing"]), None
    capacity = backend.get("capacityScaler", 1.0)
    if backend.get("balancingMode") == "RATE":
        capacity_per_vm, rate = (
            backend["maxRatePerInstance"] * capacity,
            float(load.get("rps", 0.0)),
        )
        silent = (
            None
            if rate
            else Detail(
                "MISSING_LOAD_BALANCING_DATA_POINTS", "The group has not received any requests."
            )
        )
        return (rate / serving / capacity_per_vm if serving and capacity_per_vm else 0.0), silent
    capacity_per_vm = backend.get("maxUtilization", UTILIZATION) * capacity
    return (cpu_utilization(load, serving) / capacity_per_vm if capacity_per_vm else 0.0), None


def _value(metric: Metric, load: Mapping[str, Any], serving: int) -> float | None:
    given = load.get("metrics", {}).get(metric.name)
    if given is None or isinstance(given, str):
        return None
    if isinstance(given, Mapping):
        return float(given["mean"]) * (serving if metric.is_per_group else 1)
    return float(given) if metric.is_per_group else float(given) / max(1, serving)


def autoscaler_at(cloud: Cloud, key: Key | None) -> Autoscaler | None:
    return cloud.autoscalers.get(key) if key is not None else None
