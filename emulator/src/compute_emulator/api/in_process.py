"""The emulator without a socket: a `requests` transport that answers from a `Cloud`, for the
real client in tests.

    client = compute_v1.UrlMapsClient(credentials=AnonymousCredentials())
    client.transport._session.mount("https://", InProcessAdapter(cloud))

The client builds its complete request, including headers; only the network is missing. Faults
that end the connection raise `requests.ConnectionError`; late responses raise
`requests.ReadTimeout`.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from typing import Any

import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from compute_emulator.api import wire
from compute_emulator.control import dispatch
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import ConnectionDropped


class InProcessAdapter(BaseAdapter):
    """Mount it under a `requests.Session`; one adapter may serve any number of sessions and
    threads.
    """

    def __init__(self, cloud: Cloud) -> None:
        super().__init__()
        self.cloud = cloud

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: float | tuple[float, float] | tuple[float, None] | None = None,
        verify: bool | str = True,
        cert: bytes | str | tuple[bytes | str, bytes | str] | None = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            response = dispatch.handle(self.cloud, _as_wire(request))
        except ConnectionDropped as error:
            raise requests.ConnectionError(
                f"connection ended without a response ({error})", request=request
            ) from error
        self._delay(response.delay_seconds, timeout, request)
        return _as_requests(request, response)

    def close(self) -> None:
        """Nothing to close."""

    def _delay(self, seconds: float, timeout: Any, request: requests.PreparedRequest) -> None:
        limit = timeout[1] if isinstance(timeout, tuple) else timeout
        if limit is not None and seconds > limit:
            raise requests.ReadTimeout(f"no response within {limit} s", request=request)
        if seconds and self.cloud.clock.speed:
            time.sleep(seconds / self.cloud.clock.speed)


def _as_wire(request: requests.PreparedRequest) -> wire.Request:
    body = request.body or b""
    if not isinstance(body, bytes | str):
        raise TypeError("streamed request bodies are not supported")
    return wire.Request(
        http=request.method or "GET",
        target=request.url or "",
        body=body.encode() if isinstance(body, str) else body,
        headers=request.headers,
    )


def _as_requests(request: requests.PreparedRequest, response: wire.Response) -> requests.Response:
    converted = requests.Response()
    converted.status_code = response.status
    converted.headers = CaseInsensitiveDict({"content-type": response.content_type})
    converted.encoding = "utf-8"
    converted.url = request.url or ""
    converted.request = request
    converted.raw = io.BytesIO(response.body)
    converted._content = response.body
    converted.reason = {200: "OK"}.get(response.status, "Error")
    return converted
