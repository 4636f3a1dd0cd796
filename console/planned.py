"""The file of a plan: the event, what was decided about it, and the hash by which it is published.

`slipway plan --out` writes it, `slipway publish --plan` reads it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from console.connect import Failure
from console.output import to_json
from console.views import Prediction
from rollout.spec.strict_json import decode_json

if TYPE_CHECKING:
    from handlers.forecast import RolloutPlan


def write_plan(file: str, event: bytes, found: RolloutPlan) -> None:
    document = {"event": decode_json(event), "plan": found, "hash": found.hash}
    try:
        Path(file).write_text(to_json(document) + "\n")
    except OSError as error:
        raise Failure(f"--out: cannot write {file!r}: {error.strerror or error}") from error


def read_prediction(file: str) -> tuple[tuple[str, str], Prediction]:
    """The model and the version that a plan or a rehearsal is about, and what it predicted."""
    try:
        plan = json.loads(Path(file).read_bytes())["plan"]
        about = (str(plan["model"]), str(plan["version"]))
        seconds, peak = float(plan["seconds"]), int(plan["peak"]["instances"])
        return about, Prediction(seconds, peak, int(plan["lowest"]))
    except OSError as error:
        raise Failure(f"--plan: cannot read {file!r}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"--plan: {file!r} is no plan; slipway plan FILE --out writes one") from error


def event_of_plan(file: str) -> bytes:
    """The event with the plan's hash."""
    try:
        document = json.loads(Path(file).read_bytes())
        event, planned = document["event"], document["hash"]
        return json.dumps({**event, "plan": planned}).encode()
    except OSError as error:
        raise Failure(f"--plan: cannot read {file!r}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"--plan: {file!r} is no plan; slipway plan FILE --out writes one") from error
