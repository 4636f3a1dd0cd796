"""Shows a running demo: a live table on a terminal, plain lines elsewhere.

`local/demo.py` calls both the same way: `part` while the stack starts, `show` with each new state.
The plain screen prints each fact once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from local.report import Entry, Sample, Story, count_changes

COLOURS = ("blue", "green", "dark_orange", "magenta")
LATEST = 8
RELEASES = 4  # the newest, so that the decisions fit below them
MARKS = {"succeeded": "[green]✓ succeeded[/]", "rolled_back": "[yellow]↩ rolled back[/]"}


@dataclass(frozen=True)
class View:
    """The run at one moment. `began` is when its first release was published. Both times are of the
    run's clock, which is `speed` times as fast as real time.
    """

    began: datetime
    at: datetime
    stories: tuple[Story, ...] = ()
    entries: tuple[Entry, ...] = ()
    sample: Sample | None = None
    floor: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    waiting_for: str = ""
    speed: float = 1.0


class Screen(Protocol):
    def part(self, name: str, state: str, done: bool = False) -> None:
        """Shows the state of a part of the stack; `done` once it is up."""
        ...

    def say(self, text: str) -> None: ...

    def show(self, view: View) -> None: ...

    def close(self) -> None: ...


def elapsed(began: datetime, at: datetime) -> str:
    """The run's time since its first release, as minutes and seconds: `+03:20`."""
    seconds = max(0, round((at - began).total_seconds()))
    return f"+{seconds // 60:02d}:{seconds % 60:02d}"


def label(name: str) -> str:
    """A phase or an outcome in words: `step 2`, `rolled back`."""
    return name.replace("_", " ")


class PlainScreen:
    """Prints lines with the real seconds since the start, for logs and pipes. `printed`: how many
    entries of the log to skip.
    """

    def __init__(self, out: TextIO, printed: int = 0) -> None:
        self._out, self._started = out, time.monotonic()
        self._printed, self._has_begun = printed, False
        self._counted: tuple[Mapping[str, int], Mapping[str, int]] | None = None
        self._shares: Mapping[str, float] = {}

    def part(self, name: str, state: str, done: bool = False) -> None:
        self.say(f"{name}: {state}")

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._started:6.1f} s real  {text}", file=self._out, flush=True)

    def show(self, view: View) -> None:
        if not self._has_begun:
            self._has_begun = True
            self.say(f"+min:s of the stack's clock, {view.speed:g} times as fast as real time")
        news = [(entry.at, _entry(entry)) for entry in view.entries[self._printed :]]
        self._printed = len(view.entries)
        if view.sample and (view.sample.by_version, view.sample.healthy) != self._counted:
            self._counted = (view.sample.by_version, view.sample.healthy)
            news.append((view.sample.at, _instances(view.sample)))
        if view.sample and view.sample.shares and view.sample.shares != self._shares:
            self._shares = view.sample.shares
            news.append((view.sample.at, _requests(view.sample)))
        for at, text in sorted(news):
            self.say(f"{elapsed(view.began, at)}  {text}")

    def close(self) -> None:
        self._out.flush()


def _entry(entry: Entry) -> str:
    reason = f" ({entry.reason})" if entry.reason else ""
    return f"release {entry.release}: {label(entry.to)}{reason}: {entry.why}"


def _instances(sample: Sample) -> str:
    each = [
        f"{sample.healthy.get(v, 0)} of {count} healthy on release {v}"
        for v, count in sorted(sample.by_version.items())
    ]
    return "instances: " + (", ".join(each) or "none")


def _requests(sample: Sample) -> str:
    each = [f"{share:.0f} % to release {v}" for v, share in sorted(sample.shares.items())]
    return "requests: " + ", ".join(each)


class LiveScreen:
    """The run as a table, redrawn four times a second. The last state stays on the terminal."""

    def __init__(self, console: Console) -> None:
        self._console, self._started = console, time.monotonic()
        self._parts: dict[str, tuple[str, bool]] = {}
        self._view: View | None = None
        self._spinner = Spinner("dots")
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=4)
        self._live.start()

    def part(self, name: str, state: str, done: bool = False) -> None:
        self._parts[name] = (state, done)

    def say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, view: View) -> None:
        if self._view is None:
            self._console.print(self._starting())  # stays above the live table
        self._view = view

    def close(self) -> None:
        self._live.stop()

    def _draw(self) -> RenderableType:
        if self._view is None:
            return self._starting()
        above = Group(
            _heading(self._view, time.monotonic() - self._started),
            _releases(self._view),
            _bar(self._view),
        )
        return Group(above, self._log(self._view, self._console.height - 1 - self._lines(above)))

    def _log(self, view: View, height: int) -> RenderableType:
        """As many of the newest decisions as fit, the newest one in any case."""
        for latest in range(LATEST, 1, -1):
            table = _log(view, latest)
            if self._lines(table) <= height:
                return table
        return _log(view, 1)

    def _lines(self, part: RenderableType) -> int:
        return len(self._console.render_lines(part, pad=False))

    def _starting(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for name, (state, done) in self._parts.items():
            table.add_row(Text("✓", "green") if done else self._spinner, name, Text(state, "dim"))
        return table


def _heading(view: View, real_seconds: float) -> RenderableType:
    calls = f"{sum(view.calls.values())} Compute calls, {count_changes(view.calls)} of them changes"
    return Text.assemble(
        ("Slipway", "bold"),
        f"  {elapsed(view.began, view.at)} of the stack's clock ({view.speed:g} x real time),"
        f" {real_seconds:.0f} s real\n",
        (calls, "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _releases(view: View) -> RenderableType:
    table = Table(expand=True, box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("release", width=9, no_wrap=True)
    table.add_column("phase", width=12, no_wrap=True)
    table.add_column("outcome", width=15, no_wrap=True)
    table.add_column("why", ratio=1, no_wrap=True, overflow="ellipsis")
    for number, story in [*enumerate(view.stories)][-RELEASES:]:
        outcome = Text.from_markup(MARKS.get(story.outcome, story.outcome))
        is_current = number == len(view.stories) - 1 and not story.outcome
        why = view.waiting_for if is_current and view.waiting_for else story.why
        if story.outcome and story.reason:
            why = f"{story.reason}: {why}"
        table.add_row(
            Text(f"■ {story.version}", _colour(story.version)),
            label(story.phase),
            outcome,
            Text(why),
        )
    return table


def _bar(view: View) -> RenderableType:
    """One square per instance: filled if the load balancer finds it healthy."""
    line = Text("\ninstances  ", "dim")
    if view.sample is None or not view.sample.by_version:
        return line.append("none yet\n")
    for version, count in sorted(view.sample.by_version.items()):
        healthy = view.sample.healthy.get(version, 0)
        line.append("■ " * healthy + "□ " * (count - healthy), _colour(version))
    line.append(
        f"  {view.sample.serving} healthy, never fewer than {view.floor} in a swap\n", "dim"
    )
    line.append("requests   ", "dim")
    for version, share in sorted(view.sample.shares.items()):
        line.append("▬" * max(1, round(share / 2.5)), _colour(version))
        line.append(f" {share:.0f} %  ", "dim")
    return line.append("\n")


def _log(view: View, latest: int) -> RenderableType:
    table = Table(expand=True, box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("clock", width=7, no_wrap=True)
    table.add_column("release", width=9, no_wrap=True)
    table.add_column("to", width=12, no_wrap=True)
    table.add_column("why", ratio=1)
    for entry in view.entries[-latest:]:
        table.add_row(
            elapsed(view.began, entry.at),
            Text(entry.release, _colour(entry.release)),
            label(entry.to),
            Text(entry.why),
        )
    return table


def _colour(version: str) -> str:
    return COLOURS[(int(version) - 1) % len(COLOURS)] if version.isdigit() else "cyan"
