"""Notifications: which event goes where, how the settings are read, and what the texts say."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollout.notifications.forms import MAX_HEADER, MAX_SECTION, escape, slack_message, webhook_body
from rollout.notifications.model import CONDITIONS, Facts, Notification, StatusEvent
from rollout.notifications.settings import (
    DEFAULT_EVENTS,
    MAX_DESTINATIONS,
    Destination,
    load_notifications,
)
from rollout.notifications.text import notification_of

NOW = datetime(2026, 1, 1, 12, 22, 49, tzinfo=UTC)
WHY = "0 of 1 instances of release 2 are healthy, and none became healthy for 15 min"
EVENT = StatusEvent(
    id="tiny-00000012-0",
    model="tiny",
    release="2",
    from_="rolling_back",
    to="rolled_back",
    why=WHY,
    at=NOW,
    reason="unhealthy",
    outcome="rolled_back",
    begun_at=NOW - timedelta(minutes=22),
    data={"model": "tiny", "release": "2", "outcome": "rolled_back"},
)
SLACK = {"type": "slack", "secret": "team"}
WEBHOOK = {"type": "webhook", "secret": "pager", "url": "https://hooks.example.com/slipway"}
BOT = {"type": "slack_bot", "secret": "bot", "channel": "C0123456789"}
SECRET_VALUES = ("https://hooks.slack.com/services/T0/B0/word", "whsec_word", "xoxb-1-word")


def problems(destination: Any) -> tuple[str, ...]:
    return load_notifications({"destinations": {"team": destination}}).problems


def sent(event: StatusEvent = EVENT, **facts: str) -> Notification:
    link = "https://slipway.example.com/models/{model}?release={release}"
    return notification_of(event, Facts(**facts), link, "my-project")


def slack_texts(notification: Notification) -> list[str]:
    message = slack_message(notification)
    return [message["text"], *(block["text"]["text"] for block in message["blocks"])]


# ---- Settings


def test_without_a_document_nothing_is_sent() -> None:
    assert load_notifications(None) == load_notifications({})
    assert load_notifications(None).destinations == ()


def test_a_document_names_destinations_and_what_they_take() -> None:
    chosen = {"events": ["paused", "step"], "models": ["llm-*", "tiny"]}
    document = {"destinations": {"team": SLACK, "pager": WEBHOOK | chosen, "ops": BOT}}
    settings = load_notifications(document | {"link": "https://a.example.com/{model}"})
    ops, pager, team = settings.destinations
    assert settings.problems == ()
    assert settings.link == "https://a.example.com/{model}"
    assert team == Destination("team", "slack", "team")
    assert (pager.url, pager.events, pager.models) == (
        "https://hooks.example.com/slipway",
        ("paused", "step"),
        ("llm-*", "tiny"),
    )
    assert ops.channel == "C0123456789"


@pytest.mark.parametrize(
    ("destination", "named"),
    [
        ("https://hooks.slack.com/x", "destinations.team: must be a destination"),
        ({"type": "email", "secret": "a"}, "destinations.team.type: must be one of slack"),
        ({"type": ["slack"], "secret": "a"}, "destinations.team.type"),
        ({"type": "slack"}, "destinations.team.secret"),
        (SLACK | {"secret": 7}, "destinations.team.secret"),
        (SLACK | {"url": "https://a.example.com"}, "destinations.team: has unknown fields url"),
        (SLACK | {"event": ["paused"]}, "unknown fields event; it may have type, secret"),
        (SLACK | {"events": "paused"}, "destinations.team.events: must be a list of events"),
        (SLACK | {"events": []}, "destinations.team.events: must be a list of events, not empty"),
        (SLACK | {"events": ["rolledback"]}, "destinations.team.events: must be of desired, step"),
        (SLACK | {"events": [["paused"]]}, "destinations.team.events: must be of"),
        (SLACK | {"models": "tiny"}, "destinations.team.models: must be a list of patterns"),
        (SLACK | {"models": ["Tiny"]}, "destinations.team.models: must be names of models"),
        (SLACK | {"models": ["[a-"]}, "destinations.team.models"),
        (WEBHOOK | {"url": "http://hooks.example.com"}, "destinations.team.url: must be https"),
        (WEBHOOK | {"url": "https://user:word@hooks.example.com"}, "destinations.team.url"),
        (WEBHOOK | {"url": "https://[hooks"}, "destinations.team.url"),
        (WEBHOOK | {"url": "https://hooks.example.com:port"}, "destinations.team.url"),
        (WEBHOOK | {"url": "https://"}, "destinations.team.url"),
        (WEBHOOK | {"url": "https://hooks.example.com/a b"}, "destinations.team.url"),
        (WEBHOOK | {"url": None}, "destinations.team.url"),
        (BOT | {"channel": "<!channel>"}, "destinations.team.channel"),
        (BOT | {"channel": ""}, "destinations.team.channel"),
    ],
)
def test_what_is_wrong_is_named(destination: Any, named: str) -> None:
    (problem,) = problems(destination)
    assert problem.startswith("settings/notifications: ")
    assert named in problem
    assert "word" not in problem


@pytest.mark.parametrize("secret", SECRET_VALUES)
def test_a_secret_in_the_document_is_refused_and_not_repeated(secret: str) -> None:
    (problem,) = problems(SLACK | {"secret": secret})
    assert "never the secret itself" in problem
    assert "word" not in problem


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"destination": {}}, "the document: has unknown fields destination"),
        ({"destinations": [SLACK]}, "destinations: must map names"),
        ({"destinations": {"Team A": SLACK}}, "destinations: must be named by"),
        ({"link": "http://a.example.com"}, "link: must be a URL"),
        ({"link": 7}, "link: must be a URL"),
        ({"destinations": {f"t{n}": SLACK for n in range(11)}}, "destinations: must be at most 10"),
    ],
)
def test_what_is_wrong_with_the_whole_document_is_named(
    document: dict[str, Any], named: str
) -> None:
    settings = load_notifications(document)
    assert len(settings.problems) == 1
    assert named in settings.problems[0]
    assert len(settings.destinations) <= MAX_DESTINATIONS
    assert settings.link == ""


def test_a_wrong_destination_does_not_silence_the_others() -> None:
    settings = load_notifications(
        {"colour": "red", "destinations": {"a": {"type": "pigeon"}, "team": SLACK}}
    )
    assert [each.name for each in settings.destinations] == ["team"]
    assert len(settings.problems) == 2


# ---- Which event goes where


def test_by_default_ends_and_what_needs_a_person_are_sent() -> None:
    team = Destination("team", "slack", "team")
    names = ("succeeded", "rolled_back", "paused", "stalled", "quarantined")
    assert all(team.takes(replace(EVENT, to=name)) for name in names)
    silent = ("step_1", "verdict", "unchanged", "repaired", "superseded")
    assert not any(team.takes(replace(EVENT, to=name)) for name in silent)
    assert {"succeeded", "rolled_back"} < set(DEFAULT_EVENTS)


def test_every_step_is_one_event() -> None:
    steps = Destination("team", "slack", "team", events=("step",))
    assert steps.takes(replace(EVENT, to="step_1"))
    assert steps.takes(replace(EVENT, to="step_12"))
    assert not steps.takes(EVENT)


@pytest.mark.parametrize(
    ("patterns", "models", "others"),
    [
        (("*",), ("tiny", "llm-7b", ""), ()),
        (("llm-*",), ("llm-", "llm-7b"), ("my-llm-7b", "LLM-7b", "")),
        (("llm-?b", "tiny"), ("llm-7b", "tiny"), ("llm-70b", "tiny-2")),
    ],
)
def test_patterns_choose_models(
    patterns: tuple[str, ...], models: tuple[str, ...], others: tuple[str, ...]
) -> None:
    team = Destination("team", "slack", "team", models=patterns)
    assert all(team.takes(replace(EVENT, model=each)) for each in models)
    assert not any(team.takes(replace(EVENT, model=each)) for each in others)


# ---- Texts


def test_a_notification_says_what_who_why_how_long_and_how_to_undo_it() -> None:
    assert sent(requested_by="ann@example.com").text == "\n".join(
        (
            "tiny, release 2: rolling_back → rolled_back (unhealthy)",
            WHY,
            "published by ann@example.com · 22 min after the rollout began"
            " · 2026-01-01 12:22:49 UTC",
            "To try release 2 again: gcloud pubsub topics publish model-releases"
            " --project=my-project --message="
            """'{"model": "tiny", "command": "retry", "version": "2"}'""",
            "https://slipway.example.com/models/tiny?release=2",
        )
    )


@pytest.mark.parametrize(
    ("to", "facts", "command"),
    [
        ("desired", {}, {"command": "abort"}),
        ("step_2", {}, {"command": "abort"}),
        ("baking", {}, {"command": "abort"}),
        ("paused", {}, {"command": "resume"}),
        ("aborted", {}, {"command": "retry", "version": "2"}),
        ("refused", {}, {"command": "retry", "version": "2"}),
        (
            "succeeded",
            {"stable": "2", "previous": "1"},
            {"command": "rollback", "version": "1"},
        ),
        ("succeeded", {"stable": "2"}, None),  # the first release
        ("succeeded", {"stable": "2", "previous": "2"}, None),
        ("succeeded", {"stable": "3", "previous": "2"}, None),  # it serves no more
        ("retired", {}, None),
        ("rolling_back", {}, None),
        ("quarantined", {}, None),
        ("repaired", {}, None),
    ],
)
def test_the_command_undoes_the_transition(
    to: str, facts: dict[str, str], command: dict[str, str] | None
) -> None:
    notification = sent(replace(EVENT, to=to), **facts)
    if command is None:
        assert (notification.undo, notification.undo_command) == ("", "")
        return
    *words, message = shlex.split(notification.undo_command)
    assert words == [
        *("gcloud", "pubsub", "topics", "publish", "model-releases"),
        "--project=my-project",
    ]
    assert json.loads(message.removeprefix("--message=")) == {"model": "tiny"} | command
    assert notification.undo


@pytest.mark.parametrize(
    ("condition", "phase", "command"),
    [
        ("Degraded", "step_2", "abort"),
        ("Degraded", "baking", "abort"),
        ("Degraded", "settled", ""),
        ("Degraded", "rolling_back", ""),
        ("CapacityScarce", "settled", "abort"),
        ("Frozen", "settled", ""),
    ],
)
def test_a_condition_is_named_with_the_phase_in_which_it_began(
    condition: str, phase: str, command: str
) -> None:
    event = replace(
        EVENT, condition=condition, from_=phase, to=CONDITIONS[condition], reason="", outcome=""
    )
    notification = sent(event)
    assert notification.title == f"tiny, release 2: condition {condition} ({phase})"
    assert (f'"{command}"' in notification.undo_command) == bool(command)
    assert bool(notification.undo_command) == bool(command)
    assert json.loads(webhook_body(notification))["type"] == f"condition.{CONDITIONS[condition]}"
    assert Destination("team", "slack", "team", events=(event.to,)).takes(event)


@pytest.mark.parametrize("begun_at", [None, NOW, NOW + timedelta(seconds=5)])
def test_no_duration_is_said_of_what_has_none(begun_at: datetime | None) -> None:
    assert sent(replace(EVENT, begun_at=begun_at)).details == ("2026-01-01 12:22:49 UTC",)


def test_a_refused_message_may_name_no_model() -> None:
    refused = replace(EVENT, model="", release="", from_="published", to="quarantined", reason="")
    notification = sent(refused)
    assert notification.title == "no model, a message: published → quarantined"
    assert (notification.link, notification.undo_command) == ("", "")


@pytest.mark.parametrize("name", ["$(reboot)", "a'b", "<!channel>", "tiny\n", "--x"])
def test_no_command_is_made_of_what_is_no_valid_name(name: str) -> None:
    for event in (replace(EVENT, model=name), replace(EVENT, release=name)):
        notification = sent(event)
        assert notification.undo_command == ""
        assert not set("$'<>!() \n") & set(notification.link)


# ---- Slack


HOSTILE = "<!channel> <@U1> <https://evil.example.com|ok> *b* `c` & \u202eright\r\n@here \x1b[31m"


def test_foreign_text_is_inert_in_slack() -> None:
    notification = sent(replace(EVENT, why=HOSTILE, from_=HOSTILE), requested_by=HOSTILE)
    message = slack_message(notification)
    for text in slack_texts(notification):
        assert not set("<>\r\u202e\x1b") & set(text)
        assert "&amp;" in text or "&" not in text
    assert (message["unfurl_links"], message["unfurl_media"]) == (False, False)
    title, about, command, link = (block["text"] for block in message["blocks"])
    assert [title["type"], about["type"]] == ["plain_text", "plain_text"]
    assert about["text"].startswith("&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil")
    assert "\n" not in title["text"]
    for markup in (command, link):  # what nobody else chose
        assert "channel" not in markup["text"]


def test_a_slack_message_keeps_slacks_limits() -> None:
    long = replace(EVENT, why="&" * 100_000, from_="<" * 90, to="&" * 90)
    message = slack_message(sent(long, requested_by=">" * 100_000))
    header, *sections = (block["text"]["text"] for block in message["blocks"])
    assert len(header) <= MAX_HEADER
    assert all(0 < len(each) <= MAX_SECTION for each in sections)
    assert header.endswith("&lt;…")


def test_text_is_cut_between_characters() -> None:
    assert escape("a<b", 100) == "a&lt;b"
    assert escape("ab<c", 6) == "ab…"
    assert escape("ab<c", 7) == "ab&lt;…"


# ---- Standard Webhooks


def test_a_webhook_gets_the_event_with_what_is_added_to_it() -> None:
    body = json.loads(webhook_body(sent()))
    assert body["type"] == "rollout.rolled_back"
    assert body["timestamp"] == "2026-01-01T12:22:49Z"
    data = body["data"]
    assert EVENT.data.items() <= data.items()
    assert (data["id"], data["thread"]) == ("tiny-00000012-0", "tiny/2")
    assert data["text"] == sent().text
    assert '"command": "retry"' in data["undo_command"]
    assert data["link"] == "https://slipway.example.com/models/tiny?release=2"


def test_what_there_is_not_is_null_in_a_webhook() -> None:
    retired = replace(EVENT, to="retired", model="tiny")
    data = json.loads(webhook_body(notification_of(retired, Facts(), "", "")))["data"]
    assert (data["undo_command"], data["link"]) == (None, None)


def test_all_events_of_a_release_have_one_thread_and_each_its_own_id() -> None:
    step = replace(EVENT, id="tiny-00000004-0", to="step_1")
    assert step.thread == EVENT.thread != replace(EVENT, release="3").thread
    kind = json.loads(webhook_body(sent(step)))["type"]
    assert kind == "rollout.step"
    refused = json.loads(webhook_body(sent(replace(EVENT, to="quarantined"))))["type"]
    assert refused == "message.quarantined"
