"""The whole stack: publishes an event and waits for the release's fleet."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from local.processes import answers
from local.stack import APPROVALS, RELEASES, Stack

EVENT = {
    "model": "tiny",
    "version": "1",
    "artifact": {"image": "us-docker.pkg.dev/demo/models/tiny:1"},
    "scaling": {"min": 2},
}
FAST = 100.0


def eventually(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while not (result := found()) and time.monotonic() < until:
        time.sleep(0.1)
    return result


def succeeded(stack: Stack, version: str) -> bool:
    document = stack.store.get(f"models/tiny/releases/{version}")
    return document is not None and document.data.get("outcome") == "succeeded"


def quarantined(stack: Stack) -> str:
    return " ".join(each.data["why"] for each in stack.store.list("quarantine", 10))


def ports(stack: Stack) -> list[int]:
    addresses = [
        stack.pubsub,
        *(stack.environment[name] for name in stack.environment if name.endswith("_EMULATOR_HOST")),
    ]
    urls = [
        stack.environment["SLIPWAY_COMPUTE_ENDPOINT"],
        *(program.url for program in stack.programs),
    ]
    return [int(address.rpartition(":")[2]) for address in (*addresses, *urls)]


def run_a_release(embedded: bool) -> None:
    parts: list[str] = []
    with Stack(FAST, embedded, lambda name, state, done: parts.append(name)) as stack:
        assert stack.backend == ("embedded" if embedded else "emulators")
        stack.publish(RELEASES, EVENT)
        assert eventually(lambda: succeeded(stack, "1"))
        assert len([each for each in stack.emulator.instances() if each["ready"]]) == 2
        stack.publish(APPROVALS, {"model": "tiny", "command": "pause"})
        takes = "topic model-approvals takes only approve and reject"
        assert eventually(lambda: takes in quarantined(stack))
        assert "Compute Engine emulator" in parts
        used = ports(stack)
        assert all(answers(port, "/") for port in used)
    assert not any(answers(port, "/") for port in used)
    assert not stack.folder.exists()


def test_embedded_an_event_becomes_a_serving_fleet_and_everything_stops() -> None:
    run_a_release(embedded=True)


def test_on_googles_emulators_an_event_becomes_a_serving_fleet_and_everything_stops(
    pubsub_emulator: str, firestore_emulator: str
) -> None:
    """The fixtures ensure that the emulators are installed; the stack starts its own."""
    run_a_release(embedded=False)


def test_embedded_the_stack_accepts_messages_from_gcloud() -> None:
    with Stack(FAST, embedded=True) as stack:
        url = f"http://{stack.pubsub}/v1/projects/demo/topics/{RELEASES}:publish"
        assert requests.post(
            url, json={"messages": [{"data": "eyJtb2RlbCI6IjEifQ=="}]}, timeout=5
        ).json() == {"messageIds": ["1"]}
        assert eventually(lambda: stack.store.list("quarantine", 10))


def test_without_emulators_the_stack_is_embedded_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stack = Stack(FAST)
    assert stack.backend == "embedded"
    assert "gcloud" in stack.why_embedded
    stack.folder.rmdir()


def test_a_stack_that_fails_to_start_stops_its_parts_and_keeps_its_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stack = Stack(FAST, embedded=True)
    monkeypatch.setattr(stack, "_start_embedded", lambda endpoint: 1 / 0)
    with pytest.raises(ZeroDivisionError), stack:
        pass
    assert stack.folder.exists()
    assert not answers(int(stack.environment["SLIPWAY_COMPUTE_ENDPOINT"].rpartition(":")[2]), "/")
    stack.folder.rmdir()
