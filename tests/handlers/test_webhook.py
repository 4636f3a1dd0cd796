"""Webhooks from the internet: which are passed on, and that all others leave no trace but a log."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from handlers.webhook import (
    MAX_BYTES,
    WebhookSecrets,
    handle,
    mlflow_problem,
    read_webhook_secrets,
)
from local.processes import Program, free_port
from tests.handlers.test_artifact import SPEC, given_routes
from tests.handlers.test_sources import ALIASED, COMMITTED, DIGEST, IMAGE
from tests.scenario import Scenario

ROOT = Path(__file__).parents[2]
SECRET = "a secret of sixteen"
TEXT = json.dumps({"mlflow": ["the next secret, new", SECRET], "hugging_face": "hub" * 8})
SECRETS = read_webhook_secrets(TEXT)

# Computed by `_generate_hmac_signature` of mlflow-skinny 3.17.2, mlflow/webhooks/delivery.py.
AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
BODY = json.dumps(ALIASED).encode()
SIGNED = {
    "x-mlflow-delivery-id": "5c2f1b7e-0000-4000-8000-000000000001",
    "x-mlflow-timestamp": "1795341600",
    "x-mlflow-signature": "v1,G/sYXUrGZKSVVtbtJJ0TCpIbHdVhba0kA9Ypb9RXvlY=",
}
HUB = {"x-webhook-secret": "hub" * 8}


def test_mlflows_own_signature_is_valid() -> None:
    assert mlflow_problem(SECRETS, SIGNED, BODY, AT) == ""


@pytest.mark.parametrize(
    ("headers", "body", "seconds", "problem"),
    [
        ({}, BODY + b" ", 0, "X-MLflow-Signature"),
        ({"x-mlflow-delivery-id": "another"}, BODY, 0, "X-MLflow-Signature"),
        ({"x-mlflow-timestamp": "1795341601"}, BODY, 0, "X-MLflow-Signature"),
        ({"x-mlflow-signature": ""}, BODY, 0, "X-MLflow-Signature"),
        ({"x-mlflow-signature": "v1,\u00e9"}, BODY, 0, "X-MLflow-Signature"),
        ({}, BODY, 301, "differs from now by more than 300 s"),
        ({}, BODY, -301, "differs from now by more than 300 s"),
    ],
)
def test_a_webhook_that_is_changed_forged_or_replayed_late_is_refused(
    headers: dict[str, str], body: bytes, seconds: int, problem: str
) -> None:
    now = datetime.fromtimestamp(AT.timestamp() + seconds, UTC)
    assert problem in mlflow_problem(SECRETS, SIGNED | headers, body, now)


def post(story: Scenario, path: str, headers: dict[str, str], body: bytes) -> int:
    _, status = handle(story.world, SECRETS, path, headers, body)
    story.bus.pump()
    return status


def test_a_verified_webhook_is_released_once_however_often_it_is_replayed() -> None:
    spec = {"artifact": {"image": f"{IMAGE}@{DIGEST}"}} | SPEC
    route = {
        "source": "hugging_face",
        "match": "some-user/*",
        "refs": ["test"],
        "model": "tiny",
        "spec": spec,
    }
    story = given_routes(hub=route)
    body = json.dumps(COMMITTED).encode()
    assert post(story, "/hugging_face", HUB, body) == 204
    story.when_settled()
    assert story.serving_version() == "test"
    log = story.log()
    assert post(story, "/hugging_face", HUB, body) == 204
    story.when_settled()
    assert story.log() == log


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/", HUB, b"{}", 404),
        ("/github", HUB, b"{}", 404),
        ("/hugging_face", {}, b"{}", 401),
        ("/hugging_face", {"x-webhook-secret": "hub" * 7}, b"{}", 401),
        ("/mlflow", HUB, b"{}", 401),
        ("/hugging_face", HUB, b"", 400),
        ("/hugging_face", HUB, b" " * (MAX_BYTES + 1), 413),
    ],
)
def test_what_is_not_verified_is_not_published(
    path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    story = Scenario()
    received: list[Any] = []
    story.bus.subscribe("model-artifacts", received.append)
    assert post(story, path, headers, body) == status
    assert received == []


def test_without_a_secret_nothing_is_verified() -> None:
    none = read_webhook_secrets("")
    assert none == WebhookSecrets()
    for path, headers in (("/mlflow", SIGNED), ("/hugging_face", {"x-webhook-secret": ""})):
        assert handle(Scenario().world, none, path, headers, BODY) == ("not verified", 401)


@pytest.mark.parametrize(
    "text",
    ["x", "[]", '{"github": "0123456789abcdef"}', '{"mlflow": "short"}', '{"mlflow": []}'],
)
def test_a_weak_or_unknown_secret_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="SLIPWAY_WEBHOOK_SECRETS") as refused:
        read_webhook_secrets(text)
    assert "short" not in str(refused.value).replace("shorter", "")


def test_the_function_answers_over_http(tmp_path: Path) -> None:
    """As deployed; no request reaches the bus, whose address is unused."""
    port = free_port()
    command = (
        *(sys.executable, "-m", "functions_framework", "--source", "main.py"),
        *("--target", "on_webhook", "--signature-type", "http"),
        *("--host", "127.0.0.1", "--port", str(port)),
    )
    environment = {
        "FUNCTION_TARGET": "on_webhook",
        "GOOGLE_CLOUD_PROJECT": "house",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:9",
        "SLIPWAY_WEBHOOK_SECRETS": TEXT,
    }
    program = Program("webhook", command, port, tmp_path / "log", environment, ROOT, "/robots.txt")
    program.start()
    try:
        program.wait_until_up()
        url = f"{program.url}/mlflow"
        assert requests.get(url, timeout=10).status_code == 405
        assert requests.get(f"{program.url}/self-check", timeout=10).text == "right"
        as_sent = {name.title().replace("Mlflow", "MLflow"): each for name, each in SIGNED.items()}
        answer = requests.post(url, BODY, headers=as_sent, timeout=10)
        assert (answer.status_code, answer.text) == (401, "not verified")
        assert requests.post(program.url, BODY, timeout=10).status_code == 404
    finally:
        program.stop()
    log = (tmp_path / "log").read_text()
    assert "X-MLflow-Timestamp differs from now" in log, "the signature was valid once"
    assert SECRET not in log
