"""What the demo prints at its end: the results, the outputs, and how to continue by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from local.report import Report, count_changes
from local.story import FAILING, IMAGE, MODEL

LAST, LONG = 4, 300
OUTPUTS = {
    "instance_group_url": "instance group",
    "backend_service_url": "backend service",
    "address": "address",
}


def summary(report: Report, failure: str, logs: Sequence[Path] = ()) -> str:
    """The result of each promise, the model's outputs, and, after a failure, the ends of the
    functions' logs.
    """
    lines = [""]
    for promise in report.promises:
        lines.append(f"  {'✗' if promise.differs else '✓'} {promise.text}")
        if promise.differs:
            lines.append(f"      but {promise.differs}")
    lines.append("")
    width = max(map(len, OUTPUTS.values()))
    lines += [
        f"  {label:{width}}  {report.outputs[name]}"
        for name, label in OUTPUTS.items()
        if name in report.outputs
    ]
    on = "Google's emulators" if report.backend == "emulators" else "the embedded store and bus"
    changes = count_changes(report.calls)
    calls = f"{sum(report.calls.values())} calls to Compute Engine, {changes} of them changes"
    lines += ["", f"  {report.real_seconds:.0f} s on {on}, {calls}"]
    if failure:
        lines.append(f"  {failure}")
    for log in logs:
        ending = (
            [line[:LONG] for line in log.read_text(errors="replace").splitlines()[-LAST:]]
            if log.exists()
            else []
        )
        lines += ["", f"  the end of {log}", *(f"    {line}" for line in ending)]
    return "\n".join(lines)


@dataclass(frozen=True)
class Kept:
    """A stack that keeps running. `pubsub`: the address of Pub/Sub's REST API, of the emulator or
    of the embedded bus. `gateway`: where the models answer.
    """

    environment: Mapping[str, str]
    pubsub: str
    gateway: str | None
    speed: float
    logs: Sequence[Path]
    pid: int


def by_hand(kept: Kept, slipway: str) -> str:
    """Commands for a stack that keeps running. Each works as it is printed, in this order."""
    project, compute = (
        kept.environment[name] for name in ("GOOGLE_CLOUD_PROJECT", "SLIPWAY_COMPUTE_ENDPOINT")
    )
    own, failing = _release("4", f"{IMAGE}:4"), _release("5", FAILING)
    other = _release("2", f"{IMAGE}:other")
    kill = f'{{"effect": "kill", "template": "slipway-{MODEL}-*", "most": 1}}'
    curl = f"  curl -s {kept.gateway}/{MODEL}" if kept.gateway else "  (no model has a route)"
    return f"""
The stack keeps running. To stop it: Ctrl-C here, or kill {kept.pid}
Times below are UTC of its clock, which is {kept.speed:g} times as fast as real time.

In another terminal, in this folder, slipway uses this stack by itself
  {slipway} status {MODEL}
  {slipway} why {MODEL} 3
  {slipway} history {MODEL}
  {slipway} doctor
  {slipway} dashboard
  {slipway} --help

Which release answers (slipway-release), and on which instance
{curl}

Publish a release, after a look at its plan
  echo '{own}' > demo-4.json
  {slipway} plan demo-4.json
  {slipway} publish demo-4.json --wait

Publish one that answers for three minutes of the stack's time, and see it taken back
  echo '{failing}' > demo-5.json
  {slipway} publish demo-5.json --wait
  {slipway} why {MODEL} 5

The examples, and what becomes of them
  {slipway} publish examples/smallest.json
  {slipway} publish examples/l4-vllm.json
  {slipway} publish examples/h100.json
  {slipway} publish examples/cpu-metric-schedule.json --wait
  {slipway} publish examples/next-release.json --wait
  {slipway} publish examples/command-rollback.json
  {slipway} status
  {slipway} events --no-follow

Publish an event with gcloud; Slipway refuses this one, since release 2 is another
  export CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB=http://{kept.pubsub}/ \\
         CLOUDSDK_CORE_PROJECT={project} CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true \\
         CLOUDSDK_CORE_DISABLE_PROMPTS=1
  gcloud pubsub topics publish model-releases --message='{other}'
  {slipway} quarantine list

Inspect Compute Engine, and kill an instance
  curl -s {compute}/control/instances
  curl -s -X POST {compute}/control/instances -d '{kill}'

Logs of the functions
{chr(10).join(f"  tail -f {path}" for path in kept.logs)}

From now on, what becomes of every model and message (slipway events)
"""


def _release(version: str, image: str) -> str:
    return f'{{"model": "{MODEL}", "version": "{version}", "artifact": {{"image": "{image}"}}}}'
