from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO

from rich.console import Console

from local.report import Sample, Story
from local.screen import LiveScreen, PlainScreen, View
from tests.local.runs import BEGAN, ENTRIES, FLOOR, SAMPLES, a_run, at


def view(entries: int, sample: Sample | None = None) -> View:
    stories: tuple[Story, ...] = a_run(ENTRIES[:entries]).releases
    return View(
        BEGAN,
        at(12),
        stories,
        ENTRIES[:entries],
        sample,
        FLOOR,
        {"compute.urlMaps.get": 7, "compute.urlMaps.patch": 2},
    )


def lines(out: StringIO) -> list[str]:
    return [line.split("s real  ", 1)[1] for line in out.getvalue().splitlines()]


def test_the_plain_screen_prints_each_fact_once() -> None:
    out = StringIO()
    screen = PlainScreen(out)
    for _ in range(3):
        screen.show(view(2, SAMPLES[1]))
    screen.show(view(3, SAMPLES[2]))
    assert lines(out) == [
        "+min:s of the stack's clock, 1 times as fast as real time",
        "+00:00  release 1: desired: desired was due",
        "+00:06  release 1: step 1: step_1 was due",
        "+00:30  instances: 0 of 4 healthy on release 1",
        "+01:30  instances: 4 of 4 healthy on release 1",
        "+02:00  release 1: baking: baking was due",
    ]


def test_the_plain_screen_prints_the_reason_of_a_rollback() -> None:
    out = StringIO()
    PlainScreen(out, printed=len(ENTRIES) - 1).show(view(len(ENTRIES)))
    assert lines(out)[1:] == ["+11:30  release 3: rolled back (unhealthy): rolled_back was due"]


def test_the_live_screen_shows_releases_instances_decisions_and_calls() -> None:
    out = StringIO()
    screen = LiveScreen(Console(file=out, force_terminal=True, width=120, color_system=None))
    screen.part("pubsub emulator", "starting")
    screen.part("pubsub emulator", "on 127.0.0.1:1", done=True)
    screen.show(view(len(ENTRIES), SAMPLES[7]))
    screen.close()
    output = out.getvalue()
    assert "✓ pubsub emulator" in output
    for text in (
        "■ 3",
        "↩ rolled back",
        "unhealthy: rolled_back was due",
        "■ ■ ■ ■ □",
        "4 healthy, never fewer than 4 in a swap",
    ):
        assert text in output
    assert "9 Compute calls, 2 of them changes" in output


def test_the_live_screen_shows_the_parts_that_are_starting() -> None:
    out = StringIO()
    screen = LiveScreen(Console(file=out, force_terminal=True, width=120, color_system=None))
    screen.part("firestore emulator", "starting")
    screen.close()
    assert "firestore emulator starting" in out.getvalue()


def test_the_live_screen_fits_a_small_terminal_and_ends_with_the_newest_decision() -> None:
    long = [replace(entry, why="a reason of many words " * 6) for entry in ENTRIES]
    newest = replace(ENTRIES[-1], why="a reason of many words " * 9 + "and an end")
    waiting = replace(
        view(len(ENTRIES), SAMPLES[7]), entries=(*long, newest), waiting_for="w " * 90
    )
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=80, height=24, color_system=None)
    screen = LiveScreen(console)
    screen.show(waiting)
    out.seek(0)
    out.truncate()
    screen.close()
    drawn = re.sub("\x1b\\[[^a-zA-Z]*[a-zA-Z]", "", out.getvalue()).strip().splitlines()
    assert len(drawn) <= 24
    assert drawn[-1].rstrip().endswith("end")
    assert "stack's clock" in drawn[0]
