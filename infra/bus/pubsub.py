"""The bus on Google Cloud Pub/Sub. Each publish is one synchronous request: no batching, no
ordering keys, no threads.

Created by `infra/wiring.py`. It uses the low-level client, because the high-level one batches
messages in the background, and a function's instance may be stopped before they are sent. The
client does not retry: the event that made a handler publish is itself delivered again.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from google.api_core import exceptions

from infra.bus.port import BusError, Unavailable, check_outgoing
from infra.lean_import import lean_import

_DEFERRED = ("google.pubsub_v1", "google.pubsub_v1.services.publisher")
publisher, pubsub = lean_import(
    _DEFERRED, "google.pubsub_v1.services.publisher.client", "google.pubsub_v1.types.pubsub"
)

_REFUSED = (
    exceptions.InvalidArgument,
    exceptions.NotFound,
    exceptions.PermissionDenied,
    exceptions.Unauthenticated,
)


class PubsubBus:
    """`emulator` is the `host:port` of Google's emulator. Without it, the client connects to the
    service with application default credentials.
    """

    def __init__(
        self, project: str, *, emulator: str | None = None, timeout_seconds: float = 10.0
    ) -> None:
        self._project = project
        self._client = _emulator_client(emulator) if emulator else publisher.PublisherClient()
        self._timeout_seconds = timeout_seconds

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        check_outgoing(data, attributes)
        name = f"projects/{self._project}/topics/{topic}"
        message = pubsub.PubsubMessage(data=data, attributes=dict(attributes))
        try:
            answer = self._client.publish(
                topic=name, messages=[message], retry=None, timeout=self._timeout_seconds
            )
        except _REFUSED as error:
            raise BusError(f"Pub/Sub refused a message for {name}: {error.message}") from error
        except exceptions.GoogleAPICallError as error:
            raise Unavailable(
                f"Pub/Sub did not take a message for {name} ({type(error).__name__}):"
                f" {error.message}"
            ) from error
        return str(answer.message_ids[0])


def _emulator_client(address: str) -> Any:
    import grpc

    return publisher.PublisherClient(
        transport=publisher.PublisherGrpcTransport(channel=grpc.insecure_channel(address))
    )
