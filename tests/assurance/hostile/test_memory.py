"""Requests as large as Pub/Sub and Cloud Run let them be, eight at once, at functions as deployed:
they stay far below their memory, and each message is on record.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench.memory import family, peak_kib, served
from bench.setting import clean_environment
from infra.store.sqlite import SqliteStore

MOST_GROWTH_MIB = 96
"""Of the 512 MiB of a function, of which it uses 90 to 150."""
AT_ONCE = 8
PUSH = "application/json"

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")


def flood(target: str, path: str, bodies: list[bytes], folder: Path) -> tuple[list[int], float]:
    """The answers to all bodies at once, and by how many MiB the memory's peak grew."""
    environment = clean_environment() | {
        "GOOGLE_CLOUD_PROJECT": "demo",
        "SLIPWAY_STORE": f"sqlite:{folder}/store.db",
        "SLIPWAY_WEBHOOK_SECRETS": json.dumps({"mlflow": "x" * 32}),
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",  # nothing answers: messages stay in the outbox
        "THREADS": str(AT_ONCE),
    }
    with served(target, environment) as (process, url), ThreadPoolExecutor(AT_ONCE) as pool:

        def post(body: bytes) -> int:
            request = urllib.request.Request(f"{url}{path}", body, {"Content-Type": PUSH})
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        def peak() -> float:
            return max(peak_kib(each) for each in family(process.pid)) / 1024

        before = peak()
        answers = [*pool.map(post, bodies)]
        return answers, peak() - before


def push(number: int) -> bytes:
    """A message of the most that Pub/Sub takes, as it pushes it."""
    data = b'{"model": "tiny", "reason": "' + b"x" * 9_990_000 + b'"}'
    message = {
        "attributes": {},
        "data": base64.b64encode(data).decode(),
        "messageId": f"large-{number}",
        "publishTime": "2026-01-01T00:00:00Z",
    }
    return json.dumps(
        {"message": message, "subscription": "projects/demo/subscriptions/s"}
    ).encode()


@pytest.mark.wide
def test_eight_messages_of_ten_megabytes_are_recorded_within_the_memory(tmp_path: Path) -> None:
    bodies = [push(number) for number in range(AT_ONCE)]
    path = "/projects/demo/topics/model-releases"
    answers, growth = flood("on_release", path, bodies, tmp_path)
    assert answers == [200] * AT_ONCE
    assert growth < MOST_GROWTH_MIB
    records = SqliteStore(str(tmp_path / "store.db")).list("quarantine", 10)
    assert len(records) == AT_ONCE
    for each in records:
        assert each.data["size"] > 13_000_000
        assert "SHA-256" in each.data["why"]
        assert base64.b64decode(each.data["raw"]).startswith(b'{"model": ')


@pytest.mark.parametrize(
    ("target", "path", "status"),
    [
        pytest.param("on_webhook", "/mlflow", 413, marks=pytest.mark.wide),
        pytest.param("on_wakeup", "/projects/demo/topics/w", 200, marks=pytest.mark.nightly),
        pytest.param("on_artifact", "/projects/demo/topics/gcr", 200, marks=pytest.mark.nightly),
        pytest.param("on_status", "/projects/demo/topics/s", 200, marks=pytest.mark.nightly),
    ],
)
def test_no_other_function_grows_by_what_it_is_sent(
    target: str, path: str, status: int, tmp_path: Path
) -> None:
    answers, growth = flood(target, path, [push(7)] * AT_ONCE, tmp_path)
    assert answers == [status] * AT_ONCE
    assert growth < MOST_GROWTH_MIB
