"""What vendors send when an artifact appears: one pure module per vendor, each with `read`.

Called by `handlers/artifact.py`. To add one: a module with `read(body, attributes)`, and a line in
`READERS`. Invariant: `read` is total. A message that is about no artifact, or that is not what the
vendor documents, is an answer (`Ignored`), and never an exception.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from handlers.sources import (
    artifact_registry,
    cloud_build,
    cloud_storage,
    hugging_face,
    mlflow,
    vertex,
)
from rollout.sources.model import Artifact, Ignored, SourceName

Read = Callable[[Any, Mapping[str, str]], tuple[Artifact, ...] | Ignored]

READERS: Mapping[SourceName, Read] = {
    "artifact_registry": artifact_registry.read,
    "cloud_build": cloud_build.read,
    "cloud_storage": cloud_storage.read,
    "hugging_face": hugging_face.read,
    "mlflow": mlflow.read,
    "vertex": vertex.read,
}
