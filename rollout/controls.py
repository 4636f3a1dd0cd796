"""What a command needs before it joins the line of intents: whether it may at all, and which
release a retry is about. Pure.

Called by the intake. Everything else about a command is decided when it has joined the line, by
`rollout/accept.py`. `docs/controls.md` shows what each command does in each state; it is generated
from these functions and checked against them, cell by cell.
"""

from __future__ import annotations

from rollout.intents import pending_release, release_in_progress
from rollout.model import RollingBack, Verb
from rollout.state import ModelState


def refusal(state: ModelState, verb: Verb, version: str = "") -> str:
    """Why the command is refused in this state; empty if it is not."""
    model, rollout = state.desired.model, state.rollout
    if state.hold and verb != "resume":
        return (
            f"{model} is on hold since its store was restored, and nothing of it is changed until"
            " you send resume"
        )
    if verb != "retry" or is_about_candidate(state, version):
        return ""
    named, ending = version or rollout.last_failed, rollout.candidate
    if not named:
        return f"retry: no release of {model} has failed; name one that did"
    if isinstance(rollout.phase, RollingBack) and ending and ending.version == named:
        return f"retry: release {named} is being rolled back; try it again after that"
    return ""


def is_about_candidate(state: ModelState, version: str) -> bool:
    """Whether a retry is about a release that has not ended, and publishes none again."""
    rollout = state.rollout
    live = (release_in_progress(rollout), pending_release(rollout, state.desired))
    versions = [each.version for each in live if each]
    return version in versions or bool(versions and not version)
