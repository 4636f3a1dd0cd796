"""What arrives on `model-releases`: a model-release event or a command, checked; and the spec that
an event resolves to.

Called by `handlers/release.py`: `decode_json`, `parse`, and for a release `resolve`. Each raises
`Invalid` with everything that is wrong, and nothing else. An event may leave out most of a spec, so
`parse` judges what it says, `resolve` the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import Field

from rollout.spec import types
from rollout.spec.defaults import fill_defaults, inheritable
from rollout.spec.merge import merge, without_nulls
from rollout.spec.model import Section, Sections, Spec
from rollout.spec.problems import Invalid, SpecProblem, redact
from rollout.spec.rules import RuleContext, check_rules
from rollout.spec.strict_json import decode_json
from rollout.spec.validation import freeze, misplaced_nulls, validate

__all__ = [
    "CommandGiven",
    "Invalid",
    "ReleaseRequested",
    "SpecProblem",
    "decode_json",
    "parse",
    "resolve",
]

Verb = Literal["pause", "resume", "promote", "abort", "rollback", "retire"]
Message = TypeVar("Message", bound=Section)


class ReleaseMessage(Sections):
    """A model-release event. What it leaves out is inherited from the model's current release, or
    has its default."""

    model: types.ModelName = Field(description="Which model")
    version: types.Version = Field(
        description="The release's version, given once and never again for other content"
    )
    force: bool = Field(
        default=False, description="Roll it out even if the same content went back before"
    )
    requested_by: types.Line = Field(default="", description="Who asked for it")
    reason: types.Line = Field(default="", description="Why")


class CommandMessage(Section):
    """A command to a model that is there already."""

    model: types.ModelName = Field(description="Which model")
    command: Verb = Field(description="What to do")
    version: types.Version | None = Field(
        default=None,
        description=(
            "With `rollback` the version to go back to, else the one before; with the others a"
            " safeguard: the command changes nothing unless this release is on its way"
        ),
    )
    requested_by: types.Line = Field(default="", description="Who gave it")
    reason: types.Line = Field(default="", description="Why")


@dataclass(frozen=True)
class ReleaseRequested:
    """`patch` holds the sections as the event gave them, nulls included."""

    model: str
    version: str
    patch: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    requested_by: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CommandGiven:
    model: str
    command: Verb
    version: str | None = None
    requested_by: str = ""
    reason: str = ""


def parse(payload: object) -> ReleaseRequested | CommandGiven:
    """The message in a JSON value. Raises `Invalid` with all problems that can be seen without the
    model's current release."""
    if not isinstance(payload, dict):
        raise Invalid(
            [SpecProblem("message", "must be a JSON object", redact("artifact.env", payload))]
        )
    said = freeze(payload)
    return _command(said) if "command" in payload else _release(payload, said)


def _release(payload: Mapping[str, Any], said: Mapping[str, Any]) -> ReleaseRequested:
    patch = {name: value for name, value in payload.items() if name in Sections.model_fields}
    problems = misplaced_nulls(ReleaseMessage, said)
    said = without_nulls(said)
    found = validate(ReleaseMessage, said, partial=True)
    problems += found.problems
    # Judged without the message's other fields, so that a bad version hides nothing about the spec.
    sound = validate(Sections, {name: said[name] for name in patch if name in said}, partial=True)
    if sound.value:
        problems += check_rules(RuleContext(sound.value, patch, whole=False, broken=sound.broken))
    if found.value is None or problems:
        raise Invalid(problems)
    message = found.value
    return ReleaseRequested(
        message.model, message.version, patch, message.force, message.requested_by, message.reason
    )


def _command(said: Mapping[str, Any]) -> CommandGiven:
    found = validate(CommandMessage, without_nulls(said), partial=True)
    problems, message = misplaced_nulls(CommandMessage, said) + found.problems, found.value
    if message and message.version and message.command == "retire":
        problems += (
            SpecProblem(
                "version", "must be left out: retire is about the model, with all its releases"
            ),
        )
    if message is None or problems:
        raise Invalid(problems)
    return CommandGiven(
        message.model, message.command, message.version, message.requested_by, message.reason
    )


def resolve(request: ReleaseRequested, base: Spec | None) -> Spec:
    """The whole spec of a release: the event's sections over the base's (JSON Merge Patch), then
    the defaults. Raises `Invalid`.

    Without a base there is nothing to inherit: the model is new, or retired.
    """
    patch = freeze(request.patch)
    found = validate(Sections, _merged(patch, base), partial=False)
    problems = found.problems
    if found.value:
        problems += check_rules(RuleContext(found.value, patch, whole=True, broken=found.broken))
    if found.value is None or problems:
        raise Invalid(problems)
    return fill_defaults(found.value, request.model)


def _merged(patch: Mapping[str, Any], base: Spec | None) -> dict[str, Any]:
    """Of an inherited `traffic`, a release that is not exposed keeps nothing: the fields mean
    nothing to it."""
    inherited = freeze(inheritable(base)) if base else {}
    merged: dict[str, Any] = merge(inherited, patch)
    traffic = merged.get("traffic")
    if isinstance(traffic, dict) and traffic.get("exposure") == "none":
        said = without_nulls(patch).get("traffic", {})
        merged["traffic"] = {"exposure": "none"} | (said if isinstance(said, dict) else {})
    return merged
