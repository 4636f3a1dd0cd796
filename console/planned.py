"""The file of a plan: the event, what was decided about it, and the hash by which it is published.

`slipway plan --out` writes it, `slipway publish --plan` reads it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.connect import Failure
from console.course import Measures
from console.output import to_json
from rollout.course import PhaseTime
from rollout.model import step_name
from rollout.spec.strict_json import decode_json

if TYPE_CHECKING:
    from handlers.forecast import RolloutPlan


def write_plan(file: str, project: str, event: bytes, found: RolloutPlan) -> None:
    document = {
        "project": project,
        "event": decode_json(event),
        "plan": found,
        "hash": found.hash,
    }
    try:
        Path(file).write_text(to_json(document) + "\n")
    except OSError as error:
        raise Failure(f"--out: cannot write {file!r}: {error.strerror or error}") from error


def read_prediction(file: str) -> tuple[tuple[str, str], Measures]:
    """The model and the version that a plan or a rehearsal is about, and what it predicted."""
    try:
        plan = json.loads(Path(file).read_bytes())["plan"]
        about = (str(plan["model"]), str(plan["version"]))
        return about, _measures(plan)
    except OSError as error:
        raise Failure(f"--plan: cannot read {file!r}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"--plan: {file!r} is no plan; slipway plan FILE --out writes one") from error


def _measures(plan: dict[str, Any]) -> Measures:
    steps, peak = plan["steps"], plan["peak"]
    phases = [
        PhaseTime(step_name(step["number"] - 1), step["start_seconds"] + step["hold_seconds"])
        for step in steps
    ]
    if plan["bake_seconds"]:
        phases.append(PhaseTime("baking", int(plan["bake_seconds"])))
    ways_back = [step["seconds_to_roll_back"] for step in steps]
    return Measures(
        seconds=float(plan["seconds"]),
        phases=tuple(phases),
        instances=int(peak["instances"]),
        accelerators=int(peak["accelerators"]),
        cost=peak["cost"] if isinstance(peak["cost"], float | int) else None,
        currency=str(plan["currency"]),
        lowest=int(plan["lowest"]),
        seconds_to_roll_back=max((each for each in ways_back if each is not None), default=None),
    )


@dataclass(frozen=True)
class PlannedEvent:
    """The event with the plan's hash, and the project in which it was planned."""

    project: str
    event: bytes


def event_of_plan(file: str) -> PlannedEvent:
    try:
        document = json.loads(Path(file).read_bytes())
        event, planned, plan = document["event"], document["hash"], document["plan"]
        about = (str(plan["model"]), str(plan["version"]))
        is_whole = isinstance(planned, str) and bool(planned)
        if not is_whole or about != (event.get("model"), event.get("version")):
            raise ValueError("the parts do not belong together")
        data = json.dumps({**event, "plan": planned}).encode()
        return PlannedEvent(str(document["project"]), data)
    except OSError as error:
        raise Failure(f"--plan: cannot read {file!r}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"--plan: {file!r} is no plan; slipway plan FILE --out writes one") from error
