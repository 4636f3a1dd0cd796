"""Sending of status events: what was sent is not sent again, what was not is, and no destination
delays another one. The receivers are HTTPS servers on this machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from handlers import status
from handlers.status import GIVE_UP_AFTER, NotNotified
from infra.bus.envelope import Message
from infra.bus.status import ROLLOUT_TYPE, parse_status
from infra.notifications.https import HttpsNotifier
from infra.outbound import Outbound
from infra.store import outbox
from infra.store.deliveries import LEASE
from infra.store.port import Put, Unavailable
from rollout.notifications.model import StatusEvent
from tests.infra.test_notifications import KEY
from tests.infra.test_verdicts import HOST, Reply, job, local
from tests.scenario import InterceptedStore, Scenario

ENTRY = {
    "model": "tiny",
    "release": "2",
    "from": "step_1",
    "to": "paused",
    "why": "paused by ann",
    "at": "2026-01-01T00:22:49Z",
    "outcome": None,
    "begun_at": "2026-01-01T00:20:49Z",
}
ID = "tiny-00000007-0"


@dataclass
class Receiver:
    """Answers with each status in turn and then with 204. `before` runs before each answer."""

    statuses: list[int] = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    before: Callable[[], object] = lambda: None
    ids: list[str] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)

    def answer(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.ids.append(headers.get("webhook-id", ""))
        self.bodies.append(json.loads(body))
        self.before()
        default = 200 if self.body else 204
        return self.statuses.pop(0) if self.statuses else default, self.headers, self.body


class Sending:
    """A world whose notifications go to receivers on this machine."""

    def __init__(self, servers: ExitStack) -> None:
        self.story = Scenario()
        self._servers = servers
        self._destinations: dict[str, Any] = {}
        self._more: dict[str, Any] = {}
        self.published_at = self.story.clock.now()

    def given_receiver(self, name: str, receiver: Receiver, **more: Any) -> None:
        port = self._servers.enter_context(job(receiver.answer))
        url = {"url": f"https://{HOST}:{port}/"}
        self._destinations[name] = {"type": "webhook", "secret": "key", **url, **more}
        self.configure()

    def given_bot(self, receiver: Receiver) -> None:
        port = self._servers.enter_context(job(receiver.answer))
        named = {"type": "slack_bot", "secret": "bot", "channel": "#releases"}
        self._destinations["bot"] = named | {"events": ["paused", "step"]}
        self.configure(api=f"https://{HOST}:{port}/")

    def configure(self, outbound: Outbound | None = None, api: str = "", **more: Any) -> None:
        self._more |= more
        secrets = {"key": KEY, "bot": "xoxb-1"}
        notifier = HttpsNotifier(secrets, outbound or local(), api)
        self.story.given_notifier(notifier, destinations=self._destinations, **self._more)

    def deliver(self, event_id: str = ID, **entry: Any) -> None:
        """One delivery of the event. A failure asks for another one."""
        attributes = outbox.status_attributes(event_id, "tiny", self.published_at)
        data = json.dumps(ENTRY | entry).encode()
        message = Message("1", data, attributes, self.published_at)
        status.notify(self.story.world, parse_status(message), message.published_at)

    def records(self) -> dict[str, str]:
        documents = self.story.store.list("notifications", 100)
        return {each.path.partition("/")[2]: each.data["state"] for each in documents}


@pytest.fixture
def sending() -> Iterator[Sending]:
    with ExitStack() as servers:
        yield Sending(servers)


def test_an_event_that_is_delivered_twice_is_sent_once(sending: Sending) -> None:
    team = Receiver()
    sending.given_receiver("team", team)
    sending.deliver()
    sending.deliver()
    assert team.ids == [ID]
    assert sending.records() == {f"{ID}@team": "sent"}
    assert "2 min" not in team.bodies[0]["data"]["text"]  # 120 s


def test_only_what_failed_is_sent_again(sending: Sending) -> None:
    team, pager = Receiver(), Receiver([500, 503])
    sending.given_receiver("team", team)
    sending.given_receiver("pager", pager)
    for _ in range(2):
        with pytest.raises(NotNotified, match=r"pager: the receiver answered 50"):
            sending.deliver()
    sending.deliver()
    sending.deliver()
    assert (team.ids, pager.ids) == ([ID], [ID, ID, ID])
    assert set(sending.records().values()) == {"sent"}


def test_a_receiver_that_stalls_delays_no_other(sending: Sending) -> None:
    stalled = threading.Event()
    slow, team = Receiver(before=lambda: stalled.wait(5)), Receiver()
    sending.given_receiver("slow", slow)
    sending.given_receiver("team", team)
    sending.configure(local(timeout_seconds=0.2))
    with pytest.raises(NotNotified, match=r"slow: .* did not answer"):
        sending.deliver()
    stalled.set()
    assert team.ids == [ID]
    assert sending.records() == {f"{ID}@slow": "failed", f"{ID}@team": "sent"}
    sending.deliver()
    assert slow.ids == [ID, ID]  # it may have had the first one: the id says so
    assert team.ids == [ID]


def test_two_workers_send_one_notification(sending: Sending) -> None:
    """The second one leaves the event to a redelivery, since the first may crash."""
    refused: list[str] = []

    def meanwhile() -> None:
        with pytest.raises(NotNotified, match="is leased until") as error:
            sending.deliver()
        refused.append(str(error.value))

    team = Receiver(before=meanwhile)
    sending.given_receiver("team", team)
    sending.deliver()
    assert len(refused) == 1
    sending.deliver()
    assert team.ids == [ID]


@pytest.mark.parametrize("commits", [1, 2], ids=["before it sent", "after it sent"])
def test_a_worker_that_crashed_is_replaced_when_its_lease_expires(
    sending: Sending, commits: int
) -> None:
    team = Receiver()
    sending.given_receiver("team", team)
    story, left = sending.story, [commits]

    class Crash(BaseException):
        pass

    def crash_after(commit: Callable[[], Any]) -> Any:
        """Before the last of the commits takes effect, or after the lease alone."""
        left[0] -= 1
        if left[0] == 0 and commits == 2:
            raise Crash
        done = commit()
        if left[0] == 0:
            raise Crash
        return done

    whole = story.world
    story.world = story.new_worker(InterceptedStore(story.store, crash_after))
    with pytest.raises(Crash):
        sending.deliver()
    assert len(team.ids) == commits - 1
    story.world = whole
    with pytest.raises(NotNotified, match="is leased until"):
        sending.deliver()
    story.clock.sleep(LEASE.total_seconds() + 1)
    sending.deliver()
    sending.deliver()
    assert team.ids == [ID] * commits
    assert sending.records() == {f"{ID}@team": "sent"}


def test_a_record_that_cannot_be_written_delays_only_its_own(sending: Sending) -> None:
    team, pager = Receiver(), Receiver()
    sending.given_receiver("team", team)
    sending.given_receiver("pager", pager)
    story, failures = sending.story, [Unavailable("no answer")]

    def fail_once(commit: Callable[[], Any]) -> Any:
        if failures:
            raise failures.pop()
        return commit()

    story.world = story.new_worker(InterceptedStore(story.store, fail_once))
    with pytest.raises(NotNotified, match="no answer"):
        sending.deliver()
    assert len(team.ids) + len(pager.ids) == 1
    sending.deliver()
    assert (team.ids, pager.ids) == ([ID], [ID])


def test_a_receiver_that_asks_for_time_is_left_alone_until_then(sending: Sending) -> None:
    team = Receiver([429], {"Retry-After": "300"})
    sending.given_receiver("team", team)
    with pytest.raises(NotNotified, match="429"):
        sending.deliver()
    sending.story.clock.sleep(299)
    with pytest.raises(NotNotified, match="is leased until"):
        sending.deliver()
    assert team.ids == [ID]
    sending.story.clock.sleep(2)
    sending.deliver()
    assert team.ids == [ID, ID]


def test_a_receiver_that_is_gone_ends_it(sending: Sending) -> None:
    team = Receiver([410])
    sending.given_receiver("team", team)
    sending.deliver()
    sending.deliver()
    assert team.ids == [ID]
    assert sending.records() == {f"{ID}@team": "given_up"}


def test_an_event_is_given_up_after_half_a_day(
    sending: Sending, caplog: pytest.LogCaptureFixture
) -> None:
    team = Receiver([500, 500])
    sending.given_receiver("team", team)
    with pytest.raises(NotNotified):
        sending.deliver()
    sending.story.clock.sleep(GIVE_UP_AFTER.total_seconds())
    with pytest.raises(NotNotified):
        sending.deliver()
    sending.story.clock.sleep(1)
    caplog.clear()
    sending.deliver()
    assert len(team.ids) == 2
    assert sending.records() == {f"{ID}@team": "given_up"}
    assert [each.message for each in caplog.records] == ["notification given up"]


def test_events_that_no_destination_takes_are_acknowledged(sending: Sending) -> None:
    team = Receiver()
    sending.given_receiver("team", team, events=["rolled_back"], models=["llm-*", "tiny"])
    sending.deliver()
    sending.deliver("tiny-00000009-0", to="rolled_back", model="other")
    assert team.ids == []
    sending.deliver("tiny-00000008-0", to="rolled_back")
    assert team.ids == ["tiny-00000008-0"]


def test_a_wrong_destination_is_reported_until_it_is_repaired(
    sending: Sending, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is delivered again, so that the repaired destination gets it too."""
    team, typo = Receiver(), Receiver()
    sending.given_receiver("team", team)
    sending.given_receiver("typo", typo, evnts=["paused"])
    with pytest.raises(NotNotified, match=r"destinations\.typo: has unknown fields evnts"):
        sending.deliver()
    assert [each.levelname for each in caplog.records if "misconf" in each.message] == ["ERROR"]
    assert (team.ids, typo.ids) == ([ID], [])
    del sending._destinations["typo"]["evnts"]
    sending.configure()
    sending.deliver()
    assert (team.ids, typo.ids) == ([ID], [ID])


def test_without_settings_nothing_is_sent_or_recorded() -> None:
    story = Scenario()
    status.notify(story.world, _event(), story.clock.now())
    assert story.store.list("notifications", 10) == ()


def _event() -> StatusEvent:
    attributes = outbox.status_attributes(ID, "tiny", Scenario().clock.now())
    at = Scenario().clock.now()
    return parse_status(Message("1", json.dumps(ENTRY).encode(), attributes, at))


def test_a_document_of_another_slipway_costs_only_the_way_back(sending: Sending) -> None:
    team = Receiver()
    sending.given_receiver("team", team, events=["succeeded"])
    sending.story.store.commit(Put("models/tiny", {"schema": 99}))
    sending.deliver(to="succeeded")
    assert team.bodies[0]["data"]["undo_command"] is None


def test_a_bot_keeps_the_events_of_a_release_in_one_thread(sending: Sending) -> None:
    slack = Receiver(body=b'{"ok": true, "ts": "1767.1"}')
    sending.given_bot(slack)
    sending.deliver("tiny-00000005-0", to="step_1")
    sending.deliver()
    sending.deliver("tiny-00000009-0", release="3", to="step_1")
    threads = [body.get("thread_ts") for body in slack.bodies]
    assert threads == [None, "1767.1", None]


@pytest.mark.parametrize(
    ("attributes", "data"),
    [
        ({}, b"{}"),
        ({"ce-id": ID}, b"{}"),
        ({"ce-type": ROLLOUT_TYPE}, b"{}"),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": "../models/tiny"}, json.dumps(ENTRY).encode()),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": "x" * 300}, json.dumps(ENTRY).encode()),
        ({"ce-type": "io.slipway.model.release.v1", "ce-id": ID}, json.dumps(ENTRY).encode()),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, b""),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, b"\xff"),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, b"[" * 100_000),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, b"[]"),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, json.dumps(ENTRY | {"at": "soon"}).encode()),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, json.dumps(ENTRY | {"model": 7}).encode()),
        ({"ce-type": ROLLOUT_TYPE, "ce-id": ID}, json.dumps(ENTRY | {"to": "x" * 200}).encode()),
    ],
)
def test_what_is_no_status_event_is_acknowledged_and_reported(
    attributes: Mapping[str, str],
    data: bytes,
    sending: Sending,
    caplog: pytest.LogCaptureFixture,
) -> None:
    team = Receiver()
    sending.given_receiver("team", team)
    sending.story.bus.publish(outbox.STATUS, data, attributes)
    sending.story.bus.pump()
    assert team.ids == []
    assert sending.story.bus.next_due() is None
    assert "status event not understood" in [each.message for each in caplog.records]


def test_records_expire(sending: Sending) -> None:
    """Firestore deletes them by this field (deploy/bootstrap.sh)."""
    sending.given_receiver("team", Receiver())
    sending.deliver()
    (record,) = sending.story.store.list("notifications", 10)
    assert record.data["expires_at"] - sending.published_at == timedelta(days=30)
