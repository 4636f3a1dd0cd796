"""A model's instances and requests by release over time. Pure.

The log says when a rollout came to which phase, and what was counted then. An entry of an earlier
Slipway has no counts: then the picture has what the phase asks for, by the strategies' own code, at
the least size of the group. A settled time longer than `SETTLED_PART` of all rollouts in
the picture is cut short, so that rollouts of minutes can be seen between days of rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from console.text import moment, span
from console.views import EntryView
from rollout.counts import ReleaseCount
from rollout.model import FULL_WEIGHT, FleetTarget, Observed, Release, Stepping
from rollout.spec.steps import Step, WeightStep
from rollout.strategies import strategy_of
from rollout.strategies.base import FIRST_GROUP, Swap

WIDTH, LEFT, RIGHT = 960.0, 64.0, 950.0
INSTANCES, REQUESTS, STRIP, GAP = 120.0, 70.0, 22.0, 18.0
SETTLED_PART = 0.15
LEAST_SETTLED = timedelta(minutes=1)
LETTER = 6.6
COLOURS = 5
MOST_ROLLOUTS = 6


@dataclass(frozen=True)
class Span:
    """What there was from `began` to `ended`, if `is_counted`, else what was asked for. `phase` is
    "settled" between rollouts. `requests`: percent by version; empty if the model is not exposed.
    """

    release: str
    phase: str
    began: datetime
    ended: datetime
    instances: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[str, float] = field(default_factory=dict)
    is_counted: bool = False


@dataclass(frozen=True)
class Box:
    """`colour`: which of the colours of releases. `is_pale`: a release that leaves."""

    x: float
    y: float
    width: float
    height: float
    colour: int
    title: str
    is_pale: bool = False


@dataclass(frozen=True)
class Label:
    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Line:
    y: float


@dataclass(frozen=True)
class Chart:
    width: float
    height: float
    boxes: tuple[Box, ...]
    labels: tuple[Label, ...]
    lines: tuple[Line, ...]
    legend: tuple[tuple[str, int], ...]
    spans: tuple[Span, ...]
    is_counted: bool


# ---- What there was


def spans_of(
    entries: Iterable[EntryView],
    releases: Mapping[str, Release],
    stable: str | None,
    now: datetime,
    counts: Sequence[ReleaseCount] = (),
) -> tuple[Span, ...]:
    """The phases in the log. `stable`: the version that served before the first entry; empty if
    nothing did, None if it is not known: then nothing is drawn until a release succeeds. `counts`:
    what is there now. Each phase has what was counted when it ended, or else what it asked for.
    """
    found: list[Span] = []
    changes = [*_changes(entries)]
    ends = [*(each.at for each in changes[1:]), now][: len(changes)]
    counted = [*(each.counts for each in changes[1:]), tuple(counts)][: len(changes)]
    for change, ended, found_then in zip(changes, ends, counted, strict=True):
        if change.outcome == "succeeded":
            stable = change.release
        elif change.outcome == "retired":
            stable = ""
        if stable is None or ended <= change.at:
            continue
        phase = "settled" if change.outcome else change.to
        release = stable if change.outcome else change.release
        fleet = _target(phase, releases.get(stable), releases.get(release))
        if fleet is None or (stable and stable not in releases):
            continue
        numbers = _counted(found_then) if found_then else _by_version(fleet)
        found.append(Span(release, phase, change.at, ended, *numbers, bool(found_then)))
    return _last_rollouts(found)


def _counted(counts: Sequence[ReleaseCount]) -> tuple[dict[str, int], dict[str, float]]:
    instances = {each.release: each.all for each in counts if each.all}
    return instances, {each.release: each.per_mille / 10 for each in counts if each.per_mille}


def _changes(entries: Iterable[EntryView]) -> Iterator[EntryView]:
    """The entries that begin or end a phase of the rollout in progress."""
    candidate = ""
    for each in entries:
        begins = each.to.startswith("step_") or each.to in ("baking", "rolling_back", "retiring")
        if each.outcome:
            if each.release == candidate or each.outcome in ("succeeded", "retired"):
                candidate = ""
                yield each
        elif begins and each.from_ != each.to:
            candidate = each.release
            yield each


def _target(phase: str, stable: Release | None, release: Release | None) -> FleetTarget | None:
    """What the phase asks for; None if the release's record cannot be read."""
    if phase == "retiring" or (phase == "settled" and release is None):
        return FleetTarget()
    if release is None:
        return None
    strategy = strategy_of(release)
    if phase == "settled":
        return strategy.steady_target(release, FIRST_GROUP)
    swap = Swap(stable, release, FIRST_GROUP if stable else None)
    nothing = Observed()
    if phase == "rolling_back":
        return strategy.rollback_target(swap, nothing, in_place=False)
    steps = strategy.steps(swap)
    number = len(steps) if phase == "baking" else int(phase.removeprefix("step_"))
    step = max(0, min(number, len(steps)) - 1)
    weight = FULL_WEIGHT if phase == "baking" else _weight(steps[: step + 1])
    at = Stepping(step, release.released_at, weight, granted=step + 1)
    return strategy.target(swap, at, nothing)


def _weight(steps: Sequence[Step]) -> int:
    return max((each.per_mille for each in steps if isinstance(each, WeightStep)), default=0)


def _by_version(fleet: FleetTarget) -> tuple[dict[str, int], dict[str, float]]:
    """Instances and percent of the requests. Those to a group with two releases are split as its
    instances are.
    """
    instances: dict[str, int] = {}
    requests: dict[str, float] = {}
    weights = {each.colour: each.weight for each in fleet.traffic.weights} if fleet.traffic else {}
    for group in fleet.groups:
        counted = sum(each.count or 0 for each in group.shares)
        for share in group.shares:
            count = max(0, group.min - counted) if share.count is None else share.count
            version = share.release.version
            instances[version] = instances.get(version, 0) + count
            part = count / group.min if group.min else 1 / len(group.shares)
            percent = 100 * weights.get(group.colour, 0) / FULL_WEIGHT * part
            if percent:
                requests[version] = requests.get(version, 0) + percent
    return instances, requests


def _last_rollouts(spans: list[Span]) -> tuple[Span, ...]:
    begins = [
        index
        for index, each in enumerate(spans)
        if each.phase != "settled" and (not index or spans[index - 1].phase == "settled")
    ]
    first = begins[-MOST_ROLLOUTS] if len(begins) > MOST_ROLLOUTS else 0
    return tuple(spans[first:])


# ---- The picture


def draw(spans: Sequence[Span]) -> Chart | None:
    """None if there is nothing to draw."""
    if not spans:
        return None
    versions = [
        *dict.fromkeys(
            name for each in spans for name in (each.release, *each.instances, *each.requests)
        )
    ]
    colours = {name: index % COLOURS for index, name in enumerate(filter(None, versions))}
    edges = _edges(spans)
    top = GAP
    low = top + INSTANCES + GAP
    has_requests = any(each.requests for each in spans)
    strip = low + (REQUESTS + GAP if has_requests else 0)
    most = max(1, *(sum(each.instances.values()) for each in spans))
    boxes = [*_stack(spans, edges, colours, top, INSTANCES / most, "instances")]
    if has_requests:
        boxes += _stack(spans, edges, colours, low, REQUESTS / 100, "requests")
    boxes += _strip(spans, edges, colours, strip)
    labels = [*_scale(top, INSTANCES, str(most), "instances")]
    if has_requests:
        labels += _scale(low, REQUESTS, "100 %", "requests")
    labels += _names(spans, edges, strip)
    labels += _times(spans, edges, strip + STRIP + 16)
    bottoms = [top + INSTANCES, *([low + REQUESTS] if has_requests else [])]
    return Chart(
        width=WIDTH,
        height=strip + STRIP + 24,
        boxes=tuple(boxes),
        labels=tuple(labels),
        lines=tuple(map(Line, bottoms)),
        legend=tuple(colours.items()),
        spans=tuple(spans),
        is_counted=all(each.is_counted for each in spans),
    )


def _edges(spans: Sequence[Span]) -> list[float]:
    """Where each span begins, and the last one ends."""
    active = sum(((e.ended - e.began) for e in spans if e.phase != "settled"), timedelta(0))
    most = max(SETTLED_PART * active, LEAST_SETTLED)
    lengths = [
        min(each.ended - each.began, most) if each.phase == "settled" else each.ended - each.began
        for each in spans
    ]
    total = sum(lengths, timedelta(0)) or LEAST_SETTLED
    edges, passed = [LEFT], timedelta(0)
    for length in lengths:
        passed += length
        edges.append(LEFT + (RIGHT - LEFT) * (passed / total))
    return edges


def _stack(
    spans: Sequence[Span],
    edges: Sequence[float],
    colours: Mapping[str, int],
    top: float,
    scale: float,
    what: str,
) -> Iterator[Box]:
    """A stepped area for each release, the stable one at the bottom."""
    height = INSTANCES if what == "instances" else REQUESTS
    for number, each in enumerate(spans):
        values = each.instances if what == "instances" else each.requests
        y = top + height
        for version, value in values.items():
            y -= value * scale
            unit = f"{value:g} instances" if what == "instances" else f"{value:.3g} % of requests"
            title = f"{unit} for release {version}: {_phase(each)} from {moment(each.began)}"
            width = edges[number + 1] - edges[number]
            box = Box(edges[number], y, width, value * scale, colours[version], title)
            if value:
                yield box


def _strip(
    spans: Sequence[Span], edges: Sequence[float], colours: Mapping[str, int], y: float
) -> Iterator[Box]:
    for number, each in enumerate(spans):
        if each.release:
            title = f"release {each.release}: {_phase(each)} for {span(each.ended - each.began)}"
            width = max(1.0, edges[number + 1] - edges[number] - 1)
            is_pale = each.phase in ("rolling_back", "retiring")
            yield Box(edges[number], y, width, STRIP, colours[each.release], title, is_pale)


def _names(spans: Sequence[Span], edges: Sequence[float], y: float) -> Iterator[Label]:
    """What each span is, if there is room for it."""
    for number, each in enumerate(spans):
        room = edges[number + 1] - edges[number]
        texts = (f"{each.release} {_phase(each)}", each.release)
        text = next((text for text in texts if text and len(text) * LETTER + 6 <= room), "")
        if text:
            yield Label(edges[number] + room / 2, y + STRIP / 2 + 4, text, "middle")


def _scale(top: float, height: float, most: str, what: str) -> Iterator[Label]:
    yield Label(LEFT - 6, top + 10, most, "end")
    yield Label(LEFT - 6, top + height, "0", "end")
    yield Label(LEFT, top - 5, what)


def _times(spans: Sequence[Span], edges: Sequence[float], y: float) -> Iterator[Label]:
    """When rollouts began, as far as there is room, and the end."""
    last = f"{spans[-1].ended:%m-%d %H:%M}Z"
    end = RIGHT - len(last) * LETTER - 8
    free = 0.0
    for number, each in enumerate(spans):
        text = f"{each.began:%m-%d %H:%M}Z"
        begins = number == 0 or spans[number - 1].phase == "settled" != each.phase
        if begins and edges[number] >= free and edges[number] + len(text) * LETTER <= end:
            yield Label(edges[number], y, text)
            free = edges[number] + len(text) * LETTER + 10
    yield Label(RIGHT, y, last, "end")


def _phase(each: Span) -> str:
    return each.phase.replace("_", " ")
