"""What each page of the dashboard shows, from what is stored. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from console.course import comparison_rows
from console.dashboard.chart import Chart, draw, spans_of
from console.views import (
    EntryView,
    OverviewView,
    QuarantineView,
    ReleaseView,
    StatusView,
    Urgency,
    is_over,
    status_view,
    steps_of,
)
from infra.fleet.stored_plan import RolloutPlan
from rollout.gates.record import GateRecord
from rollout.intents import pending_release
from rollout.model import Baking, Release, Retiring, RollingBack, Stepping
from rollout.policy.freeze import Freeze, frozen
from rollout.policy.policy import Policy
from rollout.spec.steps import ApproveStep
from rollout.state import ModelState

MODELS_A_PAGE = 50
RECORDS_A_PAGE = 50
MOST_QUERY = 100
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DEAD_LETTERS = "model-releases-dead-kept"  # the subscription that deploy/bootstrap.sh makes
T = TypeVar("T")


# ---- Parts


@dataclass(frozen=True)
class Command:
    """A command to copy, and what it does."""

    what: str
    text: str


def commands(project: str) -> Callable[..., str]:
    """Writes commands for a shell. `project`: empty if the command finds it by itself."""
    suffix = ["--project", project] if project else []
    return lambda *words: shlex.join(("slipway", *words, *suffix))


@dataclass(frozen=True)
class Slice:
    """Some of many rows: the page `number` of `count`, from 1. `total`: how many rows there are."""

    number: int
    count: int
    total: int


def place_text(value: int | datetime, key: str) -> str:
    """A place in a list of the newest, in an address: `7.v7`."""
    if isinstance(value, datetime):
        value = (value - EPOCH) // timedelta(microseconds=1)
    return f"{value}.{key}"


def moment_of(microseconds: int) -> datetime:
    """The opposite of what `place_text` does with a datetime."""
    return EPOCH + timedelta(microseconds=microseconds)


def slice_of(rows: Sequence[T], number: int, size: int) -> tuple[tuple[T, ...], Slice]:
    count = max(1, -(-len(rows) // size))
    number = min(max(1, number), count)
    return tuple(rows[(number - 1) * size : number * size]), Slice(number, count, len(rows))


# ---- Models


@dataclass(frozen=True)
class ModelsPage:
    """`counts`: of all models, whatever is searched for. `at`: when they were read, `age` seconds
    ago; `problem`: why not since.
    """

    rows: tuple[OverviewView, ...]
    slice: Slice
    query: str
    counts: Mapping[Urgency, int]
    at: datetime
    age: float
    problem: str


def models_page(
    found: Iterable[OverviewView],
    query: str,
    number: int,
    at: datetime = EPOCH,
    age: float = 0.0,
    problem: str = "",
) -> ModelsPage:
    """Those first that need attention. The query is a part of any column."""
    models = sorted(found, key=lambda each: each.key)
    query = query.strip()[:MOST_QUERY]
    matching = [each for each in models if _matches(each, query.casefold())]
    rows, part = slice_of(matching, number, MODELS_A_PAGE)
    counts: dict[Urgency, int] = {"attention": 0, "under way": 0, "settled": 0}
    for each in models:
        counts[each.urgency] += 1
    return ModelsPage(rows, part, query, counts, at, age, problem)


def _matches(row: OverviewView, query: str) -> bool:
    texts = (row.model, row.stable, row.coming, row.phase, row.waiting_for, row.urgency)
    return not query or any(query in text.casefold() for text in texts)


# ---- A model


@dataclass(frozen=True)
class GateEvidence:
    """A gate's verdict with the numbers that it came from. `candidate`, `baseline`: bad of all
    requests in this step. `evidence` reaches `threshold` for a verdict.
    """

    gate: str
    verdict: str
    why: str
    step: int
    until: datetime | None
    candidate: str
    baseline: str
    evidence: float | None
    threshold: float | None


@dataclass(frozen=True)
class ModelPage:
    """`older`: the entry before which the log goes on, empty if it does not; `is_older`: that the
    page does not show the newest entries. `log`: newest first. `plan`: of a release that has not
    begun; `comparison`: what was predicted of the rollout, and what it took until now.
    """

    model: str
    view: StatusView
    urgency: Urgency
    gates: tuple[GateEvidence, ...]
    chart: Chart | None
    releases: tuple[ReleaseRow, ...]
    log: tuple[EntryView, ...]
    older: str
    is_older: bool
    commands: tuple[Command, ...]
    now: datetime
    plan: RolloutPlan | None
    comparison: tuple[tuple[str, str, str], ...]


def model_page(
    state: ModelState,
    urgency: Urgency,
    entries: Sequence[EntryView],
    releases: tuple[ReleaseView, ...],
    specs: Mapping[str, Release],
    project: str,
    now: datetime,
    *,
    rows: int,
    is_older: bool = False,
    plan: RolloutPlan | None = None,
) -> ModelPage:
    """`entries`: the last ones, oldest first. `specs`: the releases that they name, as far as they
    can be read. At most `rows` of the log and of the releases are displayed.
    """
    displayed = entries[-rows:]
    is_first = not entries or (entries[0].from_ == "published" and _revision(entries[0].id) <= 1)
    until = now if not is_older or not entries else entries[-1].at
    present = state.counts.releases if state.counts else ()
    counts = () if is_older else present
    spans = spans_of(entries, specs, _stable_before(state, entries, is_first), until, counts)
    return ModelPage(
        model=state.desired.model,
        view=status_view(state),
        urgency=urgency,
        gates=tuple(map(_gate, state.rollout.gates)),
        chart=draw(spans),
        releases=release_rows(state.desired.model, releases[:rows], project),
        log=tuple(reversed(displayed)),
        older="" if is_first and len(displayed) == len(entries) else displayed[0].id,
        is_older=is_older,
        commands=_commands(state, project),
        now=now,
        plan=plan,
        comparison=_comparison(state, releases),
    )


def _comparison(
    state: ModelState, releases: Iterable[ReleaseView]
) -> tuple[tuple[str, str, str], ...]:
    """Of the rollout under way, or else of the release that serves."""
    about = state.rollout.candidate or state.rollout.stable
    found = (each.course for each in releases if about and each.version == about.version)
    course = next(found, None)
    return tuple(comparison_rows(course)) if course and course.actual else ()


def _revision(entry_id: str) -> int:
    number = entry_id.partition("-")[0]
    return int(number) if number.isdecimal() else 0


def _stable_before(state: ModelState, entries: Iterable[EntryView], is_first: bool) -> str | None:
    if is_first:
        return ""
    if any(each.outcome in ("succeeded", "retired") for each in entries):
        return None
    return state.rollout.stable.version if state.rollout.stable else ""


def _gate(record: GateRecord) -> GateEvidence:
    tally = record.tally
    return GateEvidence(
        gate=record.gate,
        verdict=record.verdict,
        why=record.why,
        step=record.step + 1,
        until=record.evaluated_until,
        candidate=_part(tally.candidate_bad, tally.candidate_total),
        baseline=_part(tally.baseline_bad, tally.baseline_total),
        evidence=record.evidence,
        threshold=record.threshold,
    )


def _part(bad: float, total: float) -> str:
    return f"{bad:.0f} of {total:.0f}" if total else ""


def _commands(state: ModelState, project: str) -> tuple[Command, ...]:
    """What a person may want to do now."""
    model, rollout, write = state.desired.model, state.rollout, commands(project)
    found = [Command("follow it", write("status", model, "--watch"))]
    found.append(Command("explain it", write("why", model)))
    found.append(Command("plan a release", write("plan", "release.json")))
    if state.hold:
        found.append(Command("go on", write("resume", model)))
    if is_over(state):
        if rollout.previous:
            back = write("rollback", model, "--version", rollout.previous.version)
            found.append(Command("roll back", back))
        return tuple(found)
    phase, steps, candidate = rollout.phase, steps_of(rollout), rollout.candidate
    if isinstance(phase, RollingBack | Retiring) and not pending_release(rollout, state.desired):
        return tuple(found)
    is_paused = bool(rollout.paused or state.desired.paused)
    verb, what = ("resume", "go on") if is_paused else ("pause", "stop where it is")
    found.append(Command(what, write(verb, model)))
    if candidate and isinstance(phase, Stepping | Baking):
        step = (
            steps[phase.step] if isinstance(phase, Stepping) and phase.step < len(steps) else None
        )
        if isinstance(step, ApproveStep):
            about = ("--version", candidate.version, "--topic", step.approve.by)
            for verb in ("approve", "reject"):
                text = write(verb, model, *about)
                found.append(Command(f"{verb} release {candidate.version}", text))
        else:
            found.append(Command("end the step or the bake", write("promote", model)))
        found.append(Command("give the candidate up", write("abort", model)))
    return tuple(found)


# ---- Releases


@dataclass(frozen=True)
class ReleaseRow:
    release: ReleaseView
    command: str


@dataclass(frozen=True)
class ReleasesPage:
    """`older`: the place at which the list goes on; empty if it does not."""

    model: str
    rows: tuple[ReleaseRow, ...]
    older: str
    is_older: bool


def releases_page(
    model: str, found: Sequence[ReleaseView], project: str, *, is_older: bool
) -> ReleasesPage:
    """`found`: newest first, with one more than a page has if there is one."""
    rows = found[:RECORDS_A_PAGE]
    older = place_text(rows[-1].generation, rows[-1].version) if len(found) > len(rows) else ""
    return ReleasesPage(model, release_rows(model, rows, project), older, is_older)


def release_rows(model: str, found: Iterable[ReleaseView], project: str) -> tuple[ReleaseRow, ...]:
    write = commands(project)
    return tuple(
        ReleaseRow(
            each, write("rollback", model, "--version", each.version) if each.rollback else ""
        )
        for each in found
    )


# ---- Refused messages


@dataclass(frozen=True)
class QuarantinePage:
    """`unsent`: how many messages of each topic are not published yet. `command`: reads dead
    letters; empty for a local stack. `older`: the place at which the list goes on.
    """

    rows: tuple[QuarantineView, ...]
    older: str
    is_older: bool
    unsent: Mapping[str, int]
    command: str


def quarantine_page(
    found: Sequence[QuarantineView], unsent: Mapping[str, int], project: str, *, is_older: bool
) -> QuarantinePage:
    """`found`: newest first, with one more than a page has if there is one."""
    rows = tuple(found[:RECORDS_A_PAGE])
    older = place_text(rows[-1].at, rows[-1].id) if len(found) > len(rows) else ""
    pull = ("gcloud", "pubsub", "subscriptions", "pull", DEAD_LETTERS, "--limit=10", "--project")
    command = shlex.join((*pull, project)) if project else ""
    return QuarantinePage(rows, older, is_older, unsent, command)


# ---- Policy


@dataclass(frozen=True)
class FreezeView:
    reason: str
    begins: str
    ends: str
    timezone: str
    stops: str
    is_now: bool


@dataclass(frozen=True)
class PolicyPage:
    """`problem`: why the stored policy cannot be read. `is_stored`: whether there is one. `more`:
    how many windows there are beside `freezes`, of which the open ones are first.
    """

    caps: tuple[tuple[str, str], ...] = ()
    freezes: tuple[FreezeView, ...] = ()
    frozen: str = ""
    problem: str = ""
    is_stored: bool = True
    more: int = 0

    def shortened(self, rows: int) -> PolicyPage:
        return replace(self, freezes=self.freezes[:rows], more=max(0, len(self.freezes) - rows))


_EMPTY = {
    **dict.fromkeys(
        (
            "registries",
            "gate_hosts",
            "service_accounts",
            "networks",
            "exposure",
            "hosts",
            "tags",
            "secrets",
            "gateways",
            "reservations",
        ),
        "none",
    ),
    "boot_images": "Slipway's own",
    "signers": "no signature is needed",
    "approvers": "topics alone",
}
"""What an empty list means; of every other field, that anything is allowed."""
_ELSEWHERE = ("freezes", "stop", "prices", "is_signed", "project")


def policy_page(policy: Policy, now: datetime, *, is_stored: bool) -> PolicyPage:
    """Every field of the policy, so that a new one is displayed as well."""
    names = [each.name for each in fields(policy) if each.name not in _ELSEWHERE]
    present = frozen(policy.freezes, now)
    freezes = [_freeze(each, now) for each in policy.freezes]
    return PolicyPage(
        caps=tuple((name, _limit(name, getattr(policy, name))) for name in names),
        freezes=tuple(sorted(freezes, key=lambda each: not each.is_now)),
        frozen=present.why if present else "",
        is_stored=is_stored,
    )


def _limit(name: str, value: Any) -> str:
    match value:
        case None:
            return "no limit"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:g}"
        case _ if not value:
            return _EMPTY.get(name, "any")
        case _ if name == "signers":
            return f"{len(value)} keys"  # in PEM form, which nobody can tell apart
        case Mapping() | tuple() | frozenset():
            return ", ".join(map(str, value))
    return str(value)


def _freeze(freeze: Freeze, now: datetime) -> FreezeView:
    pattern = "%a %H:%M" if freeze.is_weekly else "%Y-%m-%d %H:%M"
    return FreezeView(
        reason=freeze.reason,
        begins=f"{freeze.begins:{pattern}}",
        ends=f"{freeze.ends:{pattern}}",
        timezone=freeze.timezone,
        stops="rollouts and rollbacks" if freeze.rollbacks else "rollouts",
        is_now=frozen([freeze], now) is not None,
    )
