"""The spec of a release, section by section: fields, their types, their plain defaults.

Rules between fields are in `rollout/spec/rules.py`. Defaults that depend on other fields are filled
in by `rollout/spec/defaults.py`, so that None in a resolved spec means "none".
`schemas/generate.py` generates the JSON Schema and `docs/spec.md` from these types. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar

from rollout.spec import types
from rollout.spec.gates import Analysis, Gate
from rollout.spec.problems import Invalid
from rollout.spec.section import AfterValidator, Field, Section, at_most, model_validator
from rollout.spec.steps import StepField, hold_longest_at_first
from rollout.spec.stored import Unlike, decode, encode
from rollout.spec.types import Allowed, DefaultsTo

Value = TypeVar("Value")
DEFAULT_NETWORK = "global/networks/default"
ZONES_OF_A_REGION = 3  # a regional group without named zones uses three


def _in_name_order(values: dict[str, Value]) -> dict[str, Value]:
    return dict(sorted(values.items()))


def _each_once(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


# A store may return a map's keys in any order; whatever is built from a spec must not depend on it.
InNameOrder = AfterValidator(_in_name_order)
EachOnce = AfterValidator(_each_once)


class Ulimits(Section):
    """Limits of the container's processes, as `docker run --ulimit` takes them: soft and hard."""

    memlock: Annotated[int, Field(ge=-1)] = Field(
        default=-1, description="Bytes of locked memory; -1 for no limit, which GPUs need"
    )
    nofile: Annotated[int, Field(ge=64, le=1048576)] = Field(
        default=65536, description="Open files and connections"
    )
    stack: Annotated[int, Field(ge=-1)] = Field(
        default=67108864, description="Bytes of stack; -1 for no limit"
    )


class Artifact(Section):
    """What runs: a container image on Container-Optimized OS, or a start-up script on a plain boot
    image.
    """

    image: types.Image | None = Field(
        default=None,
        description=(
            "The container to run, by digest, or by a tag that is resolved to its digest when the"
            " release is accepted"
        ),
    )
    signature: types.ImageSignature | None = Field(
        default=None,
        description=(
            "By which a signer lets `image` run as this model; required if the policy names signers"
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
            " name; a secret with line breaks needs a variable in capitals"
        ),
    )
    shm_size_mb: Annotated[int, Field(ge=1, le=16777216)] | None = Field(
        default=None,
        description="Size of the container's /dev/shm in MiB; none: half of the instance's memory",
    )
    ulimits: Ulimits = Field(
        default=Ulimits.model_construct(), description="Limits of the container's processes"
    )


class Serving(Section):
    """How the model serves requests."""

    port: Annotated[int, Field(ge=1, le=65535)] = Field(
        default=8080, description="The port it serves HTTP on"
    )
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None,
        description="The port on which it answers `/metrics`, if that is not `port`; opened too",
    )
    readiness_path: types.RequestPath = Field(
        default="/health", description="Returns 200 when the instance can serve requests"
    )
    liveness_path: Annotated[types.RequestPath, DefaultsTo("`serving.readiness_path`")] | None = (
        Field(
            default=None,
            description=(
                "Returns 200 as long as the instance need not be replaced, and not before it can"
                " serve"
            ),
        )
    )
    startup_seconds: (
        Annotated[
            int,
            Field(ge=1, le=3600),
            DefaultsTo("120, or half of a shorter `rollout.progress_deadline_seconds`"),
        ]
        | None
    ) = Field(default=None, description="Expected time from boot to ready")
    requests_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None,
        description="Requests that one instance takes a second. A candidate in a second group is"
        " sized by it; to be given anew when the machine changes",
    )


class Accelerator(Section):
    """The GPUs of one instance."""

    type: types.AcceleratorType = Field(description="The accelerator's type")
    count: Annotated[int, Field(ge=1, le=16)] = Field(default=1, description="Number per instance")


class Disk(Section):
    """The boot disk."""

    size_gb: Annotated[int, Field(ge=10, le=65536)] = Field(default=50, description="Size in GB")
    type: (
        Annotated[
            Literal["pd-standard", "pd-balanced", "pd-ssd", "pd-extreme", "hyperdisk-balanced"],
            DefaultsTo(
                "`hyperdisk-balanced` for series that use Hyperdisk only, else `pd-balanced`"
            ),
        ]
        | None
    ) = Field(default=None, description="Disk type")


class ShieldedVm(Section):
    """Shielded VM settings of Compute Engine."""

    secure_boot: bool = Field(default=False, description="Refuse unsigned boot components")
    vtpm: bool = Field(
        default=True, description="Give the instance a virtual trusted platform module"
    )
    integrity_monitoring: bool = Field(
        default=True, description="Compare each boot with the known good baseline"
    )


class Machine(Section):
    """The machine that each instance runs on."""

    type: types.MachineType = Field(default="n1-standard-1", description="Machine type")
    accelerator: (
        Annotated[
            Accelerator,
            DefaultsTo("the built-in GPUs of an accelerator-optimised machine type, else none"),
        ]
        | None
    ) = Field(default=None, description="GPUs of each instance")
    spot: bool = Field(
        default=False, description="Use Spot instances, which Compute Engine may preempt"
    )
    reservation: types.Reservation = Field(
        default="any",
        description="Reserved capacity that the instances use: any that matches, none, or only this"
        " one",
    )
    image: (
        Annotated[
            types.BootImage,
            DefaultsTo(
                "the `cos-stable` family for a container, `debian-13` for a start-up script; with"
                " `arm64` for Arm machine types"
            ),
        ]
        | None
    ) = Field(default=None, description="Boot image or image family")
    disk: Disk = Field(default=Disk.model_construct(), description="The boot disk")
    service_account: (
        Annotated[types.ServiceAccount, DefaultsTo("`slipway-model` of Slipway's project")] | None
    ) = Field(
        default=None,
        description="Service account of the instances; the policy lists which it may be",
    )
    network: types.Network = Field(default=DEFAULT_NETWORK, description="VPC network")
    subnetwork: types.Subnetwork | None = Field(
        default=None,
        description="Subnetwork, in the model's region; none: chosen by the network",
    )
    external_ip: Annotated[bool, DefaultsTo("`false`")] | None = Field(
        default=None,
        description=(
            "Give instances an external address, if the policy allows it; without one, images are"
            " pulled through Cloud NAT or Private Google Access"
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
        description="Labels of the instances; names that begin with `slipway` are reserved",
    )
    shielded_vm: ShieldedVm = Field(
        default=ShieldedVm.model_construct(), description="Shielded VM settings"
    )


class Placement(Section):
    """The region and zones of the instances."""

    region: types.Region = Field(default="us-central1", description="Region of the managed group")
    zones: Annotated[
        tuple[types.Zone, ...],
        Field(max_length=10),
        at_most(10),
        EachOnce,
        Allowed("at most 10 zones, each once"),
    ] = Field(
        default=(),
        description=(
            "Zones of the region to use; empty: three, chosen by Compute Engine, of which some may"
            " lack the machine type or accelerator (us-central1: b, c and f; f has no L4)"
        ),
    )
    target_shape: Literal["even", "balanced"] = Field(
        default="even",
        description=(
            "`even` keeps zones within one instance of each other; `balanced` prefers zones with"
            " capacity, and replaces all instances in one step: Compute Engine does not support two"
            " versions in a balanced group"
        ),
    )

    @property
    def zone_count(self) -> int:
        return len(self.zones) or ZONES_OF_A_REGION


class Cpu(Section):
    """Scale on CPU utilization."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.6, description="Target utilization"
    )
    predictive: bool = Field(default=False, description="Scale ahead of daily and weekly patterns")


class LoadBalancing(Section):
    """Scale on the utilization that the load balancer measures."""

    target: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.8, description="Target fraction of the backend's serving capacity"
    )


class Metric(Section):
    """Scale on a Cloud Monitoring metric: `target` is the value per instance, `per_instance` the
    part of the whole group's value that one instance handles (a queue of 100 with 5 per instance
    needs 20 instances).
    """

    name: types.MetricName = Field(description="Metric type")
    target: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Target value on each instance"
    )
    per_instance: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Part of the group's value that one instance handles"
    )
    type: Literal["gauge", "delta_per_second", "delta_per_minute"] = Field(
        default="gauge", description="How `target` is measured"
    )
    filter: types.Filter | None = Field(
        default=None, description="Cloud Monitoring filter that selects the time series"
    )

    @model_validator(mode="after")
    def _one_way_to_read_it(self) -> Self:
        """Not one of the rules in `rules.py`, because lists are never merged: each metric can be
        validated by itself.
        """
        from pydantic_core import PydanticCustomError

        if (self.target is None) == (self.per_instance is None):
            raise PydanticCustomError("rule", "needs exactly one of target and per_instance")
        if self.per_instance is not None and self.type != "gauge":
            raise PydanticCustomError(
                "rule", "type must be left out beside per_instance: it applies to target"
            )
        return self


class Schedule(Section):
    """More instances at set times."""

    cron: types.Cron = Field(description="When it starts")
    timezone: types.TimeZone = Field(default="UTC", description="Time zone of `cron`")
    duration_seconds: Annotated[int, Field(ge=300, le=31536000)] = Field(
        description="How long it lasts"
    )
    min: Annotated[int, Field(ge=0, le=2000)] = Field(
        description="Minimum number of instances during it"
    )
    disabled: bool = Field(default=False, description="Keep the schedule, but ignore it")
    description: types.Line = Field(default="", description="For people")


class ScaleIn(Section):
    """How fast the group may shrink."""

    max_instances: Annotated[int, Field(ge=0, le=2000)] | None = Field(
        default=None, description="Maximum number of instances to remove within the window"
    )
    max_percent: Annotated[int, Field(ge=0, le=100)] | None = Field(
        default=None, description="Maximum percentage of instances to remove within the window"
    )
    window_seconds: Annotated[int, Field(ge=60, le=3600)] = Field(
        default=600, description="Length of the window"
    )


class Scaling(Section):
    """How many instances."""

    min: Annotated[int, Field(ge=0, le=2000)] = Field(
        default=1, description="Minimum number of instances"
    )
    max: Annotated[int, Field(ge=1, le=2000)] = Field(
        default=5, description="Maximum number of instances, not counting surge during a rollout"
    )
    cpu: Annotated[Cpu, DefaultsTo("target 0.6 when no other signal is named")] | None = Field(
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
        Annotated[int, Field(ge=0, le=3600), DefaultsTo("`serving.startup_seconds`")] | None
    ) = Field(default=None, description="How long the metrics of a new instance are ignored")


class Traffic(Section):
    """How requests reach the model."""

    exposure: Literal["external", "none"] = Field(
        default="external",
        description=(
            "`external`: behind the shared external load balancer, if the policy allows it and"
            " `host`; `none`: no backend and no route"
        ),
    )
    host: types.Host = Field(default="*", description="Host that is routed to the model")
    path: Annotated[types.RoutePath, DefaultsTo("`/<model>`")] | None = Field(
        default=None,
        description=(
            "Path that is routed to the model, with everything below it; the model sees it as `/`"
        ),
    )
    draining_seconds: Annotated[int, Field(ge=0, le=3600)] = Field(
        default=300, description="Time for requests in flight when an instance is removed"
    )
    balancing_mode: Literal["utilization", "rate"] = Field(
        default="utilization", description="How the load balancer measures the load of an instance"
    )
    max_utilization: (
        Annotated[
            float, Field(gt=0, le=1), DefaultsTo("0.8 when the balancing mode is `utilization`")
        ]
        | None
    ) = Field(default=None, description="Backend utilization at which an instance is full")
    max_rate_per_instance: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(
        default=None, description="Requests per second at which an instance is full"
    )
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = Field(
        default=300, description="Maximum time for one response"
    )
    certificate: types.Certificate | None = Field(
        default=None, description="Certificate for HTTPS; none: HTTP only"
    )
    gateway: types.GatewayName | None = Field(
        default=None,
        description="Gateway that the model is behind, if the policy allows that name; it is made"
        " for its first model. None: the shared one. A release that changes it moves the model,"
        " and both gateways serve until it has baked",
    )
    preview_host: types.PreviewHost | None = Field(
        default=None,
        description="Host whose requests all go to the new release from a `preview` step on, until"
        " that has everything; none: only requests with the preview header do",
    )
    mirror_safe: bool = Field(
        default=False,
        description="Whether a request may take effect twice, so that a `mirror` step may copy it",
    )

    @property
    def is_exposed(self) -> bool:
        """Whether there is a backend service and a route, whatever load balancer they belong to."""
        return self.exposure != "none"


class RolloutSpec(Section):
    """How the next release replaces the current one."""

    strategy: Literal["rolling", "canary", "blue_green"] = Field(
        default="rolling",
        description="`rolling`: replace instances step by step in one group; `canary`: send a"
        " growing share of the requests to a second group; `blue_green`: check a second group of"
        " full size in a preview, then send all requests to it at once",
    )
    steps: (
        Annotated[
            tuple[StepField, ...],
            Field(min_length=1, max_length=20),
            at_most(20),
            AfterValidator(hold_longest_at_first),
            DefaultsTo(
                "`rolling`: 10, 50 and 100 percent; `canary`: weights 1, 5, 25, 50 and 100, held"
                " for 300 s, three times 600 s, and 60 s, the first one with `min_requests` 200 if"
                " there is a source of metrics; `blue_green`: a preview, and weight 100"
            ),
        ]
        | None
    ) = Field(default=None, description="The steps in which the new release replaces the old one")
    keep_old_seconds: (
        Annotated[
            int,
            Field(ge=0, le=1209600),
            DefaultsTo("3600, or a longer `watch_seconds`; none with `rolling`"),
        ]
        | None
    ) = Field(
        default=None,
        description="How long the old group is kept after the bake, without requests and at full"
        " size, so that it can take them back at once",
    )
    surge: (
        Annotated[
            int,
            Field(ge=0, le=2000),
            DefaultsTo("the number of zones when `unavailable` is 0, else 0"),
        ]
        | None
    ) = Field(default=None, description="Additional instances during a rollout")
    unavailable: Annotated[int, Field(ge=0, le=2000)] = Field(
        default=0, description="Instances that may be unavailable during a rollout"
    )
    capacity: (
        Annotated[
            Literal["surge", "replace_in_place", "wait"],
            DefaultsTo(
                "`surge`, or, if the quotas read when the rollout begins have no room and"
                " `unavailable` is not 0, `replace_in_place`"
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="How the new release gets its instances: `surge`, beside the old ones;"
        " `replace_in_place`, in their place (strategy `rolling` alone); `wait`, beside the old"
        " ones, once the quotas have room, however long that takes",
    )
    gates: Annotated[
        dict[types.GateName, Gate],
        Field(max_length=20),
        at_most(20),
        InNameOrder,
        types.Allowed('an object of at most 20 gates by name, as in {"http_errors": {}}'),
    ] = Field(
        default={},
        description="What the new release is judged by beside its health, by name; needs a"
        " source of metrics. A gate that is named like a preset has its fields: `http_errors`,"
        " `latency`, `vllm_errors`, `vllm_ttft`, `vllm_inter_token`, `vllm_queue`,"
        " `triton_errors`",
    )
    analysis: Analysis = Field(
        default=Analysis.model_construct(), description="How the gates judge"
    )
    bake_seconds: Annotated[int, Field(ge=0, le=1209600)] = Field(
        default=300, description="How long the new release must stay healthy after the last step"
    )
    watch_seconds: Annotated[int, Field(ge=0, le=86400)] = Field(
        default=3600,
        description="How long the new release is watched after the bake: if its fleet falls sick,"
        " or a gate fails, the previous release comes back; with gates, at least as long as the"
        " old group is kept",
    )
    progress_deadline_seconds: (
        Annotated[
            int,
            Field(ge=60, le=86400),
            DefaultsTo(
                "900, or `traffic.draining_seconds` and twice `serving.startup_seconds` if that is"
                " longer"
            ),
        ]
        | None
    ) = Field(default=None, description="Maximum time without progress before the rollout fails")
    max_seconds_to_roll_back: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        default=None,
        description="No step is entered whose way back would take longer; none: no limit",
    )
    on_failure: Literal["rollback", "pause"] = Field(
        default="rollback", description="What to do if the rollout fails"
    )
    on_newer: Literal["supersede", "wait", "reject"] = Field(
        default="supersede",
        description="What to do if a newer release arrives during the rollout: end it for the newer"
        " one, finish it first, or refuse the newer one; `wait` lasts until the old group is gone",
    )
    abort_on_alerts: Annotated[
        tuple[types.AlertPolicy, ...],
        Field(max_length=20),
        at_most(20),
        EachOnce,
        Allowed("at most 20 alert policies, each once"),
    ] = Field(
        default=(),
        description="Alert policies of Cloud Monitoring, by display name or id: an incident that"
        " begins during the rollout or the watch after it fails the release",
    )

    @property
    def has_second_group(self) -> bool:
        """Whether the new release gets a group of its own beside the one that serves."""
        return self.strategy != "rolling"


class Sections(Section):
    """The sections of a spec that a message may contain; `artifact` is required if there is no
    release to inherit from.
    """

    artifact: Artifact = Field(default=Artifact.model_construct(), description="What runs")
    serving: Serving = Field(
        default=Serving.model_construct(), description="How the model serves requests"
    )
    machine: Machine = Field(
        default=Machine.model_construct(), description="The machine that each instance runs on"
    )
    placement: Placement = Field(
        default=Placement.model_construct(), description="The region and zones of the instances"
    )
    scaling: Scaling = Field(default=Scaling.model_construct(), description="How many instances")
    traffic: Traffic = Field(
        default=Traffic.model_construct(), description="How requests reach the model"
    )
    rollout: RolloutSpec = Field(
        default=RolloutSpec.model_construct(),
        description="How the next release replaces the current one",
    )


class Spec(Sections):
    """The whole, resolved spec of one release. Built by `rollout.spec.message.resolve` or by
    `load`; a `Spec` that is constructed directly has only the plain defaults.

    `defaulted` names the fields whose value was derived from other fields: a later release derives
    them again instead of inheriting them. It is not part of the digest.
    """

    artifact: Artifact
    defaulted: tuple[str, ...] = ()


# ---- As documents


def dump(spec: Spec) -> dict[str, Any]:
    """The whole spec as JSON values."""
    document: dict[str, Any] = encode(spec)
    return document


def load(document: Mapping[str, Any], of_digest: str = "") -> Spec:
    """The inverse of `dump`. Raises `Invalid` for a document that is not a spec. Rules between
    fields are not checked again: an accepted spec must stay readable when the rules become
    stricter.

    `of_digest` is the digest with which the spec was accepted. A document that still has it is not
    validated again.
    """
    if of_digest and (found := _unchanged(document, of_digest)):
        return found
    try:
        return _read_text(json.dumps(document, sort_keys=True))
    except (TypeError, ValueError, RecursionError):  # not JSON: `freeze` reports where
        return _read(document)


class _Accepted:
    """A document that has the digest with which it was accepted. Its `key` is that and what the
    digest does not cover.
    """

    __slots__ = ("document", "key")

    def __init__(self, key: tuple[str, ...], document: object) -> None:
        self.key, self.document = key, document

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Accepted) and self.key == other.key


def _unchanged(document: Any, of_digest: str) -> Spec | None:
    """The spec as it was accepted; None for a document that is not just that."""
    try:
        if _digest_of(document) != of_digest:
            return None
        beside = (document["artifact"].get("signature") or "", *document.get("defaulted", ()))
        is_text = all(isinstance(each, str) for each in beside)
        return _decoded(_Accepted((of_digest, *beside), document)) if is_text else None
    except (Unlike, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=64)  # every pass reads the same few releases
def _decoded(accepted: _Accepted) -> Spec:
    return decode(Spec, accepted.document)


@lru_cache(maxsize=64)
def _read_text(text: str) -> Spec:
    return _read(json.loads(text))


def _read(document: object) -> Spec:
    from rollout.spec.validation import freeze, validate  # imports pydantic

    found = validate(Spec, freeze(document), partial=False)
    if found.value is None or found.problems:
        raise Invalid(found.problems)
    return found.value


_LATER_FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("rollout", "keep_old_seconds", None),
    ("rollout", "capacity", None),
    ("rollout", "max_seconds_to_roll_back", None),
    ("rollout", "abort_on_alerts", []),
    ("rollout", "gates", {}),
    ("rollout", "analysis", encode(Analysis.model_construct())),
    ("serving", "requests_per_second", None),
    ("serving", "metrics_port", None),
    ("traffic", "preview_host", None),
    ("traffic", "mirror_safe", False),
    ("traffic", "gateway", None),
)
"""Fields that releases were accepted without, and their defaults: with these they keep their
digest."""


def digest(spec: Spec) -> str:
    """SHA-256 of the spec's canonical JSON, in hex. It depends neither on which values are defaults
    nor on the signature.
    """
    return _digest_of(dump(spec))


def _digest_of(document: Any) -> str:
    """Of a document of a spec, in which those of `_LATER_FIELDS` may be missing."""
    found = {name: {**section} for name, section in document.items() if name != "defaulted"}
    found["artifact"].pop("signature", None)
    for section, field, default in _LATER_FIELDS:
        if field in found[section] and found[section][field] == default:
            del found[section][field]
    if steps := found["rollout"]["steps"]:
        found["rollout"]["steps"] = [_without_default(step) for step in steps]
    return hashlib.sha256(
        json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    ).hexdigest()


def _without_default(step: Mapping[str, Any]) -> Mapping[str, Any]:
    if "min_requests" not in step or step["min_requests"] is not None:
        return step
    found = {**step}
    del found["min_requests"]
    return found
