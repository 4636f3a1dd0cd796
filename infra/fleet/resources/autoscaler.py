"""The regional autoscaler: the bounds and signals that decide a group's size. Pure.

During a rollout the mode switches scale-in off; the group's size is never written. So a crash
leaves a fleet that is too large, not one that is too small. The autoscaler is always written whole,
because a signal that is no longer desired must be removed. Waits for its group.

Source: Compute API reference, regionAutoscalers.
"""

from __future__ import annotations

from infra.fleet import naming
from infra.fleet.model import Action, Body, DesiredResource, Key
from infra.fleet.resources.drift import Changes, describe, differences, with_absent
from rollout.model import GroupTarget, Loan
from rollout.spec.model import Cpu, Metric, ScaleIn, Scaling, Schedule

# Other fields of a policy (`stabilizationPeriodSec`) are no drift; the next update removes them.
_MANAGED = (
    "cpuUtilization",
    "loadBalancingUtilization",
    "customMetricUtilizations",
    "scalingSchedules",
    "scaleInControl",
)
_METRIC_FIELDS = ("filter", "utilizationTarget", "singleInstanceAssignment")
_WORDS = {
    "autoscalingPolicy.minNumReplicas": "min",
    "autoscalingPolicy.maxNumReplicas": "max",
    "autoscalingPolicy.mode": "mode",
    "autoscalingPolicy.coolDownPeriodSec": "cool-down",
    "autoscalingPolicy.cpuUtilization": "CPU signal",
    "autoscalingPolicy.cpuUtilization.utilizationTarget": "CPU target",
    "autoscalingPolicy.cpuUtilization.predictiveMethod": "predictive method",
    "autoscalingPolicy.loadBalancingUtilization": "load-balancing signal",
    "autoscalingPolicy.loadBalancingUtilization.utilizationTarget": "load-balancing target",
    "autoscalingPolicy.customMetricUtilizations": "list of metrics",
    "autoscalingPolicy.scaleInControl": "scale-in control",
}


def desired(model: str, target: GroupTarget) -> DesiredResource:
    spec = target.settings.spec
    key = naming.autoscaler(model, target.colour, spec.placement.region)
    group = naming.group(model, target.colour, spec.placement.region)
    body = {
        "name": key.name,
        "description": naming.description(model, "autoscaler"),
        "target": naming.reference(group),
        "autoscalingPolicy": {
            "mode": "ON" if target.may_scale_in else "ONLY_SCALE_OUT",
            "minNumReplicas": target.min,
            "maxNumReplicas": target.max,
            "coolDownPeriodSec": spec.scaling.cool_down_seconds,
            **_signals(spec.scaling),
        },
    }
    return DesiredResource(
        key, body, after=(group,), why=f"group {group.name} has no autoscaler yet"
    )


def restore(key: Key, loan: Loan, observed: Body) -> Action | None:
    """The patch that gives a group its own bounds back, without its release; None if it has them.
    Signals stay as they are.
    """
    bounds = loan.bounds
    policy = {"mode": "ON", "minNumReplicas": bounds.min, "maxNumReplicas": bounds.max}
    present = observed.get("autoscalingPolicy", {})
    changes = differences({"autoscalingPolicy": policy}, observed)
    if not changes:
        return None
    return Action(
        key,
        "patch",
        {"name": key.name, "autoscalingPolicy": {**present, **policy}},
        describe("the autoscaler", changes, _WORDS),
        based_on=str(observed.get("id", "")),
    )


def _signals(scaling: Scaling) -> Body:
    """The spec's signals; without any, CPU, which is Compute Engine's own default."""
    signals: Body = {}
    if scaling.cpu:
        signals["cpuUtilization"] = _cpu(scaling.cpu)
    if scaling.load_balancing:
        signals["loadBalancingUtilization"] = {"utilizationTarget": scaling.load_balancing.target}
    if scaling.metrics:
        signals["customMetricUtilizations"] = [_metric(metric) for metric in scaling.metrics]
    if not signals:
        signals["cpuUtilization"] = _cpu(Cpu())
    if scaling.schedules:
        signals["scalingSchedules"] = {
            name: _schedule(schedule) for name, schedule in scaling.schedules.items()
        }
    if scaling.scale_in:
        signals["scaleInControl"] = _scale_in(scaling.scale_in)
    return signals


def _cpu(cpu: Cpu) -> Body:
    method = "OPTIMIZE_AVAILABILITY" if cpu.predictive else "NONE"
    return {"utilizationTarget": cpu.target, "predictiveMethod": method}


def _metric(metric: Metric) -> Body:
    body: Body = {"metric": metric.name}
    if metric.filter:
        body["filter"] = metric.filter
    if metric.per_instance is not None:
        return body | {"singleInstanceAssignment": metric.per_instance}
    return body | {"utilizationTarget": metric.target, "utilizationTargetType": metric.type.upper()}


def _schedule(schedule: Schedule) -> Body:
    return {
        "schedule": schedule.cron,
        "timeZone": schedule.timezone,
        "durationSec": schedule.duration_seconds,
        "minRequiredReplicas": schedule.min,
        "disabled": schedule.disabled,
        "description": schedule.description,
    }


def _scale_in(control: ScaleIn) -> Body:
    most = (
        {"percent": control.max_percent}
        if control.max_instances is None
        else {"fixed": control.max_instances}
    )
    return {"maxScaledInReplicas": most, "timeWindowSec": control.window_seconds}


def drift(desired: Body, observed: Body) -> Changes:
    """An undesired signal, schedule or metric field is drift too; the order of metrics is not."""
    observed_policy = observed.get("autoscalingPolicy", {})
    policy = with_absent(desired["autoscalingPolicy"], _MANAGED)
    if policy["scalingSchedules"]:
        observed_schedules = observed_policy.get("scalingSchedules", {})
        policy["scalingSchedules"] = with_absent(policy["scalingSchedules"], observed_schedules)
    metrics = [
        with_absent(each, _METRIC_FIELDS) for each in policy["customMetricUtilizations"] or ()
    ]
    policy["customMetricUtilizations"] = sorted(metrics, key=_by_metric) or None
    observed_metrics = sorted(observed_policy.get("customMetricUtilizations", []), key=_by_metric)
    return differences(
        {"target": desired["target"], "autoscalingPolicy": policy},
        observed
        | {"autoscalingPolicy": observed_policy | {"customMetricUtilizations": observed_metrics}},
    )


def _by_metric(metric: Body) -> tuple[str, str]:
    return str(metric.get("metric", "")), str(metric.get("filter") or "")


def update(desired: DesiredResource, observed: Body) -> tuple[Action, ...]:
    body = desired.body
    changes = drift(body, observed)
    if not changes:
        return ()
    return (
        Action(
            desired.key,
            "update",
            body,
            describe("the autoscaler", changes, _WORDS),
            based_on=str(observed.get("id", "")),
        ),
    )
