"""Many schedules of one workload, together: what they have in common runs once.

Until its first fault strikes, a schedule's run is the run without faults. So one such run, the trunk, goes ahead, and at every
point where a fault of some schedule would strike it forks: the child process suffers that schedule from there on and tells its
result, while the trunk waits and then goes on.

    trunk  --call--call--call--call--call--call--call--> settled: the schedules that are left fork here
                    \\          \\--(crash_after)--...--> result
                     \\--(lost_reply)--...--> result

A run is the same to the last call either way (`test_branches.py`). To be used in a process without threads.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage

from tests.simulation.engine import Before
from tests.simulation.faults import Faults
from tests.simulation.memory import MemoryStore
from tests.simulation.run import Result, Story, quietly, reference
from tests.simulation.schedule import Schedule


class _Parted(Exception):
    """Every schedule has its own process; the trunk has no end to reach."""


class _Branch:
    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.faults = schedule, Faults(schedule)


class _Trunk(Before):
    """Listens to a run without faults, and forks where one of the schedules would leave it."""

    def __init__(self, schedules: Iterable[Schedule]) -> None:
        self.waiting = [_Branch(schedule) for schedule in schedules]
        self.results: dict[Schedule, Result] = {}
        self.story = Story(Schedule(self.waiting[0].schedule.workload, chaos_seconds=math.inf), True, MemoryStore())
        self.story.simulation.before = self
        self.story.simulation.faults.has_stale_reads = any(branch.faults.has_stale_reads for branch in self.waiting)
        self.report: int | None = None  # in a child: where its result is to be written

    def call(self, number: int, name: str, is_write: bool, has_read: bool) -> None:
        self._part(lambda branch: branch.faults.strikes_call(number, name, is_write, has_read))

    def message(self, number: int, topic: str, is_tick: bool) -> None:
        self._part(lambda branch: branch.faults.strikes_message(number, topic, is_tick))

    def worker(self, number: int) -> None:
        self._part(lambda branch: branch.faults.strikes_worker(number))

    def time(self, seconds: float) -> None:
        self._part(lambda branch: branch.faults.strikes_world(seconds))

    def mending(self, waited: float, is_settled: bool) -> None:
        self._part(lambda branch: is_settled or branch.schedule.chaos_seconds < waited)
        if self.report is None and not self.waiting:
            raise _Parted

    def _part(self, leaves: Callable[[_Branch], bool]) -> None:
        for branch in [branch for branch in self.waiting if leaves(branch)]:
            self.waiting.remove(branch)
            reading, writing = os.pipe()
            if child := os.fork():
                os.close(writing)
                self.results[branch.schedule] = _told(child, reading)
            else:
                os.close(reading)
                self.waiting, self.report = [], writing
                self.story.suffer(branch.schedule)
                return


def run_together(schedules: Iterable[Schedule], *, is_told: bool = False) -> tuple[list[Result], float]:
    """Their results in the order of the schedules, and the seconds of a processor that they took."""
    plans, before = list(schedules), _processor_seconds()
    groups: dict[str, dict[Schedule, None]] = defaultdict(dict)
    for plan in plans:
        groups[plan.workload][plan] = None
    found = {plan: result for group in groups.values() for plan, result in _grown(group, is_told).items()}
    return [found[plan] for plan in plans], _processor_seconds() - before


def _grown(schedules: Iterable[Schedule], is_told: bool) -> dict[Schedule, Result]:
    """The results of some schedules of one workload."""
    trunk = _Trunk(schedules)
    reference(trunk.story.schedule.workload)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        with quietly():
            trunk.story.tell()
            if trunk.report is not None:
                trunk.story.compare()
                with os.fdopen(trunk.report, "wb") as report:
                    pickle.dump(trunk.story.result(is_told), report)
    except _Parted:
        pass
    except BaseException:
        if trunk.report is None:
            raise
        traceback.print_exc()
    finally:
        if trunk.report is not None:
            sys.stderr.flush()
            os._exit(0)
        trunk.story.simulation.close()
    return trunk.results


def _told(child: int, reading: int) -> Result:
    with os.fdopen(reading, "rb") as report:
        told = report.read()
    os.waitpid(child, 0)
    if not told:
        raise RuntimeError("a run ended without a result; what it printed says why")
    result: Result = pickle.loads(told)
    return result


def _processor_seconds() -> float:
    used = [getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
