"""What a user may ask for: the model-release event, its spec, the defaults and the rules that hold between fields.

Read by `handlers/release.py` (to accept an event) and by everything that looks at a release's spec. Nothing here knows about
Google Cloud clients, the clock or the store. Invariant: a `Spec` that exists is legal on Compute Engine as far as it can be
known without asking Compute Engine.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Artifact(Section):
    """What runs: a container image (Container-Optimized OS) or, without one, a start-up script on a plain boot image."""

    image: str | None = None
    startup_script: str | None = None
    weights: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    secrets: dict[str, str] = {}


class Serving(Section):
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    readiness_path: str = "/health"
    liveness_path: str | None = None
    startup_seconds: Annotated[int, Field(ge=1, le=3600)] = 120


class Accelerator(Section):
    type: str
    count: Annotated[int, Field(ge=1, le=16)] = 1


class Disk(Section):
    size_gb: Annotated[int, Field(ge=10, le=65536)] = 50
    type: str = "pd-balanced"


class ShieldedVm(Section):
    secure_boot: bool = False
    vtpm: bool = True
    integrity_monitoring: bool = True


class Machine(Section):
    type: str = "n1-standard-1"
    accelerator: Accelerator | None = None
    spot: bool = False
    image: str | None = None
    disk: Disk = Disk()
    service_account: str | None = None
    network: str = "global/networks/default"
    subnetwork: str | None = None
    external_ip: bool = True
    tags: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    shielded_vm: ShieldedVm = ShieldedVm()


class Placement(Section):
    region: str = "us-central1"
    zones: tuple[str, ...] = ()
    target_shape: Literal["even", "balanced"] = "even"


class Cpu(Section):
    target: Annotated[float, Field(gt=0, le=1)] = 0.6
    predictive: bool = False


class LoadBalancing(Section):
    target: Annotated[float, Field(gt=0, le=1)] = 0.8


class Metric(Section):
    """A custom Cloud Monitoring metric: `target` per instance (utilisation), or `per_instance` work of a per-group value."""

    name: str
    target: float | None = None
    per_instance: float | None = None
    type: Literal["gauge", "delta_per_second", "delta_per_minute"] = "gauge"
    filter: str | None = None


class Schedule(Section):
    cron: str
    timezone: str = "UTC"
    duration_seconds: Annotated[int, Field(ge=300)]
    min: Annotated[int, Field(ge=0)]
    disabled: bool = False
    description: str = ""


class ScaleIn(Section):
    max_instances: Annotated[int, Field(ge=0)] | None = None
    max_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    window_seconds: Annotated[int, Field(ge=60, le=3600)] = 600


class Scaling(Section):
    min: Annotated[int, Field(ge=0, le=2000)] = 1
    max: Annotated[int, Field(ge=1, le=2000)] = 5
    cpu: Cpu | None = None
    load_balancing: LoadBalancing | None = None
    metrics: tuple[Metric, ...] = ()
    schedules: dict[str, Schedule] = {}
    scale_in: ScaleIn | None = None
    cool_down_seconds: Annotated[int, Field(ge=0, le=3600)] | None = None


class Traffic(Section):
    exposure: Literal["external", "none"] = "external"
    host: str = "*"
    path: str | None = None
    draining_seconds: Annotated[int, Field(ge=0, le=3600)] = 300
    balancing_mode: Literal["utilization", "rate"] = "utilization"
    max_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    max_rate_per_instance: Annotated[float, Field(gt=0)] | None = None
    timeout_seconds: Annotated[int, Field(ge=1, le=86400)] = 300
    certificate: str | None = None


class RolloutSpec(Section):
    strategy: Literal["rolling"] = "rolling"
    steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (10, 50, 100)
    surge: Annotated[int, Field(ge=0, le=2000)] | None = None
    unavailable: Annotated[int, Field(ge=0, le=2000)] = 0
    bake_seconds: Annotated[int, Field(ge=0, le=1209600)] = 300
    progress_deadline_seconds: Annotated[int, Field(ge=60, le=86400)] = 900
    on_failure: Literal["rollback", "pause"] = "rollback"
    on_newer: Literal["supersede", "wait"] = "supersede"


class Spec(Section):
    artifact: Artifact
    serving: Serving = Serving()
    machine: Machine = Machine()
    placement: Placement = Placement()
    scaling: Scaling = Scaling()
    traffic: Traffic = Traffic()
    rollout: RolloutSpec = RolloutSpec()
