"""What each vendor's messages are read as.

The golden payloads are the vendors' own where they publish them. Each says where it is from. None
was recorded from a project of Google Cloud.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.sources import READERS
from rollout.sources.model import Artifact, Ignored, SourceName

SHA = "6ec128e26cd5" + "0" * 52
DIGEST = f"sha256:{SHA}"
IMAGE = "us-east1-docker.pkg.dev/my-project/my-repo/hello-world"

# Artifact Registry, "Configure Pub/Sub notifications", "Notification examples".
PUSHED = {"action": "INSERT", "digest": f"{IMAGE}@{DIGEST}", "tag": f"{IMAGE}:1.1"}

# Cloud Build, "Build notifications": a Build resource; the fields are those of google-events 0.14,
# google/events/cloud/cloudbuild_v1 (BuildEventData, Results, BuiltImage).
BUILT = {
    "id": "5e2c7c1a-24d6-4d27-8a4b-6d1ab0b8e5d1",
    "projectId": "my-project",
    "status": "SUCCESS",
    "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", IMAGE, "."]}],
    "results": {
        "images": [{"name": f"{IMAGE}:1.1", "digest": DIGEST, "pushTiming": {}}],
        "buildStepImages": [DIGEST],
    },
    "images": [f"{IMAGE}:1.1"],
    "substitutions": {"COMMIT_SHA": "f00"},
    "logUrl": "https://console.cloud.google.com/cloud-build",
}

# Cloud Storage, "Pub/Sub notifications": the attributes, and an object's resource of the JSON API.
WRITTEN = {
    "kind": "storage#object",
    "id": "my-weights/tiny/7/release.json/1712345678901234",
    "name": "tiny/7/release.json",
    "bucket": "my-weights",
    "generation": "1712345678901234",
    "metageneration": "1",
    "contentType": "application/json",
    "size": "352",
    "md5Hash": "Y2hlY2tzdW0=",
    "crc32c": "rTVTeQ==",
}
NOTIFICATION = {
    "notificationConfig": "projects/_/buckets/my-weights/notificationConfigs/3",
    "eventType": "OBJECT_FINALIZE",
    "payloadFormat": "JSON_API_V1",
    "bucketId": "my-weights",
    "objectId": "tiny/7/release.json",
    "objectGeneration": "1712345678901234",
    "eventTime": "2026-11-22T10:00:00Z",
}

# Cloud Logging's LogEntry as in google-events 0.14, google/events/cloud/audit_v1 (LogEntryData,
# AuditLog, LogEntryOperation); request and response: aiplatform v1, UploadModelRequest and
# UploadModelResponse.
UPLOADED = {
    "insertId": "1x2y3z",
    "logName": "projects/my-project/logs/cloudaudit.googleapis.com%2Factivity",
    "operation": {"id": "projects/1/operations/9", "producer": "aiplatform", "last": True},
    "protoPayload": {
        "@type": "type.googleapis.com/google.cloud.audit.AuditLog",
        "serviceName": "aiplatform.googleapis.com",
        "methodName": "google.cloud.aiplatform.v1.ModelService.UploadModel",
        "resourceName": "projects/my-project/locations/us-central1/models/ranker",
        "authenticationInfo": {"principalEmail": "trainer@my-project.iam.gserviceaccount.com"},
        "request": {
            "parent": "projects/my-project/locations/us-central1",
            "model": {
                "displayName": "Ranker",
                "artifactUri": "gs://my-weights/ranker/41",
                "containerSpec": {"imageUri": f"{IMAGE}@{DIGEST}"},
            },
        },
        "response": {
            "model": "projects/1/locations/us-central1/models/ranker",
            "modelVersionId": "4",
        },
    },
}

# mlflow-skinny 3.17.2: mlflow/webhooks/types.py, ModelVersionAliasCreatedPayload.example() and
# ModelVersionCreatedPayload.example(), in the body that mlflow/webhooks/delivery.py sends.
ALIASED = {
    "entity": "model_version_alias",
    "action": "created",
    "timestamp": "2026-11-22T10:00:00.000000+00:00",
    "data": {"name": "example_model", "alias": "example_alias", "version": "1"},
}
REGISTERED = {
    "entity": "model_version",
    "action": "created",
    "timestamp": "2026-11-22T10:00:00.000000+00:00",
    "data": {
        "name": "example_model",
        "version": "1",
        "source": "models:/123",
        "run_id": "abcd1234abcd5678",
        "tags": {"example_key": "example_value"},
        "description": "An example model version",
    },
}

# Hugging Face, "Webhooks" (huggingface/hub-docs, docs/hub/webhooks.md): repo, updatedRefs.
COMMIT = "575db8b7a51b6f85eb06eee540738584589f131c"
COMMITTED = {
    "event": {"action": "update", "scope": "repo.content"},
    "repo": {
        "type": "model",
        "name": "some-user/some-repo",
        "id": "6366c000a2abcdf2fd69a080",
        "private": False,
        "url": {
            "web": "https://huggingface.co/some-user/some-repo",
            "api": "https://huggingface.co/api/models/some-user/some-repo",
        },
        "headSha": "c379e821c9c95d613899e8c4343e4bfee2b0c600",
        "tags": ["license:other", "has_space"],
        "owner": {"id": "61d2000c3c2083e1c08af22d"},
    },
    "updatedRefs": [
        {
            "ref": "refs/heads/main",
            "oldSha": "ce9a4674fa833a68d5a73ec355f0ea95eedd60b7",
            "newSha": COMMIT,
        },
        {"ref": "refs/tags/test", "oldSha": None, "newSha": COMMIT},
    ],
    "webhook": {"id": "6390e855e30d9209411de93b", "version": 3},
}

GOLDEN: list[tuple[SourceName, Any, dict[str, str], tuple[Artifact, ...]]] = [
    (
        "artifact_registry",
        PUSHED,
        {},
        (Artifact("artifact_registry", IMAGE, "1.1", "1.1", SHA, f"{IMAGE}:1.1@{DIGEST}"),),
    ),
    (
        "cloud_build",
        BUILT,
        {"buildId": str(BUILT["id"]), "status": "SUCCESS"},
        (Artifact("cloud_build", IMAGE, "1.1", "1.1", SHA, f"{IMAGE}:1.1@{DIGEST}"),),
    ),
    (
        "cloud_storage",
        WRITTEN,
        NOTIFICATION,
        (
            Artifact(
                "cloud_storage",
                "my-weights/tiny/7/release.json",
                "7",
                "7",
                "1712345678901234",
                weights="gs://my-weights/tiny/7",
            ),
        ),
    ),
    (
        "vertex",
        UPLOADED,
        {},
        (
            Artifact(
                "vertex",
                "us-central1/ranker",
                version="4",
                image=f"{IMAGE}@{DIGEST}",
                weights="gs://my-weights/ranker/41",
                requested_by="trainer@my-project.iam.gserviceaccount.com",
            ),
        ),
    ),
    ("mlflow", ALIASED, {}, (Artifact("mlflow", "example_model", "example_alias", "1"),)),
    ("mlflow", REGISTERED, {}, (Artifact("mlflow", "example_model", "", "1"),)),
    (
        "hugging_face",
        COMMITTED,
        {},
        (
            Artifact("hugging_face", "some-user/some-repo", "main", "", COMMIT),
            Artifact("hugging_face", "some-user/some-repo", "test", "test", COMMIT),
        ),
    ),
]


@pytest.mark.parametrize(("source", "body", "attributes", "artifacts"), GOLDEN)
def test_a_golden_payload_is_read(
    source: SourceName, body: Any, attributes: dict[str, str], artifacts: tuple[Artifact, ...]
) -> None:
    assert READERS[source](body, attributes) == artifacts


def test_a_notification_without_payload_and_an_event_of_eventarc_say_the_same() -> None:
    read = READERS["cloud_storage"]
    assert read(None, NOTIFICATION) == read(WRITTEN, {}) == read(WRITTEN, NOTIFICATION)


def changed(body: Any, path: str, value: Any) -> Any:
    """The body with another value at a path; `...` removes what is there."""
    copy = json.loads(json.dumps(body))
    *way, last = path.split(".")
    place = copy
    for name in way:
        place = place[int(name) if name.isdecimal() else name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("source", "body", "path", "value", "why"),
    [
        ("artifact_registry", PUSHED, "action", "DELETE", "only INSERT"),
        ("artifact_registry", PUSHED, "tag", ..., "no tag"),
        ("artifact_registry", PUSHED, "digest", ..., "no digest"),
        ("artifact_registry", PUSHED, "tag", "1.1", "must be IMAGE:TAG"),
        ("artifact_registry", PUSHED, "tag", "localhost:5000/a", "must be IMAGE:TAG"),
        ("artifact_registry", PUSHED, "tag", f"{IMAGE}-2:1.1", "different images"),
        ("artifact_registry", PUSHED, "tag", f"{IMAGE}:sha256-{SHA}.sig", "signature"),
        ("cloud_build", BUILT, "status", "WORKING", "only SUCCESS"),
        ("cloud_build", BUILT, "results.images", [], "pushed no image"),
        ("cloud_build", BUILT, "results.images", [{"name": IMAGE}], "pushed no image"),
        ("cloud_storage", WRITTEN, "name", "release.json", "in no folder"),
        ("cloud_storage", WRITTEN, "generation", ..., "its generation"),
        ("vertex", UPLOADED, "operation.last", False, "has begun"),
        ("vertex", UPLOADED, "protoPayload.status", {"code": 7, "message": "no"}, "failed: no"),
        ("vertex", UPLOADED, "protoPayload.methodName", "x.ModelService.DeleteModel", "Delete"),
        ("vertex", UPLOADED, "protoPayload.serviceName", "run.googleapis.com", "no audit log"),
        ("vertex", UPLOADED, "protoPayload.response", ..., "no model with its version"),
        ("mlflow", ALIASED, "action", "deleted", "model_version_alias.deleted"),
        ("mlflow", ALIASED, "entity", "prompt", "prompt.created"),
        ("mlflow", ALIASED, "data.version", ..., "its version"),
        ("hugging_face", COMMITTED, "repo.type", "dataset", "only a model"),
        ("hugging_face", COMMITTED, "event.scope", "repo.contents", "not update of repo.content"),
        ("hugging_face", COMMITTED, "event.scope", "discussion", "not update of repo.content"),
        ("hugging_face", COMMITTED, "updatedRefs", [], "no tag or branch"),
        (
            "hugging_face",
            COMMITTED,
            "updatedRefs",
            [{"ref": "refs/pr/2", "newSha": COMMIT}, {"ref": "refs/tags/v1", "newSha": None}],
            "no tag or branch",
        ),
    ],
)
def test_what_is_no_artifact_is_ignored_with_its_reason(
    source: SourceName, body: Any, path: str, value: Any, why: str
) -> None:
    ignored = READERS[source](changed(body, path, value), {})
    assert isinstance(ignored, Ignored)
    assert why in ignored.why


def test_an_object_that_is_deleted_is_ignored() -> None:
    ignored = READERS["cloud_storage"](WRITTEN, NOTIFICATION | {"eventType": "OBJECT_DELETE"})
    assert ignored == Ignored(
        "eventType is OBJECT_DELETE, and only OBJECT_FINALIZE is a new object",
        "gs://my-weights/tiny/7/release.json",
    )


def test_a_tag_that_moves_names_no_version() -> None:
    (artifact,) = READERS["artifact_registry"](changed(PUSHED, "tag", f"{IMAGE}:latest"), {})  # type: ignore[misc]
    assert (artifact.ref, artifact.version) == ("latest", "")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each),
    max_leaves=5,
)


def paths(value: Any, way: str = "") -> list[str]:
    found = []
    for name, each in value.items() if isinstance(value, dict) else ():
        found += [f"{way}{name}", *paths(each, f"{way}{name}.")]
    return found


@given(st.data())
def test_no_payload_makes_a_reader_fail(data: st.DataObject) -> None:
    """A golden payload with anything at one place, or anything at all."""
    source, body, attributes, _ = data.draw(st.sampled_from(GOLDEN))
    path = data.draw(st.sampled_from(["", *paths(body)]))
    other = data.draw(JSON)
    hostile = changed(body, path, other) if path else other
    answer = READERS[source](hostile, data.draw(st.sampled_from([attributes, {}])))
    if isinstance(answer, Ignored):
        assert answer.why
    else:
        assert answer
        assert all(each.name and each.source == source for each in answer)
