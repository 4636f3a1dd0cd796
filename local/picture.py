"""Draws a report as SVG: the instances by release over time, below them each release's share of the
requests if the scenario promises shares, and the phases of each release. Pure.

    instances ┤ a stacked, stepped area: solid for healthy instances, striped for the others
              └────────────────────────────────────────────────
    requests  ┤ a stacked, stepped area from 0 to 100 %
    release 1 ▐ step 1 ▌ bake ▐ succeeded
    release 2              ▐ 1 ▌ 2 ▐ 3 ▌ bake ▐ succeeded

The right margin leaves room for the last outcome, so that each outcome follows its own bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape

from local.report import Phase, Report, Sample, Story, floor_since

WIDTH, LEFT, MARGIN = 1000.0, 96.0, 24.0
TOP, AREA, LANE, LANE_GAP = 92.0, 250.0, 26.0, 10.0
SHARES_GAP, SHARES = 26.0, 84.0
INK, QUIET, LINE, PAPER = "#1f2933", "#66727f", "#e3e7eb", "#ffffff"
COLOURS = ("#4c78b8", "#2f9e8f", "#e07a3f", "#8a63b8", "#b8923a")
SHADES = {"desired": 0.12, "baking": 0.85, "rolling_back": 0.25, "retiring": 0.25}
LETTER = 6.3  # average width of a letter at 12 px
BOLD_LETTER = LETTER * 1.1
FONT = "font-family='Inter, system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"
MARKS = {"succeeded": "✓ succeeded", "rolled_back": "↩ rolled back"}


@dataclass(frozen=True)
class Scales:
    """Maps times and counts to coordinates. `right` is the right edge of the plot."""

    began: datetime
    ends: datetime
    most: int
    right: float = WIDTH - MARGIN

    def share(self, at: datetime) -> float:
        seconds = (self.ends - self.began).total_seconds()
        return min(max((at - self.began).total_seconds() / max(1.0, seconds), 0.0), 1.0)

    def x(self, at: datetime) -> float:
        return LEFT + self.share(at) * (self.right - LEFT)

    def y(self, count: float) -> float:
        return TOP + AREA * (1 - count / self.most)


def draw(report: Report, heading: str = "") -> str:
    """The picture as SVG text. Deterministic. `heading`: what it shows, if no run of the demo."""
    scales = _scales(report)
    colours = {story.version: COLOURS[n % len(COLOURS)] for n, story in enumerate(report.releases)}
    shares_top = TOP + AREA + SHARES_GAP
    lanes_top = TOP + AREA + 34 + (SHARES_GAP + SHARES if report.scenario.shares else 0)
    axis = lanes_top + len(report.releases) * (LANE + LANE_GAP)
    height = axis + 62
    parts = [
        (
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH:g} {height:g}' role='img'"
            f" {FONT} fill='{INK}'>"
        ),
        f"<title>{escape(_title(report))}</title>",
        _hatches(colours),
        f"<rect width='{WIDTH:g}' height='{height:g}' fill='{PAPER}'/>",
        *_heading(report, heading),
        *_legend(colours),
        *_grid(scales, axis),
        *_area(report, scales, colours),
        *_floor(report, scales),
        *(_shares(report, scales, colours, shares_top) if report.scenario.shares else ()),
        *_lanes(report, scales, colours, lanes_top),
        *_minutes(scales, axis),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _scales(report: Report) -> Scales:
    moments = [sample.at for sample in report.instances]
    for story in report.releases:
        for phase in story.phases:
            moments += [phase.began, *((phase.ended,) if phase.ended else ())]
    moments = moments or [datetime(1970, 1, 1, tzinfo=UTC)]  # no data: an empty picture
    began = min(
        (phase.began for story in report.releases for phase in story.phases), default=min(moments)
    )
    most = max((sum(sample.by_version.values()) for sample in report.instances), default=0)
    scales = Scales(began, max(moments), max(most, report.floor) + 1)
    return replace(scales, right=min([scales.right, *_right_edges(report, scales)]))


def _right_edges(report: Report, scales: Scales) -> Iterator[float]:
    """For each outcome, the right edge of the plot that leaves room for it behind its bar, and for
    the label of the floor.
    """
    yield WIDTH - MARGIN - LETTER * len(_floor_label(report)) - 8
    for story in report.releases:
        if story.outcome and story.phases:
            share = scales.share(story.phases[-1].ended or scales.ends)
            room = WIDTH - MARGIN - 8 - BOLD_LETTER * len(_outcome(story)) - LEFT
            yield LEFT + room / max(share, 0.5)


def _title(report: Report) -> str:
    what = "Instances and requests" if report.scenario.shares else "Instances"
    return f"{what} of the model {report.model} while {len(report.releases)} releases arrive"


def _heading(report: Report, heading: str) -> Iterator[str]:
    where = (
        "Google's Pub/Sub and Firestore emulators"
        if report.backend == "emulators"
        else "the embedded store and bus"
    )
    yield _text(LEFT - 72, 34, _title(report), size=19, weight=650)
    what = heading or (
        f"One run of make demo: the functions on {where}, Compute Engine emulated, at"
        f" {report.speed:g}x speed."
    )
    yield _text(LEFT - 72, 56, what, colour=QUIET)


def _legend(colours: dict[str, str]) -> Iterator[str]:
    x = LEFT
    for version, colour in colours.items():
        yield f"<rect x='{x:g}' y='70' width='12' height='12' rx='2' fill='{colour}'/>"
        yield _text(x + 17, 80, f"release {version}", colour=QUIET)
        x += 17 + LETTER * (8 + len(version)) + 20
    yield (
        f"<rect x='{x:g}' y='70' width='12' height='12' rx='2' fill='url(#pale-any)'"
        f" stroke='{QUIET}' stroke-width='0.6'/>"
    )
    yield _text(x + 17, 80, "starting, unhealthy or stopping", colour=QUIET)


def _hatches(colours: dict[str, str]) -> str:
    """A pale, striped fill for each release, which differs from the solid one not only by
    color.
    """
    patterns = [_hatch(f"pale-{number}", colour) for number, colour in enumerate(colours.values())]
    return f"<defs>{''.join(patterns)}{_hatch('pale-any', QUIET)}</defs>"


def _hatch(name: str, colour: str) -> str:
    ground = f"<rect width='6' height='6' fill='{colour}' fill-opacity='.16'/>"
    stripe = f"<path d='M0 0V6' stroke='{colour}' stroke-width='1.8' stroke-opacity='.75'/>"
    how = "width='6' height='6' patternUnits='userSpaceOnUse' patternTransform='rotate(45)'"
    return f"<pattern id='{name}' {how}>{ground}{stripe}</pattern>"


def _grid(scales: Scales, axis: float) -> Iterator[str]:
    every = max(1, round(scales.most / 8))
    for count in range(0, scales.most + 1, every):
        y = scales.y(count)
        yield f"<path d='M{LEFT:g} {y:.1f}H{scales.right:.1f}' stroke='{LINE}'/>"
        yield _text(LEFT - 8, y + 4, str(count), anchor="end", colour=QUIET)
    middle = TOP + AREA / 2
    yield (
        "<g transform='rotate(-90 36"
        f" {middle:g})'>{_text(36, middle, 'instances', anchor='middle', colour=QUIET)}</g>"
    )
    yield f"<path d='M{LEFT:g} {axis:g}H{scales.right:.1f}' stroke='{QUIET}'/>"


def _area(report: Report, scales: Scales, colours: dict[str, str]) -> Iterator[str]:
    """Stacked layers: the healthy instances of each release, and on top of them all others. So the
    upper edge of the solid layers is the number of healthy instances.
    """
    spans = list(_spans(report.instances, scales.ends))
    under = [0] * len(spans)
    for healthy, what in ((True, "healthy"), (False, "starting, unhealthy or stopping")):
        for number, (version, colour) in enumerate(colours.items()):
            over = [
                base + _count(sample, version, healthy)
                for base, (sample, _) in zip(under, spans, strict=True)
            ]
            path = _layer(spans, under, over, scales)
            under = over
            if path:
                fill = colour if healthy else f"url(#pale-{number})"
                yield (
                    f"<path d='{path}'"
                    f" fill='{fill}'><title>{escape(f'release {version}: {what}')}</title></path>"
                )


def _spans(samples: tuple[Sample, ...], ends: datetime) -> Iterator[tuple[Sample, datetime]]:
    """Each sample with the time until which it holds."""
    for index, sample in enumerate(samples):
        yield sample, samples[index + 1].at if index + 1 < len(samples) else ends


def _count(sample: Sample, version: str, healthy: bool) -> int:
    well = sample.healthy.get(version, 0)
    return well if healthy else sample.by_version.get(version, 0) - well


def _layer(
    spans: list[tuple[Sample, datetime]], under: list[int], over: list[int], scales: Scales
) -> str:
    """One rectangle for each span with instances, joined with the previous one if level."""
    boxes: list[tuple[float, float, int, int]] = []
    for (sample, until), low, high in zip(spans, under, over, strict=True):
        left, right = scales.x(sample.at), scales.x(until)
        if high <= low or right <= left:
            continue
        if boxes and boxes[-1][1:] == (left, low, high):
            boxes[-1] = (boxes[-1][0], right, low, high)
        else:
            boxes.append((left, right, low, high))
    return "".join(
        f"M{left:.1f} {scales.y(low):.1f}V{scales.y(high):.1f}H{right:.1f}V{scales.y(low):.1f}Z"
        for left, right, low, high in boxes
    )


def _floor(report: Report, scales: Scales) -> Iterator[str]:
    """A line from the moment there is a floor, with its label on the right."""
    since = floor_since(report)
    if since is None:
        return
    y = scales.y(report.floor)
    yield (
        f"<path d='M{scales.x(since):.1f} {y:.1f}H{scales.right:.1f}' stroke='{INK}'"
        " stroke-width='1.4' stroke-dasharray='5 4'><title>floor</title></path>"
    )
    yield _text(scales.right + 8, y + 4, _floor_label(report))


def _floor_label(report: Report) -> str:
    return f"floor: {report.floor} healthy"


def _shares(report: Report, scales: Scales, colours: dict[str, str], top: float) -> Iterator[str]:
    """Each release's part of the requests, stacked: the stable release below its canary."""
    middle = top + SHARES / 2
    yield (
        "<g transform='rotate(-90 36"
        f" {middle:g})'>{_text(36, middle, 'requests', anchor='middle', colour=QUIET)}</g>"
    )
    for share in (0, 50, 100):
        y = top + SHARES * (1 - share / 100)
        yield f"<path d='M{LEFT:g} {y:.1f}H{scales.right:.1f}' stroke='{LINE}'/>"
        yield _text(LEFT - 8, y + 4, f"{share} %", anchor="end", colour=QUIET)
    boxes: dict[str, str] = dict.fromkeys(colours, "")
    for sample, until in _spans(report.instances, scales.ends):
        left, right, under = scales.x(sample.at), scales.x(until), 0.0
        for version in colours:
            over = under + sample.shares.get(version, 0)
            if over > under and right > left:
                low, high = (top + SHARES * (1 - part / 100) for part in (under, over))
                boxes[version] += f"M{left:.1f} {low:.1f}V{high:.1f}H{right:.1f}V{low:.1f}Z"
            under = over
    for version, path in boxes.items():
        title = f"<title>{escape(f'requests to release {version}')}</title>"
        if path:
            yield f"<path d='{path}' fill='{colours[version]}'>{title}</path>"
    yield from _share_labels(report, scales, top)


def _share_labels(report: Report, scales: Scales, top: float) -> Iterator[str]:
    """The share of each canary, where it begins."""
    last: dict[str, float] = {}
    for sample in (each for each in report.instances if each.shares):
        for version in report.scenario.shares:
            share = sample.shares.get(version, 0)
            if share > last.get(version, 0):
                y = top - 5 if share < 100 else top + SHARES / 2 + 4
                ink = INK if share < 100 else PAPER
                yield _text(scales.x(sample.at) + 3, y, f"{share:g} %", size=11, colour=ink)
            last[version] = share


def _lanes(report: Report, scales: Scales, colours: dict[str, str], top: float) -> Iterator[str]:
    for number, story in enumerate(report.releases):
        y = top + number * (LANE + LANE_GAP)
        colour = colours[story.version]
        yield _text(LEFT - 8, y + LANE / 2 + 4, f"release {story.version}", anchor="end")
        if story.phases:
            x = scales.x(story.phases[0].began)
            yield (
                f"<path d='M{x:.1f} {TOP:g}V{y:g}' stroke='{colour}' stroke-width='1.2'"
                " stroke-dasharray='2 3'/>"
            )
        for phase in story.phases:
            yield from _segment(phase, scales, colour, y)
        yield from _ending(story, scales, colour, y)


def _segment(phase: Phase, scales: Scales, colour: str, y: float) -> Iterator[str]:
    left, right = scales.x(phase.began), scales.x(phase.ended or scales.ends)
    shade = SHADES.get(phase.name, 0.55)
    name = phase.name.replace("_", " ")
    label = next((text for text in _shorter(name) if LETTER * len(text) + 8 <= right - left), "")
    box = f"x='{left:.1f}' y='{y:g}' width='{max(right - left, 1):.1f}' height='{LANE:g}' rx='3'"
    title = f"<title>{escape(f'{name}: {phase.why}')}</title>"
    yield f"<rect {box} fill='{colour}' fill-opacity='{shade:g}' stroke='{PAPER}'>{title}</rect>"
    if label:
        ink = PAPER if shade > 0.8 else INK
        yield _text((left + right) / 2, y + LANE / 2 + 4, label, anchor="middle", colour=ink)


def _shorter(name: str) -> Iterable[str]:
    return (
        name,
        {"baking": "bake", "rolling back": "back"}.get(name, name),
        name.removeprefix("step "),
    )


def _ending(story: Story, scales: Scales, colour: str, y: float) -> Iterator[str]:
    """The outcome, right behind the last phase."""
    if not story.outcome or not story.phases:
        return
    x = scales.x(story.phases[-1].ended or scales.ends) + 8
    halo = f"<g stroke='{PAPER}' stroke-width='5' stroke-linejoin='round' paint-order='stroke'>"
    text = _text(x, y + LANE / 2 + 4, _outcome(story), weight=650, colour=colour)
    yield f"{halo}{text}</g>"


def _outcome(story: Story) -> str:
    mark = MARKS.get(story.outcome, story.outcome)
    return f"{mark}: {story.reason}" if story.reason else mark


def _minutes(scales: Scales, axis: float) -> Iterator[str]:
    total = (scales.ends - scales.began).total_seconds() / 60
    every = next((step for step in (1, 2, 5, 10, 20, 30) if total / step <= 14), 60)
    for minute in range(0, int(total) + 1, every):
        x = LEFT + minute / max(total, 1 / 60) * (scales.right - LEFT)
        yield f"<path d='M{x:.1f} {axis:g}v5' stroke='{QUIET}'/>"
        yield _text(x, axis + 19, str(minute), anchor="middle", colour=QUIET)
    what = "minutes since the first release, in the run's time"
    yield _text((LEFT + scales.right) / 2, axis + 42, what, anchor="middle", colour=QUIET)


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    size: int = 12,
    weight: int = 400,
    colour: str = INK,
) -> str:
    style = f"text-anchor='{anchor}' font-size='{size}' font-weight='{weight}' fill='{colour}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {style}>{escape(text)}</text>"
