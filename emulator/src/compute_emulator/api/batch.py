"""Batch requests: `POST /batch/compute/v1`, multipart/mixed with one request per part and one
response per part.

gcloud sends a batch when one command needs two or more calls, such as deleting two templates.
"""

from __future__ import annotations

from email.message import Message
from email.parser import BytesParser
from http.client import responses

from compute_emulator.api import wire
from compute_emulator.engine.cloud import Cloud
from compute_emulator.errors import BadRequest, ConnectionDropped, Unavailable

BOUNDARY = "batch_compute_emulator"


def handle(cloud: Cloud, request: wire.Request) -> wire.Response:
    """Handle the parts independently and in order; a failed part does not fail the others."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    content_type = headers.get("content-type", "")
    message = BytesParser().parsebytes(
        f"Content-Type: {content_type}\r\n\r\n".encode() + request.body
    )
    if not message.is_multipart():
        return wire.error_response(BadRequest("A batch must be multipart/mixed."))
    responses = [
        (part, _handle_part(cloud, part))
        for part in message.get_payload()
        if isinstance(part, Message)
    ]
    parts = [
        f"--{BOUNDARY}\r\n".encode() + _encode_part(part, response) + b"\r\n"
        for part, response in responses
    ]
    return wire.Response(
        200,
        b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(),
        content_type=f'multipart/mixed; boundary="{BOUNDARY}"',
        delay_seconds=max((response.delay_seconds for _, response in responses), default=0.0),
    )


def _handle_part(cloud: Cloud, part: Message) -> wire.Response:
    try:
        request = _parse_part(part)
    except ValueError:
        return wire.error_response(
            BadRequest("A part of a batch must be an HTTP request: GET /compute/v1/... HTTP/1.1")
        )
    try:
        return wire.handle(cloud, request)
    except ConnectionDropped:
        return wire.error_response(
            Unavailable("The connection of this part ended without a response.")
        )


def _encode_part(part: Message, response: wire.Response) -> bytes:
    content_id = str(part.get("Content-ID", "")).strip("<>")
    head = (
        f"Content-Type: application/http\r\nContent-ID: <response-{content_id}>\r\n\r\n"
        f"HTTP/1.1 {response.status} {responses.get(response.status, 'Error')}\r\n"
        f"Content-Type: {response.content_type}\r\nContent-Length: {len(response.body)}\r\n\r\n"
    )
    return head.encode() + response.body


def _parse_part(part: Message) -> wire.Request:
    payload = part.get_payload(decode=True)
    raw = payload if isinstance(payload, bytes) else b""
    line, _, rest = raw.lstrip().partition(b"\n")
    http, target, *_ = line.decode().split()
    headers, _, body = rest.replace(b"\r\n", b"\n").partition(b"\n\n")
    return wire.Request(
        http, target, body.strip(), dict(BytesParser().parsebytes(headers + b"\n\n").items())
    )
