"""A step that asks for approval: given, refused, missing, and given by somebody who may not."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from cloudevents.http import CloudEvent

from handlers import release
from infra.bus.envelope import PUBLISHED
from tests.scenario import APPROVALS, Scenario
from tests.signing import Signer

pytestmark = pytest.mark.wide

ANN = Signer()


def given_an_awaited_approval(by: str = APPROVALS, **approval: Any) -> Scenario:
    """Release 2 has the smallest step of the instances, and goes no further without approval."""
    story = Scenario()
    story.given_serving("1")
    approve = {"approve": {"by": by, "timeout_seconds": 3600} | approval, "hold_seconds": 0}
    story.when_released("2", rollout={"steps": [10, approve, 100]})
    story.when_phase_reached("step_2")
    return story


def last_why(story: Scenario) -> str:
    return str(story.log()[-1]["why"])


def test_an_approved_step_goes_on() -> None:
    story = given_an_awaited_approval()
    story.when_minutes_pass(30)
    assert story.healthy_by_version() == {"1": 2, "2": 1}
    assert "approval by model-approvals is awaited until" in story.state().waiting_for
    story.when_decided("approve", requested_by="ann")
    story.when_decided("approve", requested_by="bob")
    story.when_settled()
    assert (story.outcome("2"), story.healthy_by_version()) == ("succeeded", {"2": 3})
    whys = [entry["why"] for entry in story.log()]
    assert "approved by ann" in whys
    assert any(why.startswith("approve changes nothing: ") for why in whys)


def test_a_rejected_release_is_rolled_back_and_not_tried_again_by_itself() -> None:
    story = given_an_awaited_approval()
    story.when_decided("reject", requested_by="ann", reason="it swears")
    story.when_decided("approve", requested_by="bob")
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "rejected")
    assert (story.why("2"), story.healthy_by_version()) == (
        "rejected by ann: it swears",
        {"1": 3},
    )
    story.when_commanded("retry")
    story.when_phase_reached("step_2")
    story.when_decided("approve")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_without_approval_in_time_the_release_is_rolled_back() -> None:
    story = given_an_awaited_approval()
    story.when_minutes_pass(61)
    story.when_settled()
    assert (story.outcome("2"), story.reason("2")) == ("rolled_back", "timeout")
    assert story.healthy_by_version() == {"1": 3}


@pytest.mark.parametrize("command", ["approve", "resume"])
def test_a_pause_for_want_of_an_approval_ends_with_it_and_resume_asks_again(command: str) -> None:
    story = given_an_awaited_approval(on_timeout="pause")
    story.when_minutes_pass(61)
    assert last_why(story).startswith("approval by model-approvals was awaited until")
    if command == "resume":
        story.when_commanded("resume")
        story.when_minutes_pass(30)
        assert story.state().rollout.paused is None
    story.when_decided("approve")
    story.when_settled()
    assert story.outcome("2") == "succeeded"


def test_only_the_topic_of_the_step_approves_it() -> None:
    story = given_an_awaited_approval()
    for command in ("approve", "reject"):
        story.when_commanded(command)
        assert last_why(story).endswith(
            "asks for approval by model-approvals, and this was neither signed nor published on a"
            " topic for approvals"
        )
    for command in ("promote", "abort"):
        story.when_published({"model": "tiny", "command": command}, APPROVALS)
    assert len(story.quarantine()) == 2
    for full in (False, True):
        story.when_commanded("promote", full=full)
        story.when_minutes_pass(10)
        assert story.healthy_by_version() == {"1": 2, "2": 1}
    other = given_an_awaited_approval(by="security-reviews")
    other.when_decided("approve")
    assert last_why(other).endswith("by security-reviews, and this came by model-approvals")


def test_no_message_makes_itself_an_approval() -> None:
    """The topic that an event of the intake claims to come from vouches for nothing."""
    story = given_an_awaited_approval()
    message = {
        "messageId": "forged",
        "publishTime": story.clock.now().isoformat(),
        "data": b64encode(b'{"model": "tiny", "command": "approve"}').decode(),
        "attributes": {"topic": APPROVALS, "approver": APPROVALS},
    }
    source = f"//pubsub.googleapis.com/projects/demo/topics/{APPROVALS}"
    claimed = CloudEvent({"type": PUBLISHED, "source": source}, {"message": message})
    release.handle(story.world, claimed)
    assert "and this was neither signed nor published on a topic" in last_why(story)


def test_a_signature_approves_one_step_of_one_attempt() -> None:
    story = given_an_awaited_approval(by="ann")
    story.given_policy(approvers={"ann": ANN.public_key})
    for text in ("approve tiny 2 1 step_2", "approve tiny 2 2 step_3", "reject tiny 2 2"):
        story.when_commanded("approve", signature=ANN.signature(text))
        why = story.quarantine()[-1]["why"]
        assert why.startswith("signature: must be one of 'approve tiny 2 2 step_2'")
    story.when_commanded("approve", signature=ANN.signature("approve tiny 2 2 step_2"))
    story.when_settled()
    assert story.outcome("2") == "succeeded"
