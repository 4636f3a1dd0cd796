"""`python -m local.demo`: runs three releases of one model through Slipway on this machine.

Release 1 creates the fleet, release 2 takes over, release 3 is bad and is taken back: as canaries,
or step by step with `--story rolling`. Exits with 0 only if all of that happened, and prints what
differs otherwise. Writes the results to `demo-report.json` and draws them in `demo-report.svg`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

from rich.console import Console

from local import guide, picture, running
from local.processes import inherited
from local.report import Report, check_promises, to_json
from local.screen import LiveScreen, PlainScreen, Screen, View
from local.stack import RELEASES, ROOT, Stack
from local.story import FLOOR, IMAGE, MODEL, SCENARIOS, Scenario
from local.watch import Watcher

LIMIT_SECONDS = 108  # leaves time to stop within two minutes
POLL_SECONDS = 0.25
# In the run's time: how long the model may take to settle after the last release has ended.
SETTLE_TIME = timedelta(minutes=5)
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ABOUT = """\
Runs Slipway on this machine: the functions, an emulator of Compute Engine, and Google's emulators
of Pub/Sub and Firestore if they are installed. Publishes three releases of one model and shows
their progress. {stories}
Takes about a minute, two at most. Exits with 0 if all of that happened, and with 1 and what differs
otherwise.
"""


class TimeUp(Exception):
    pass


def main(arguments: list[str] | None = None) -> int:
    began = time.monotonic()
    options = _parser().parse_args(arguments)
    screen: Screen = LiveScreen(Console()) if sys.stdout.isatty() else PlainScreen(sys.stdout)
    scenario = SCENARIOS[options.story]
    stack = Stack(options.speed or scenario.speed, options.embedded, screen.part)
    try:
        with closing(screen), _signals(LIMIT_SECONDS), stack, _announced(stack, options.keep):
            return _tour(stack, scenario, screen, options, began)
    except KeyboardInterrupt:
        print("Stopped.")
        return 130
    except Exception as error:
        stack.keeps_logs = True
        print(f"The demo failed: {error or type(error).__name__}", file=sys.stderr)
        print(f"Logs: {stack.folder}", file=sys.stderr)
        return 1


@contextmanager
def _announced(stack: Stack, keep: bool) -> Iterator[None]:
    """While the block runs, the command line finds a stack that is kept, unless it finds another
    one.
    """
    if not keep:
        yield
        return
    file = running.file_of(os.environ)
    described = running.RunningStack(os.getpid(), stack.environment, stack.pubsub)
    with running.announced(file, described) as is_first:
        if not is_first:
            why = f"another stack runs, or {file} cannot be written"
            print(f"slipway does not find this stack by itself: {why}", file=sys.stderr)
        yield


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m local.demo",
        description=ABOUT.format(
            stories="".join(
                f"With --story {name}:\n\n{each.about}\n" for name, each in SCENARIOS.items()
            )
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--story",
        choices=tuple(SCENARIOS),
        default="canary",
        help="what the releases show (default canary)",
    )
    add(
        "--keep",
        action="store_true",
        help="leave the stack running, print what to try, and show what becomes of it",
    )
    add(
        "--speed",
        type=_speed,
        metavar="N",
        help="how many times faster than real time (default: the story's)",
    )
    add(
        "--embedded",
        action="store_true",
        help="use the embedded store and bus even if the emulators are installed",
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
            f"must be 1 to 200, not {text}: the functions' work takes real time"
        )
    return speed


def _tour(
    stack: Stack, scenario: Scenario, screen: Screen, options: argparse.Namespace, began: float
) -> int:
    if stack.backend == "embedded":
        screen.say(
            f"Using the embedded store and bus, not Google's emulators: {stack.why_embedded}."
        )
    with Watcher(stack.emulator, stack.store, MODEL) as watcher:
        tour = Tour(stack, scenario, watcher, screen)
        failure = tour.run()
        signal.alarm(0)
        report = _report(stack, scenario, watcher, time.monotonic() - began)
        is_fine = not failure and not any(promise.differs for promise in report.promises)
        stack.keeps_logs = not is_fine
        options.json_report.write_text(
            json.dumps(to_json(report), indent=1, ensure_ascii=False) + "\n"
        )
        options.picture.write_text(picture.draw(report))
        screen.close()
        print(guide.summary(report, failure, () if is_fine else stack.logs))
        if not is_fine:
            print(f"  logs: {stack.folder}")
        print(f"  report: {options.json_report}, picture: {options.picture}", flush=True)
    if options.keep:
        kept = guide.Kept(
            stack.environment, stack.pubsub, stack.gateway_url, stack.speed, stack.logs, os.getpid()
        )
        print(guide.by_hand(kept, _slipway()), flush=True)
        _narrate(stack.environment)
    return 0 if is_fine else 1


def _slipway() -> str:
    """The installed command, as a person in this folder would type it."""
    return os.path.relpath(Path(sys.executable).parent / "slipway")


def _narrate(environment: Mapping[str, str]) -> None:
    """Shows the transitions of every model, and refusals, until Ctrl-C. `slipway events` does it,
    in a process group of its own, so that Ctrl-C reaches only this process.
    """
    project = environment["GOOGLE_CLOUD_PROJECT"]
    command = [sys.executable, "-m", "console", "events", "--last", "0", "--project", project]
    events = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**inherited(os.environ), **environment},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        with suppress(KeyboardInterrupt):
            status = events.wait()
            print(f"slipway events ended with status {status}; the stack keeps running", flush=True)
            while True:
                signal.pause()
    finally:
        events.terminate()
        events.wait()


class Tour:
    """Publishes the releases one after the other and shows the progress until each has ended."""

    def __init__(self, stack: Stack, scenario: Scenario, watcher: Watcher, screen: Screen) -> None:
        self._stack, self._watcher, self._screen = stack, watcher, screen
        self._scenario = scenario
        self._crashed: set[str] = set()
        self._began = stack.clock.now()

    def run(self) -> str:
        """Runs all releases; returns why the tour ended early, if it did."""
        self._stack.emulator.set_behaviours(self._scenario.behaviours)
        try:
            for version, event in self._scenario.releases.items():
                self._stack.publish(RELEASES, event)
                while not self._has_ended(version):
                    self._update()
            latest = self._stack.clock.now() + SETTLE_TIME
            while not self._watcher.is_settled and self._stack.clock.now() < latest:
                self._update()
        except TimeUp as late:
            return str(late)
        return ""

    def _update(self) -> None:
        time.sleep(POLL_SECONDS)
        watcher = self._watcher
        watcher.poll()
        self._crash_what_gets_requests()
        at, sample = self._stack.clock.now(), watcher.samples[-1] if watcher.samples else None
        self._screen.show(
            View(
                self._began,
                at,
                watcher.stories,
                watcher.entries,
                sample,
                FLOOR,
                watcher.calls,
                watcher.waiting_for,
                self._stack.speed,
            )
        )

    def _crash_what_gets_requests(self) -> None:
        shares = self._watcher.samples[-1].shares if self._watcher.samples else {}
        for version in {*shares} & self._scenario.crashing - self._crashed:
            self._crashed.add(version)
            image, emulator = f"*{IMAGE}:{version}*", self._stack.emulator
            emulator.set_behaviours([{"image": image, "never_ready": True}, *emulator.behaviours])
            emulator.affect_instances("kill", template=self._watcher.template_of(version))

    def _has_ended(self, version: str) -> bool:
        return any(each.version == version and each.outcome for each in self._watcher.stories)


def _report(stack: Stack, scenario: Scenario, watcher: Watcher, real_seconds: float) -> Report:
    report = Report(
        backend=stack.backend,
        model=MODEL,
        speed=stack.speed,
        floor=FLOOR,
        releases=watcher.stories,
        instances=watcher.samples,
        calls=watcher.calls,
        outputs=dict(watcher.document.get("outputs", {})),
        real_seconds=real_seconds,
        scenario=scenario,
    )
    return replace(report, promises=check_promises(report))


@contextmanager
def _signals(limit_seconds: int) -> Iterator[None]:
    """Turns the first stop signal into `KeyboardInterrupt` and ignores further ones, so that they
    do not interrupt the cleanup. Raises `TimeUp` after the limit.
    """

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        for each in STOPS:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise TimeUp(f"it took longer than {limit_seconds} s")

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
