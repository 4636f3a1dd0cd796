"""Notifications leave by HTTPS: to receivers that take them, refuse, stall, redirect or sit where
none may be.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.notifications.https import HttpsNotifier, read_notification_secrets
from infra.notifications.port import NotSent, Sent
from infra.outbound import Outbound
from infra.verdicts.signing import read_secrets
from rollout.notifications.model import Facts
from rollout.notifications.settings import Destination
from rollout.notifications.text import notification_of
from tests.infra.test_verdicts import HOST, NOW, Reply, job, local, trusting
from tests.rollout.test_notifications import EVENT

KEY = "whsec_" + base64.b64encode(b"n" * 32).decode()
TOKEN = "xoxb-1234-word"
NOTIFICATION = notification_of(EVENT, Facts(), "", "p")
Received = list[tuple[Mapping[str, str], Any]]


def receiver(
    received: Received, *replies: tuple[int, Mapping[str, str], bytes]
) -> Callable[[bytes, Mapping[str, str]], Reply]:
    """Answers with each reply in turn, and then always with the last one; by default with 204."""
    left = [*replies] or [(204, {}, b"")]

    def reply(body: bytes, headers: Mapping[str, str]) -> Reply:
        received.append((headers, body))
        return left.pop(0) if len(left) > 1 else left[0]

    return reply


def send(
    port: int,
    kind: str = "webhook",
    secret: str = KEY,
    thread: str = "",
    outbound: Outbound | None = None,
) -> Sent | NotSent:
    url = f"https://{HOST}:{port}/hooks/T0/B0/word"
    channel = "C0123456789" if kind == "slack_bot" else ""
    destination = Destination("team", kind, "team", url if kind == "webhook" else "", channel)  # type: ignore[arg-type]
    secrets = {"team": url if kind == "slack" else secret}
    notifier = HttpsNotifier(secrets, outbound or local(), url)
    result = notifier.send(destination, NOTIFICATION, thread, NOW)
    if isinstance(result, NotSent):
        assert "word" not in result.why
        assert KEY not in result.why
    return result


def test_a_webhook_is_signed_and_its_id_is_the_transitions() -> None:
    received: Received = []
    with job(receiver(received)) as port:
        assert send(port) == send(port) == Sent()
    (headers, body), again = received
    assert read_secrets(KEY).problem_of(headers, "tiny-00000012-0", body, NOW) == ""
    assert headers["content-type"].startswith("application/json")
    assert json.loads(body)["data"]["release"] == "2"
    assert (headers, body) == again  # a repetition is the same message


def test_a_slack_webhook_gets_text_and_blocks_and_no_signature() -> None:
    received: Received = []
    with job(receiver(received, (200, {}, b"ok"))) as port:
        assert send(port, "slack") == Sent()
    ((headers, body),) = received
    assert json.loads(body)["text"].startswith("tiny, release 2: rolling_back")
    assert "webhook-id" not in headers
    assert "authorization" not in headers


def test_a_bot_begins_a_thread_and_goes_on_in_it() -> None:
    received: Received = []
    answer = json.dumps({"ok": True, "ts": "1767.1"}).encode()
    with job(receiver(received, (200, {}, answer))) as port:
        assert send(port, "slack_bot", TOKEN) == Sent("1767.1")
        assert send(port, "slack_bot", TOKEN, "1700.5") == Sent("1700.5")
    first, second = (json.loads(body) for _, body in received)
    assert first["channel"] == "C0123456789"
    assert "thread_ts" not in first
    assert second["thread_ts"] == "1700.5"
    assert {headers["authorization"] for headers, _ in received} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b'{"ok": false, "error": "channel_not_found"}', "channel_not_found"),
        (b'{"ok": true}', "not that of chat.postMessage"),
        (b"ok", "not that of chat.postMessage"),
        (b"", "not that of chat.postMessage"),
    ],
)
def test_what_slack_refuses_with_status_200_is_not_sent(answer: bytes, why: str) -> None:
    with job(receiver([], (200, {}, answer))) as port:
        result = send(port, "slack_bot", TOKEN)
    assert isinstance(result, NotSent)
    assert why in result.why


@pytest.mark.parametrize("status", [301, 307, 400, 403, 404, 500, 503])
def test_an_error_or_a_redirect_is_not_sent_and_not_followed(status: int) -> None:
    received: Received = []
    reply = (status, {"Location": f"https://{HOST}/other"}, b"")
    with job(receiver(received, reply)) as port:
        result = send(port)
    assert isinstance(result, NotSent)
    assert str(status) in result.why
    assert not result.is_final
    assert len(received) == 1


def test_a_receiver_that_is_gone_gets_nothing_more() -> None:
    with job(receiver([], (410, {}, b""))) as port:
        assert send(port) == NotSent("the receiver answered 410", is_final=True)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("99999", 3600), ("-1", 0), ("Thu, 01 Jan 2026", 0)]
)
def test_a_receiver_that_asks_for_time_gets_it(text: str, seconds: int) -> None:
    with job(receiver([], (429, {"Retry-After": text}, b""))) as port:
        assert send(port) == NotSent("the receiver answered 429", seconds)


def test_a_receiver_that_stalls_costs_the_deadline() -> None:
    def stall(body: bytes, headers: Mapping[str, str]) -> Reply:
        time.sleep(0.6)
        return 204, {}, b""

    with job(stall) as port:
        result = send(port, outbound=local(timeout_seconds=0.2))
    assert isinstance(result, NotSent)
    assert "0.2 s" in result.why


@pytest.mark.parametrize("kind", ["slack", "webhook"])
def test_no_internal_address_is_reached(kind: str) -> None:
    received: Received = []
    with job(receiver(received)) as port:
        checked = Outbound(4.0, 1024, resolve=lambda *_: ("127.0.0.1",), context=trusting())
        result = send(port, kind, outbound=checked)
    assert isinstance(result, NotSent)
    assert "internal address" in result.why
    assert received == []


@pytest.mark.parametrize(
    ("kind", "secrets", "why"),
    [
        ("webhook", {}, "SLIPWAY_NOTIFICATION_SECRETS has no secret team"),
        ("webhook", {"team": "word"}, "SLIPWAY_NOTIFICATION_SECRETS.team: secret 1 must be whsec_"),
        ("slack_bot", {"team": "word\r\nx: y"}, "is not the token of a Slack bot"),
        ("slack", {"team": "http://hooks.slack.com/word"}, "must be https"),
        ("slack", {"team": "word"}, "must be https"),
    ],
)
def test_a_secret_that_is_none_sends_nothing_and_is_not_repeated(
    kind: str, secrets: Mapping[str, str], why: str
) -> None:
    def unreached(*_: object) -> tuple[str, ...]:
        raise AssertionError("a name was resolved")

    destination = Destination("team", kind, "team", f"https://{HOST}/", "C0123456789")  # type: ignore[arg-type]
    notifier = HttpsNotifier(secrets, local(resolve=unreached))
    result = notifier.send(destination, NOTIFICATION, "", NOW)
    assert isinstance(result, NotSent)
    assert why in result.why
    assert "word" not in result.why


def test_the_setting_maps_names_to_secrets() -> None:
    assert read_notification_secrets("") == {}
    assert read_notification_secrets(json.dumps({"team": f" {KEY}\n"})) == {"team": KEY}
    for text in ("word", "[]", '{"team": 7}', '{"team": ["word"]}', '{"team": "word"'):
        with pytest.raises(ValueError, match="must be a JSON object") as error:
            read_notification_secrets(text)
        assert "word" not in str(error.value)


def test_a_body_is_valid_whatever_an_event_holds() -> None:
    received: Received = []
    odd = notification_of(replace(EVENT, why="\ud800é", data={"why": "\ud800"}), Facts(), "", "")
    destination = Destination("team", "webhook", "team")
    with job(receiver(received)) as port:
        url = f"https://{HOST}:{port}/"
        notifier = HttpsNotifier({"team": KEY}, local())
        assert notifier.send(replace(destination, url=url), odd, "", NOW) == Sent()
    assert json.loads(received[0][1])["data"]["why"] == "?"
