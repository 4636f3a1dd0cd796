"""`python -m local.demo`: the guided tour. Three releases of one model go through the whole of
Slipway on this machine.

Release 1 makes the fleet from nothing, release 2 takes over step by step, release 3 never gets
healthy and goes back by itself. Ends with status 0 only if all of that is seen to be true;
otherwise it says what differs. What was seen is written to `demo-report.json` and drawn in
`demo-report.svg`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from local import guide, picture, story
from local.report import Report, kept_promises, to_json
from local.screen import LiveScreen, PlainScreen, Screen, View
from local.stack import RELEASES, Stack
from local.watch import Watcher

SPEED = 20.0
LIMIT_SECONDS = 108  # what is left of two minutes is for stopping
LOOK_SECONDS = 0.25
REST = timedelta(
    minutes=5
)  # of the run's own time: how long the world may take to come to rest after the last release has ended
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ABOUT = """\
Runs Slipway's main job on this machine: Pub/Sub and Firestore (Google's emulators, where they are installed), a stand-in for
Compute Engine, and the functions as they are deployed. Publishes three releases of one model, and shows where they go:

  release 1   makes the fleet from nothing
  release 2   takes over in steps of 10, 50 and 100 %, and bakes
  release 3   never gets healthy, and goes back by itself

Ends in about a minute, at the latest in two. Status 0: everything came as promised. Status 1: it did not, and the last lines say
what differs.
"""


class TimeUp(Exception):
    pass


def main(arguments: list[str] | None = None) -> int:
    began = time.monotonic()
    options = _parser().parse_args(arguments)
    screen: Screen = LiveScreen(Console()) if sys.stdout.isatty() else PlainScreen(sys.stdout)
    stack = Stack(options.speed, options.embedded, screen.part)
    try:
        with closing(screen), _signals(LIMIT_SECONDS), stack:
            return _tour(stack, screen, options, began)
    except KeyboardInterrupt:
        print("Stopped.")
        return 130
    except Exception as error:
        stack.keeps_logs = True
        print(f"The demo could not run: {error or type(error).__name__}", file=sys.stderr)
        print(f"The logs of its parts are in {stack.folder}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m local.demo",
        description=ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--keep",
        action="store_true",
        help="leave everything running afterwards, and print how to publish events of your own",
    )
    add(
        "--speed",
        type=_speed,
        default=SPEED,
        metavar="N",
        help=f"seconds of the run's own time in a real one (default {SPEED:g})",
    )
    add(
        "--embedded",
        action="store_true",
        help="use the embedded store and bus even where the emulators are installed",
    )
    add(
        "--json-report",
        type=Path,
        default=Path("demo-report.json"),
        metavar="FILE",
        help="default demo-report.json",
    )
    add(
        "--picture",
        type=Path,
        default=Path("demo-report.svg"),
        metavar="FILE",
        help="default demo-report.svg",
    )
    return parser


def _speed(text: str) -> float:
    speed = float(text)
    if not 1 <= speed <= 200:
        raise argparse.ArgumentTypeError(
            f"must be 1 to 200, not {text}: the functions need real time for what they do"
        )
    return speed


def _tour(stack: Stack, screen: Screen, options: argparse.Namespace, began: float) -> int:
    if stack.backend == "embedded":
        screen.say(
            f"Without Google's emulators, on the embedded store and bus: {stack.why_embedded}."
        )
    with Watcher(stack.cloud, stack.store, story.MODEL) as watcher:
        tour = Tour(stack, watcher, screen)
        failure = tour.run()
        signal.alarm(0)
        report = _report(stack, watcher, time.monotonic() - began)
        is_fine = not failure and not any(promise.differs for promise in report.promises)
        stack.keeps_logs = not is_fine
        options.json_report.write_text(
            json.dumps(to_json(report), indent=1, ensure_ascii=False) + "\n"
        )
        options.picture.write_text(picture.draw(report))
        screen.close()
        print(guide.summary(report, failure, () if is_fine else stack.logs))
        if not is_fine:
            print(f"  the logs of all parts are in {stack.folder}")
        print(f"  report: {options.json_report}, picture: {options.picture}", flush=True)
        if options.keep:
            print(
                guide.by_hand(
                    stack.environment, stack.pubsub, sys.executable, stack.logs, os.getpid()
                ),
                flush=True,
            )
            tour.go_on(PlainScreen(sys.stdout, told=len(watcher.entries)))
    return 0 if is_fine else 1


class Tour:
    """Publishes the story's releases one after the other, and shows the world until each has
    ended."""

    def __init__(self, stack: Stack, watcher: Watcher, screen: Screen) -> None:
        self._stack, self._watcher, self._screen = stack, watcher, screen
        self._began = stack.clock.now()

    def run(self) -> str:
        """Why the tour broke off; empty when it did not."""
        self._stack.cloud.set_behaviours(story.BEHAVIOURS)
        try:
            for version, event in story.RELEASES.items():
                self._stack.publish(RELEASES, event)
                while not self._has_ended(version):
                    self._look()
            latest = self._stack.clock.now() + REST
            while not self._watcher.is_at_rest and self._stack.clock.now() < latest:
                self._look()
        except TimeUp as late:
            return str(late)
        return ""

    def go_on(self, screen: Screen) -> None:
        """Tell what happens from now on, until somebody stops it."""
        self._screen = screen
        with suppress(KeyboardInterrupt):
            while True:
                self._look()

    def _look(self) -> None:
        time.sleep(LOOK_SECONDS)
        watcher = self._watcher
        watcher.look()
        at, sample = self._stack.clock.now(), watcher.samples[-1] if watcher.samples else None
        self._screen.show(
            View(
                self._began,
                at,
                watcher.stories,
                watcher.entries,
                sample,
                story.FLOOR,
                watcher.calls,
                watcher.waits,
            )
        )

    def _has_ended(self, version: str) -> bool:
        return any(told.version == version and told.outcome for told in self._watcher.stories)


def _report(stack: Stack, watcher: Watcher, real_seconds: float) -> Report:
    report = Report(
        backend=stack.backend,
        model=story.MODEL,
        speed=stack.speed,
        floor=story.FLOOR,
        releases=watcher.stories,
        instances=watcher.samples,
        calls=watcher.calls,
        outputs=dict(watcher.document.get("outputs", {})),
        real_seconds=real_seconds,
    )
    return replace(report, promises=kept_promises(report))


@contextmanager
def _signals(limit_seconds: int) -> Iterator[None]:
    """Ask politely once: the first stop signal ends the run, and what comes then does not disturb
    the clearing up."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in STOPS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeUp(
            f"it took longer than {limit_seconds} s, which leaves no time to stop within two"
            " minutes"
        )

    before = {number: signal.signal(number, stop) for number in STOPS} | {
        signal.SIGALRM: signal.signal(signal.SIGALRM, late)
    }
    signal.alarm(limit_seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
