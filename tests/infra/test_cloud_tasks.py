"""Scheduled wake-ups through Cloud Tasks' REST API, against the local emulator of it."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from infra.errors import Unavailable
from infra.schedule.cloud_tasks import CloudTasks, task_of
from infra.store import outbox
from infra.wiring import ScaledClock
from local.tasks import TaskQueue

QUEUE = "projects/demo/locations/us-central1/queues/slipway-wakeups"
CLOCK = ScaledClock(100, time.time())
Published = queue.Queue[tuple[str, bytes]]


@pytest.fixture
def published() -> Published:
    return queue.Queue()


@pytest.fixture
def tasks(published: Published) -> Iterator[TaskQueue]:
    server = TaskQueue(CLOCK, lambda topic, data: published.put((topic, data)))
    server.start()
    yield server
    server.stop()


def test_a_wake_up_is_published_at_its_time_and_once_for_each_number(
    tasks: TaskQueue, published: Published
) -> None:
    scheduler = CloudTasks("demo", QUEUE, "waker@demo", tasks.url)
    at = CLOCK.now() + timedelta(seconds=30)
    for number in (7, 7, 8):
        scheduler.schedule("tiny", number, at)
    found = [published.get(timeout=10) for _ in range(2)]
    assert CLOCK.now() >= at
    assert published.empty()
    assert {topic for topic, _ in found} == {outbox.WAKEUPS}
    messages = sorted((json.loads(data) for _, data in found), key=lambda each: each["number"])
    assert messages == [{"model": "tiny", "number": 7}, {"model": "tiny", "number": 8}]
    assert published.empty()


def test_a_task_that_is_not_taken_is_an_error(tasks: TaskQueue) -> None:
    with pytest.raises(Unavailable, match=r"Cloud Tasks did not take a task for wrong \(404\)"):
        CloudTasks("demo", "wrong", "waker@demo", tasks.url).schedule("tiny", 1, CLOCK.now())
    with pytest.raises(Unavailable, match="no answer from Cloud Tasks"):
        CloudTasks("demo", QUEUE, "waker@demo", "http://127.0.0.1:1").schedule(
            "tiny", 1, CLOCK.now()
        )


def test_a_task_publishes_as_the_given_account_under_a_name_of_its_number() -> None:
    task = task_of("demo", QUEUE, "waker@demo", "tiny", 7, CLOCK.now())
    assert task["name"].startswith(f"{QUEUE}/tasks/")
    assert task["name"].endswith("-tiny-7")
    request = task["httpRequest"]
    assert request["oauthToken"]["serviceAccountEmail"] == "waker@demo"
    assert request["url"] == (
        "https://pubsub.googleapis.com/v1/projects/demo/topics/model-wakeups:publish"
    )
