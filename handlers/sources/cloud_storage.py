"""Cloud Storage: an object was written, as a notification of the bucket or an event of Eventarc.

Source: Cloud Storage, "Pub/Sub notifications": attributes `eventType`, `bucketId`, `objectId` and
`objectGeneration`, and the object's resource as data (`payloadFormat` JSON_API_V1). Eventarc sends
the resource alone (googleapis/google-cloudevents, StorageObjectData). A route names one object that
is written last; the weights are the folder that it is in, and the folder's name is the version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import text_at
from rollout.sources.model import Artifact, Ignored

FINALIZED = "OBJECT_FINALIZE"


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    bucket = text_at(attributes, "bucketId") or text_at(body, "bucket")
    name = text_at(attributes, "objectId") or text_at(body, "name")
    generation = text_at(attributes, "objectGeneration") or text_at(body, "generation")
    about = f"gs://{bucket}/{name}" if bucket else ""
    event = text_at(attributes, "eventType") or FINALIZED
    if event != FINALIZED:
        return Ignored(f"eventType is {event}, and only {FINALIZED} is a new object", about)
    if not bucket or not name or not generation.isdecimal():
        return Ignored("it does not name a bucket, an object and its generation", about)
    folder = name.rpartition("/")[0]
    if not folder:
        return Ignored("the object is in no folder whose name could be the version", about)
    version = folder.rpartition("/")[2]
    weights = f"gs://{bucket}/{folder}"
    return (
        Artifact(
            "cloud_storage", f"{bucket}/{name}", version, version, generation, weights=weights
        ),
    )
