"""What a user may ask for, section by section: fields, their kinds, their plain defaults.

Read by everything that looks at a release's spec. Rules between fields are in
`rollout/spec/rules.py`; defaults that depend on other fields are filled by
`rollout/spec/defaults.py`, so that in a resolved spec a None means "none". Nothing here knows
Google Cloud clients, the clock or the store. The JSON Schema and `docs/spec.md` are generated from
these types by `schemas/generate.py`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rollout.spec import types
from rollout.spec.problems import Invalid
from rollout.spec.types import Allowed, Otherwise, Shorthand
from rollout.spec.validation import freeze, validate

Value = TypeVar("Value")
DEFAULT_NETWORK = "global/networks/default"
ZONES_OF_A_REGION = 3  # a regional group that names no zones is spread over three


def _in_name_order(values: dict[str, Value]) -> dict[str, Value]:
    return dict(sorted(values.items()))


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


def at_most(most: int) -> BeforeValidator:
    """Count before looking at each, since pydantic's own limit does so after: a list of ten
    thousand has one thing wrong."""

    def count(value: Any) -> Any:
        if isinstance(value, (dict, tuple, list)) and len(value) > most:
            raise ValueError("too many")
        return tuple(value) if isinstance(value, list) else value

    return BeforeValidator(count)


# A store may give a map's keys back in any order; what is built from a spec must not depend on it.
InNameOrder = AfterValidator(_in_name_order)
EachOnce = AfterValidator(_each_once)


class Section(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class Artifact(Section):
    """What runs: a container image (on Container-Optimized OS) or, without one, a start-up script
    on a plain boot image."""

    image: types.Image | None = Field(
        default=None, description="The container to run, by digest or by tag"
    )
    signature: types.Signature | None = Field(
        default=None,
        description=(
            "Somebody's signature of `image` as it stands here, where the policy names signers"
        ),
    )
    startup_script: types.Script | None = Field(
        default=None, repr=False, description="The script to run at boot, instead of a container"
    )
    weights: types.Weights | None = Field(default=None, description="Where the model's weights are")
    args: Annotated[tuple[types.Argument, ...], Field(max_length=200), at_most(200)] = Field(
        default=(), repr=False, description="Arguments of the container's entry point"
    )
    env: Annotated[
        dict[types.EnvName, types.EnvValue], Field(max_length=100), at_most(100), InNameOrder
    ] = Field(
        default={},
        repr=False,
        description="Environment variables; for anything secret use `secrets`",
    )
    secrets: Annotated[
        dict[types.EnvName, types.SecretName], Field(max_length=50), at_most(50), InNameOrder
    ] = Field(
        default={},
        repr=False,
        description=(
            "Environment variables filled from Secret Manager on the instance: variable to secret"
            " name"
        ),
    )


class Serving(Section):
    """How the model answers."""

    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=8080, description="The port it serves HTTP on"
    )
    readiness_path: types.RequestPath = Field(
        default="/health", description="Answers 200 when the instance may get requests"
    )
    liveness_path: Annotated[types.RequestPath, Otherwise("`serving.readiness_path`")] | None = (
        Field(
            default=None,
            description=(
                "Answers 200 as long as the instance need not be replaced, and not before it can"
                " serve"
            ),
        )
    )
    startup_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=120, description="Expected time from boot to ready"
    )


class Accelerator(Section):
    """The GPUs of one instance."""

    type: types.AcceleratorType = Field(description="The accelerator's type")
    count: Annotated[int, Field(ge=1, le=16)] = Field(
        default=1, description="How many on each instance"
    )


class Disk(Section):
    """The boot disk."""

    size_gb: Annotated[int, Field(ge=10, le=65536)] = Field(default=50, description="Its size")
    type: Literal["pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"] = (
        Field(default="pd-balanced", description="Its type")
    )


class ShieldedVm(Section):
    """Shielded VM settings, as Compute Engine has them."""

    secure_boot: bool = Field(default=False, description="Refuse unsigned boot components")
    vtpm: bool = Field(
        default=True, description="Give the instance a virtual trusted platform module"
    )
    integrity_monitoring: bool = Field(
        default=True, description="Compare each boot with a known good one"
    )


class Machine(Section):
    """What it runs on."""

    type: types.MachineType = Field(default="n1-standard-1", description="Machine type")
    accelerator: (
        Annotated[
            Accelerator,
            Otherwise("the GPUs that come with an accelerator-optimised machine type, else none"),
        ]
        | None
    ) = Field(default=None, description="GPUs of each instance")
    spot: bool = Field(
        default=False, description="Use Spot instances, which Compute Engine may take back"
    )
    image: (
        Annotated[
            types.BootImage,
            Otherwise("the `cos-stable` family for a container, `debian-12` for a start-up script"),
        ]
        | None
    ) = Field(default=None, description="Boot image or image family")
    disk: Disk = Field(default=Disk(), description="The boot disk")
    service_account: types.ServiceAccount | None = Field(
        default=None, description="Whom the instances act as; none: the project's default account"
    )
    network: types.Network = Field(default=DEFAULT_NETWORK, description="VPC network")
    subnetwork: types.Subnetwork | None = Field(
        default=None,
        description="Subnetwork, in the model's region; none: the network's own choice",
    )
    external_ip: bool = Field(
        default=True,
        description=(
            "Give instances an external address; without one, images come through Cloud NAT or"
            " Private Google Access"
        ),
    )
    tags: Annotated[
        tuple[types.Tag, ...],
        Field(max_length=64),
        at_most(64),
        EachOnce,
        Allowed("at most 64 network tags, each once"),
    ] = Field(default=(), description="Network tags, for firewall rules")
    labels: Annotated[
        dict[types.LabelKey, types.LabelValue], Field(max_length=56), at_most(56), InNameOrder
    ] = Field(
        default={},
        description="Labels of the instances; those that begin with `slipway` are Slipway's own",
    )
    shielded_vm: ShieldedVm = Field(default=ShieldedVm(), description="Shielded VM settings")


class Placement(Section):
    """Where it runs."""

    region: types.Region = Field(default="us-central1", description="Region of the managed group")
    zones: Annotated[
        tuple[types.Zone, ...],
        Field(max_length=10),
        at_most(10),
        EachOnce,
        Allowed("at most 10 zones, each once"),
    ] = Field(
        default=(),
        description="Zones of the region to use; none named: three of Compute Engine's choice",
    )
    target_shape: Literal["even", "balanced"] = Field(
        default="even",
        description=(
            "`even` keeps zones within one instance of each other; `balanced` goes where"
            " capacity is"
        ),
    )

    @property
    def zone_count(self) -> int:
        return len(self.zones) or ZONES_OF_A_REGION


class Cpu(Section):
    """Scale on CPU utilization."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6, description="Utilization to hold"
    )
    predictive: bool = Field(default=False, description="Scale ahead of daily and weekly patterns")


class LoadBalancing(Section):
    """Scale on how full the load balancer finds the group."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.8, description="Fraction of the backend's serving capacity to hold"
    )


class Metric(Section):
    """Scale on a Cloud Monitoring metric: `target` is what each instance should show,
    `per_instance` the share of a whole group's value that one instance handles (a queue of 100 with
    5 per instance asks for 20 instances)."""

    name: types.MetricName = Field(description="Metric type")
    target: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Value to hold on each instance"
    )
    per_instance: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Share of the group's value for one instance"
    )
    type: Literal["gauge", "delta_per_second", "delta_per_minute"] = Field(
        default="gauge", description="How `target` is read"
    )
    filter: types.Filter | None = Field(
        default=None, description="Cloud Monitoring filter that picks the time series"
    )

    @model_validator(mode="after")
    def _one_way_to_read_it(self) -> Self:
        """Here and not among the rules: metrics are in a list, and lists are never merged, so each
        can be judged by itself."""
        if (self.target is None) == (self.per_instance is None):
            raise PydanticCustomError("rule", "needs exactly one of target and per_instance")
        if self.per_instance is not None and self.type != "gauge":
            raise PydanticCustomError(
                "rule", "type must be left out beside per_instance: it says how target is read"
            )
        return self


class Schedule(Section):
    """More instances at set times."""

    cron: types.Cron = Field(description="When it starts")
    timezone: types.TimeZone = Field(default="UTC", description="Time zone of `cron`")
    duration_seconds: Annotated[int, Field(ge=300, le=31536000)] = Field(
        description="How long it holds"
    )
    min: Annotated[int, Field(ge=0, le=2000)] = Field(description="Fewest instances meanwhile")
    disabled: bool = Field(default=False, description="Keep it, but do not act on it")
    description: types.Line = Field(default="", description="For people")


class ScaleIn(Section):
    """How fast the group may shrink."""

    max_instances: Annotated[int, Field(ge=0, le=2000)] | None = Field(
        default=None, description="Most instances to remove within the window"
    )
    max_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Most instances to remove within the window, in percent"
    )
    window_seconds: Annotated[int, Field(ge=60, le=3600)] = Field(
        default=600, description="The window"
    )


class Scaling(Section):
    """How many instances."""

    min: Annotated[int, Field(ge=0, le=2000)] = Field(default=1, description="Fewest instances")
    max: Annotated[int, Field(ge=1, le=2000)] = Field(
        default=5, description="Most instances, not counting surge during a rollout"
    )
    cpu: Annotated[Cpu, Otherwise("target 0.6 when no other signal is named")] | None = Field(
        default=None, description="CPU utilization"
    )
    load_balancing: LoadBalancing | None = Field(
        default=None, description="Load-balancing utilization"
    )
    metrics: Annotated[tuple[Metric, ...], Field(max_length=5), at_most(5)] = Field(
        default=(), description="Cloud Monitoring metrics, each once"
    )
    schedules: Annotated[
        dict[types.ScheduleName, Schedule], Field(max_length=128), at_most(128), InNameOrder
    ] = Field(default={}, description="Schedules by name")
    scale_in: ScaleIn | None = Field(default=None, description="Limits on shrinking")
    cool_down_seconds: (
        Annotated[int, Field(ge=0, le=3600), Otherwise("`serving.startup_seconds`")] | None
    ) = Field(default=None, description="How long a new instance's numbers are not counted")


class Traffic(Section):
    """How requests reach it."""

    exposure: Literal["external", "none"] = Field(
        default="external",
        description=(
            "`external`: behind the shared external load balancer; `none`: no backend and no route"
        ),
    )
    host: types.Host = Field(default="*", description="Host the route answers for")
    path: Annotated[types.RoutePath, Otherwise("`/<model>`")] | None = Field(
        default=None,
        description=(
            "Path the route answers for, with everything below it; the model sees it as `/`"
        ),
    )
    draining_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=300, description="Time for requests in flight when an instance leaves"
    )
    balancing_mode: Literal["utilization", "rate"] = Field(
        default="utilization", description="What tells the load balancer that an instance is full"
    )
    max_utilization: (
        Annotated[
            float, Field(gt=0, le=1), Otherwise("0.8 when the balancing mode is `utilization`")
        ]
        | None
    ) = Field(default=None, description="Backend utilization that counts as full")
    max_rate_per_instance: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="Requests a second that make one instance full"
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=300, description="Longest time for one answer"
    )
    certificate: types.Certificate | None = Field(
        default=None, description="Certificate for HTTPS; none: HTTP only"
    )

    @property
    def is_exposed(self) -> bool:
        """Whether there is a backend service and a route, whatever load balancer they belong to."""
        return self.exposure != "none"


class PercentStep(Section):
    """A step that puts a share of the instances on the new release."""

    percent: Annotated[int, Field(ge=1, le=100)] = Field(
        description="Percent of instances on the new release"
    )


def _step(value: Any) -> Any:
    """A bare number is short for `{"percent": number}`. An invalid one is refused here, so that the
    error names the step and not a field that nobody wrote."""
    if type(value) is int and 1 <= value <= 100:
        return {"percent": value}
    if not isinstance(value, (dict, Section)):
        raise ValueError("not a step")
    return value


# Further kinds of step (a traffic weight, a preview, an approval) join here as a union of sections,
# each told apart by its fields.
Step = Annotated[
    PercentStep,
    BeforeValidator(_step),
    Shorthand({"type": "integer", "minimum": 1, "maximum": 100}),
    Allowed('an integer from 1 to 100, or {"percent": 1 to 100}'),
]
DEFAULT_PERCENTS = (10, 50, 100)


class RolloutSpec(Section):
    """How the next release takes over."""

    strategy: Literal["rolling"] = Field(
        default="rolling", description="`rolling`: replace instances step by step in one group"
    )
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=20), at_most(20)] = Field(
        default=tuple(PercentStep(percent=percent) for percent in DEFAULT_PERCENTS),
        description="The steps in which the new release takes over",
        json_schema_extra={"default": list(DEFAULT_PERCENTS)},
    )
    surge: (
        Annotated[
            int,
            Field(ge=0, le=2000),
            Otherwise("the number of zones when `unavailable` is 0, else 0"),
        ]
        | None
    ) = Field(default=None, description="Instances above the group's size while it is replaced")
    unavailable: Annotated[int, Field(ge=0, le=2000)] = Field(
        default=0, description="Instances that may be missing while it is replaced"
    )
    bake_seconds: Annotated[int, Field(ge=0, le=1209600)] = Field(
        default=300, description="How long the new release must stay healthy at the end"
    )
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=86400)] = Field(
        default=900, description="Longest time without progress before it counts as failed"
    )
    on_failure: Literal["rollback", "pause"] = Field(
        default="rollback", description="What to do when it fails"
    )
    on_newer: Literal["supersede", "wait"] = Field(
        default="supersede", description="What to do with a newer release meanwhile"
    )


class Sections(Section):
    """The parts of a spec that a message may name; `artifact` is required once nothing is there to
    inherit it from."""

    artifact: Artifact = Field(default=Artifact(), description="What runs")
    serving: Serving = Field(default=Serving(), description="How it answers")
    machine: Machine = Field(default=Machine(), description="What it runs on")
    placement: Placement = Field(default=Placement(), description="Where it runs")
    scaling: Scaling = Field(default=Scaling(), description="How many instances")
    traffic: Traffic = Field(default=Traffic(), description="How requests reach it")
    rollout: RolloutSpec = Field(
        default=RolloutSpec(), description="How the next release takes over"
    )


class Spec(Sections):
    """Everything about one release. Built by `rollout.spec.message.resolve` or by `load`; one made
    by hand has only its plain defaults.

    `defaulted` names the fields whose value nobody asked for and which followed from other fields:
    a later release works them out again instead of inheriting them. They are not part of the
    digest."""

    artifact: Artifact
    defaulted: tuple[str, ...] = ()


# ---- As documents


def dump(spec: Spec) -> dict[str, Any]:
    """The whole spec as JSON values."""
    return spec.model_dump(mode="json")


def load(document: Mapping[str, Any]) -> Spec:
    """What `dump` gave. Raises `Invalid` where the document is no spec. Rules between fields are
    not asked again: a spec that was accepted once must stay readable when the rules get
    stricter."""
    try:
        return _loaded(json.dumps(document, sort_keys=True))
    except (TypeError, ValueError, RecursionError):  # no JSON: `freeze` says where
        return _read(document)


@lru_cache(maxsize=64)  # a turn reads the same few releases at every look
def _loaded(document: str) -> Spec:
    return _read(json.loads(document))


def _read(document: object) -> Spec:
    found = validate(Spec, freeze(document), partial=False)
    if found.value is None or found.problems:
        raise Invalid(found.problems)
    return found.value


def digest(spec: Spec) -> str:
    """SHA-256 of the spec's canonical JSON, in hex: the same for the same values, whether asked for
    or defaulted, and whoever signed them."""
    document = spec.model_dump(mode="json", exclude={"defaulted": True, "artifact": {"signature"}})
    return hashlib.sha256(
        json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()
