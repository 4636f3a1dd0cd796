"""Parses messages on `model-releases` (model-release events and commands) and resolves the spec of
a release.

Called by `handlers/release.py`: `decode_json`, `parse`, and for a release `resolve`. Each raises
`Invalid`, with all problems it finds, and no other exception. An event may leave out most of a
spec: `parse` validates what it contains, `resolve` the whole spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from typing import Any, Literal, TypeVar

from rollout.deferred import dataclass
from rollout.spec import types
from rollout.spec.defaults import COMPUTE_DEFAULTS, ProjectDefaults, fill_defaults, inheritable
from rollout.spec.merge import merge, without_nulls
from rollout.spec.model import RolloutSpec, Sections, Spec
from rollout.spec.problems import Invalid, SpecProblem, redact
from rollout.spec.rule_context import RuleContext, gives
from rollout.spec.rules import check_rules
from rollout.spec.section import Field, Section
from rollout.spec.strict_json import decode_json
from rollout.spec.validation import freeze, misplaced_nulls, validate
from rollout.visible import escape

__all__ = [
    "CommandGiven",
    "Invalid",
    "ReleaseRequested",
    "SpecProblem",
    "decode_json",
    "inherited_note",
    "not_inherited",
    "parse",
    "resolve",
]

Verb = Literal[
    "approve", "reject", "promote", "pause", "resume", "abort", "rollback", "retry", "retire"
]
Message = TypeVar("Message", bound=Section)


class ReleaseMessage(Sections):
    """A model-release event. A field that it leaves out is inherited from a release before it, or
    has its default.
    """

    model: types.ModelName = Field(description="Which model")
    version: types.Version = Field(
        description="The release's version; never reused for different content"
    )
    base: types.Version | None = Field(
        default=None,
        description=(
            "The release from which fields that the event leaves out are inherited (default:"
            " the newest one that has not failed, been aborted or been paused after a failure)"
        ),
    )
    plan: types.PlanHash | None = Field(
        default=None,
        description=(
            "The hash of a plan: the release is refused if what was planned has changed since"
        ),
    )
    force: bool = Field(
        default=False, description="Roll it out even if the same content was rolled back before"
    )
    requested_by: types.Line = Field(default="", description="Who requested it")
    reason: types.Line = Field(default="", description="Why")


class CommandMessage(Section):
    """A command to an existing model."""

    model: types.ModelName = Field(description="Which model")
    command: Verb = Field(description="What to do")
    version: types.Version | None = Field(
        default=None,
        description=(
            "With `rollback` the version to roll back to (default: the previous one), with `retry`"
            " the one to try again (default: the last that failed); with other commands a"
            " safeguard: the command does nothing unless this release is being rolled out"
        ),
    )
    full: bool = Field(
        default=False,
        description=(
            "With `promote`: end all holds, steps and the bake, up to a step that asks for"
            " approval, and not only the present one"
        ),
    )
    signature: types.Signature | None = Field(
        default=None,
        description=(
            "With `approve` or `reject`: a signature by one of the policy's `approvers`; not needed"
            " on a topic for approvals"
        ),
    )
    requested_by: types.Line = Field(default="", description="Who gave it")
    reason: types.Line = Field(default="", description="Why")


@dataclass(frozen=True)
class ReleaseRequested:
    """A parsed model-release event; `patch` holds its sections unchanged, nulls included.
    `plan`: see `rollout/plan_hash.py`. `is_retry`: a command tries the release with this version
    again; it has no patch.
    """

    model: str
    version: str
    patch: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    requested_by: str = ""
    reason: str = ""
    base: str | None = None
    plan: str = ""
    is_retry: bool = False


@dataclass(frozen=True)
class CommandGiven:
    model: str
    command: Verb
    version: str | None = None
    requested_by: str = ""
    reason: str = ""
    is_full: bool = False
    signature: str = ""


def parse(payload: object) -> ReleaseRequested | CommandGiven:
    """The message in a JSON value. Raises `Invalid` with all problems that can be found without the
    model's current release.
    """
    if not isinstance(payload, dict):
        raise Invalid(
            [SpecProblem("message", "must be a JSON object", redact("artifact.env", payload))]
        )
    fields = freeze(payload)
    return _command(fields) if "command" in payload else _release(payload, fields)


def _release(payload: Mapping[str, Any], fields: Mapping[str, Any]) -> ReleaseRequested:
    patch = {name: value for name, value in payload.items() if name in Sections.model_fields}
    problems = misplaced_nulls(ReleaseMessage, fields)
    fields = without_nulls(fields)
    found = validate(ReleaseMessage, fields, partial=True)
    problems += found.problems
    # Validated again without the message's own fields, so that an invalid version does not hide
    # problems of the spec.
    given = {name: fields[name] for name in patch if name in fields}
    sections = validate(Sections, given, partial=True)
    if sections.value:
        problems += check_rules(
            RuleContext(sections.value, patch, whole=False, removed=sections.removed)
        )
    if found.value is None or problems:
        raise Invalid(problems)
    message = found.value
    return ReleaseRequested(
        message.model,
        message.version,
        patch,
        message.force,
        escape(message.requested_by),
        escape(message.reason),
        message.base,
        message.plan or "",
    )


def _command(fields: Mapping[str, Any]) -> CommandGiven:
    found = validate(CommandMessage, without_nulls(fields), partial=True)
    problems, message = misplaced_nulls(CommandMessage, fields) + found.problems, found.value
    if message and message.version and message.command == "retire":
        problems += (
            SpecProblem(
                "version", "must be left out: retire applies to the model with all its releases"
            ),
        )
    if message and message.full and message.command != "promote":
        problems += (SpecProblem("full", "must be left out: only promote can be full"),)
    if message and message.signature and message.command not in ("approve", "reject"):
        problems += (
            SpecProblem("signature", "must be left out: only approve and reject are signed"),
        )
    if message is None or problems:
        raise Invalid(problems)
    return CommandGiven(
        message.model,
        message.command,
        message.version,
        escape(message.requested_by),
        escape(message.reason),
        message.full,
        message.signature or "",
    )


def resolve(
    request: ReleaseRequested,
    base: Spec | None,
    base_version: str = "",
    *,
    has_metrics: bool = False,
    of_project: ProjectDefaults = COMPUTE_DEFAULTS,
) -> Spec:
    """The whole spec of a release: the event's sections over the base's (JSON Merge Patch), then
    the defaults. Raises `Invalid`, which says what of it is inherited from `base_version`.

    Without a base (the model is new or retired) nothing is inherited. `has_metrics`: whether
    requests can be counted, which a default depends on; so do others on `of_project`.
    """
    patch = freeze(request.patch)
    merged = _merge(patch, base)
    found = validate(Sections, merged, partial=False)
    problems = found.problems
    if found.value:
        problems += check_rules(RuleContext(found.value, patch, whole=True, removed=found.removed))
    if found.value is None or problems:
        notes = (inherited_note(request.patch, each.path, base, base_version) for each in problems)
        raise Invalid(
            replace(each, allowed=each.allowed + note)
            for each, note in zip(problems, notes, strict=True)
        )
    return fill_defaults(found.value, request.model, has_metrics=has_metrics, of_project=of_project)


def inherited_note(
    patch: Mapping[str, Any], path: str, base: Spec | None, base_version: str
) -> str:
    """What to add to a problem with the field at `path`: that its value, or others, are inherited,
    and how to reset them. Empty without a base.
    """
    path = path.partition("[")[0]
    if base is None or path.partition(".")[0] not in Sections.model_fields:
        return ""
    if gives(inheritable(base), path) and not gives(patch, path):
        return f" (inherited from release {base_version}; give a value, or null for the default)"
    return f" (what the event leaves out is inherited from release {base_version})"


def not_inherited(patch: Mapping[str, Any], base: Spec | None) -> tuple[str, ...]:
    """The fields of `rollout` that an event with another strategy than its base does not inherit,
    as they do not fit that strategy: without a value of its own it gets the strategy's default.
    """
    given = patch.get("rollout")
    if base is None or not isinstance(given, Mapping) or "strategy" not in given:
        return ()
    strategy = given["strategy"] or RolloutSpec().strategy
    if strategy == base.rollout.strategy:
        return ()
    misfits = ["steps"] if strategy != "rolling" else ["steps", "keep_old_seconds"]
    if base.rollout.capacity == "replace_in_place":
        misfits.append("capacity")
    inherited = inheritable(base)["rollout"]
    return tuple(f"rollout.{name}" for name in misfits if name in inherited and name not in given)


def _merge(patch: Mapping[str, Any], base: Spec | None) -> dict[str, Any]:
    """The patch merged into what the base passes on. A release that is not exposed inherits nothing
    of `traffic`: the fields have no meaning for it.
    """
    inherited = freeze(inheritable(base)) if base else {}
    for path in not_inherited(patch, base):
        section, field = path.split(".")
        del inherited[section][field]
    merged: dict[str, Any] = merge(inherited, patch)
    traffic = merged.get("traffic")
    if isinstance(traffic, dict) and traffic.get("exposure") == "none":
        given = without_nulls(patch).get("traffic", {})
        merged["traffic"] = {"exposure": "none"} | (given if isinstance(given, dict) else {})
    return merged
