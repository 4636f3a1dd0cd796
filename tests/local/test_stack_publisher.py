from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping

import pytest
import requests

from local.publisher import Publisher

Published = tuple[str, bytes, Mapping[str, str]]


@pytest.fixture
def published() -> list[Published]:
    return []


@pytest.fixture
def topics(published: list[Published]) -> Iterator[str]:
    """The URL of the topics of a publisher that records messages."""

    def publish(topic: str, data: bytes, attributes: Mapping[str, str]) -> str:
        published.append((topic, data, attributes))
        return str(len(published))

    publisher = Publisher(publish)
    publisher.start()
    yield f"http://{publisher.address}/v1/projects/demo/topics"
    publisher.stop()


def test_messages_are_published_in_order_and_their_ids_returned(
    topics: str, published: list[Published]
) -> None:
    data = base64.b64encode(b"hello").decode()
    answer = requests.post(
        f"{topics}/greetings:publish",
        json={"messages": [{"data": data}, {"attributes": {"a": "b"}}]},
        timeout=5,
    )
    assert answer.json() == {"messageIds": ["1", "2"]}
    assert published == [("greetings", b"hello", {}), ("greetings", b"", {"a": "b"})]


def test_other_requests_are_rejected_and_the_publisher_continues(
    topics: str, published: list[Published]
) -> None:
    assert requests.post(f"{topics}/greetings:pull", json={}, timeout=5).status_code == 404
    assert requests.post(f"{topics}/greetings:publish", data="{", timeout=5).status_code == 400
    assert (
        requests.post(
            f"{topics}/greetings:publish", json={"messages": [{"data": "aGk="}]}, timeout=5
        ).status_code
        == 200
    )
    assert published == [("greetings", b"hi", {})]
