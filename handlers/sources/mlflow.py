"""MLflow 3: a webhook about a version of a registered model, or an alias of it.

Source: mlflow-skinny 3.17, `mlflow/webhooks/types.py` and `delivery.py`: the body has `entity`,
`action`, `timestamp` and `data`. An alias (`champion`) is a decision of a person; a version alone
need not be one, which a route says by its `refs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import text_at
from rollout.sources.model import Artifact, Ignored

EVENTS = ("model_version.created", "model_version_alias.created")


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    event = f"{text_at(body, 'entity')}.{text_at(body, 'action')}"
    name, version = text_at(body, "data", "name"), text_at(body, "data", "version")
    about = f"{name}/{version}" if version else name
    if event not in EVENTS:
        return Ignored(f"the event is {event}, and only {' and '.join(EVENTS)} may release", about)
    if not name or not version:
        return Ignored("data names no model with its version", about)
    place = text_at(body, "data", "source")
    is_reachable = place.startswith(("gs://", "https://"))
    return (
        Artifact(
            "mlflow",
            name,
            text_at(body, "data", "alias"),
            version,
            weights=place if is_reachable else "",
        ),
    )
