"""What a team hears of its rollouts, over HTTPS, and that the command in it does what it says."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from infra.notifications.https import HttpsNotifier
from tests.infra.test_notifications import KEY
from tests.infra.test_verdicts import HOST, Reply, job, local
from tests.scenario import Scenario


class Team:
    """A receiver whose first answer is an error although it has the notification."""

    def __init__(self) -> None:
        self.received: list[tuple[str, Mapping[str, Any]]] = []

    def answer(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        self.received.append((headers["webhook-id"], json.loads(body)["data"]))
        return 503 if len(self.received) == 1 else 204, {}, b""

    @property
    def outcomes(self) -> list[tuple[str, str]]:
        """Each id once, as a receiver does it."""
        return [(data["release"], data["to"]) for data in dict(self.received).values()]


def test_a_team_hears_how_its_releases_end_and_can_undo_it() -> None:
    story, team = Scenario(), Team()
    with job(team.answer) as port:
        url = f"https://{HOST}:{port}/"
        destination = {"type": "webhook", "secret": "key", "url": url, "models": ["ti*"]}
        story.given_notifier(
            HttpsNotifier({"key": KEY}, local()), destinations={"team": destination}
        )
        story.given_serving("1", "other")
        story.given_serving("1", requested_by="ann@example.com")
        story.given_serving("2")
        story.when_minutes_pass(1)
        assert team.outcomes == [("1", "succeeded"), ("2", "succeeded")]
        assert len(team.received) == 3  # the first one twice, under one id
        (_, first), *_, (_, second) = team.received
        assert "published by ann@example.com" in first["text"]
        assert "after the rollout began" in first["text"]
        assert first["undo_command"] is None
        message = shlex.split(second["undo_command"])[-1].removeprefix("--message=")
        story.bus.publish("model-releases", message.encode())
        story.bus.pump()
        story.when_settled()
    assert story.serving_version() == "1"
    assert team.outcomes[-1] == ("1", "succeeded")


def test_a_condition_that_comes_and_goes_is_sent_once_an_hour() -> None:
    story, team = Scenario(), Team()
    with job(team.answer) as port:
        destination = {"type": "webhook", "secret": "key", "url": f"https://{HOST}:{port}/"}
        settings = {"team": destination | {"events": ["degraded"]}}
        story.given_notifier(HttpsNotifier({"key": KEY}, local()), destinations=settings)
        story.given_serving("1")
        story.given_stock_out("us-central1")
        story.when_released("2")
        for _ in range(3):
            story.given_stock_out("us-central1")
            story.when_minutes_pass(2)
            story.given_no_stock_out()
            story.when_minutes_pass(1)
    published = [
        each["ce-id"]
        for each in story.attributes_on("model-rollout-status")
        if each["ce-type"] == "io.slipway.condition.v1"
    ]
    assert len(published) > len(set(published)) == 1
    received = [each for each, _ in team.received]
    assert received == [published[0]] * 2  # the first try was answered by an error
    data = team.received[0][1]
    assert (data["condition"], data["release"]) == ("Degraded", "2")
    assert "does not have enough resources" in data["text"]
    assert '"abort"' in data["undo_command"]


def test_a_team_hears_why_a_release_was_taken_back() -> None:
    story, team = Scenario(), Team()
    with job(team.answer) as port:
        destination = {"type": "webhook", "secret": "key", "url": f"https://{HOST}:{port}/"}
        settings = {"team": destination | {"events": ["rolled_back", "quarantined"]}}
        story.given_notifier(HttpsNotifier({"key": KEY}, local()), destinations=settings)
        story.given_serving("1")
        story.given_behaviour("2", never_ready=True)
        story.when_released("2")
        story.when_settled()
        story.when_released("3", colour="red")
        story.when_minutes_pass(1)
    assert team.outcomes == [("2", "rolled_back"), ("3", "quarantined")]
    assert "none became healthy for 15 min" in team.received[0][1]["text"]
    assert "colour" in team.received[-1][1]["text"]
