"""Vertex AI Model Registry: the audit log of `ModelService.UploadModel`, by a log sink or Eventarc.

Source: Cloud Logging, LogEntry with an AuditLog (googleapis/google-cloudevents, LogEntryData); the
fields of the request and the response are those of Vertex AI's `UploadModelRequest` and
`UploadModelResponse`. An upload takes a while and has two entries: the last one has the response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import text_at, value_at
from rollout.sources.model import Artifact, Ignored

METHOD = "ModelService.UploadModel"

_MODEL = re.compile(r"projects/[^/]+/locations/([^/]+)/models/([^/@]+)")


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    log = value_at(body, "protoPayload")
    method = text_at(log, "methodName")
    name = text_at(log, "response", "model") or text_at(log, "resourceName")
    if text_at(log, "serviceName") != "aiplatform.googleapis.com":
        return Ignored("it is no audit log of Vertex AI", name)
    if method.split(".")[-2:] != METHOD.split("."):
        return Ignored(f"methodName is {method or 'missing'}, and {METHOD} is expected", name)
    if value_at(log, "status", "code"):
        return Ignored(f"the upload failed: {text_at(log, 'status', 'message')}", name)
    if value_at(body, "operation") is not None and value_at(body, "operation", "last") is not True:
        return Ignored("the upload has begun and not ended", name)
    version = text_at(log, "response", "modelVersionId")
    found = _MODEL.fullmatch(name)
    if not found or not version:
        return Ignored("the response names no model with its version", name)
    model = value_at(log, "request", "model")
    return (
        Artifact(
            "vertex",
            f"{found[1]}/{found[2]}",
            version=version,
            image=text_at(model, "containerSpec", "imageUri"),
            weights=text_at(model, "artifactUri"),
            requested_by=text_at(log, "authenticationInfo", "principalEmail"),
        ),
    )
