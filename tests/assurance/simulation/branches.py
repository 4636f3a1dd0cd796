"""Runs many schedules with one fault each as branches of one run.

Until its fault strikes, such a run equals the run without faults. So the run without faults is made
once, and the process forks at each call that a fault strikes:

    without faults  --call--call-------call-------call-------------
                               \\ crash after this call--call--call: a result
                                           \\ 503 on this call--call: a result

Each branch reports its result to the trunk, which continues when the branch has ended.
`test_determinism.py` holds branches to the results of separate runs.
"""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Iterable
from itertools import groupby
from typing import NoReturn

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.faults import Faults
from tests.assurance.simulation.run import (
    IDLE_TICKS,
    Result,
    Run,
    one_model_per_page,
    reference,
    run,
    without_overhead,
)
from tests.assurance.simulation.schedule import Fault, Schedule
from tests.memory_store import MemoryStore

FEWEST_CALLS = 100  # a fork takes as long; a run whose fault strikes earlier is made alone


def run_all(
    plans: Iterable[Schedule], *, with_trace: bool = False, idle_ticks: int = IDLE_TICKS
) -> list[Result]:
    """The result of each schedule, in the same order."""
    results: list[Result] = []
    for trunk, alike in groupby(plans, _trunk_of):
        if trunk is None:
            results += [run(plan, with_trace=with_trace, idle_ticks=idle_ticks) for plan in alike]
        else:
            results += _run_branches(trunk, [*alike], with_trace, idle_ticks)
    return results


def _trunk_of(plan: Schedule) -> Schedule | None:
    """The schedule that a run follows until its fault; None if it may differ from the start."""
    kinds = [fault.kind for fault in plan.faults]
    is_branch = len(kinds) == 1 and kinds[0] in schedules.CALL_FAULTS and kinds[0] != "stale"
    return Schedule(plan.workload, chaos_seconds=plan.chaos_seconds) if is_branch else None


class Branches(Faults):
    """The faults of the trunk: none. The faults of a branch: those of its schedule."""

    def __init__(self, trunk: Schedule, plans: list[Schedule]) -> None:
        super().__init__(trunk)
        self._waiting = {number: Faults(plan) for number, plan in enumerate(plans)}
        self.ended: dict[int, Result] = {}
        self.number: int | None = None  # of the schedule that this process runs, in a branch
        self._mine: Faults | None = None
        self._pipe = 0

    def for_call(self, number: int, name: str, is_write: bool, *, has_read: bool) -> Fault | None:
        if self._mine:
            return self._mine.for_call(number, name, is_write, has_read=has_read)
        for plan, faults in [*self._waiting.items()]:
            fault = faults.for_call(number, name, is_write, has_read=has_read)
            if fault:
                del self._waiting[plan]
                if number > FEWEST_CALLS and self._fork(plan):
                    self.number, self._mine = plan, faults
                    return fault
        return None

    def _fork(self, plan: int) -> bool:
        """Whether this is the branch; the trunk returns when that has ended."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._pipe = writing
            return True
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            answer = pipe.read()
        os.waitpid(child, 0)
        result = pickle.loads(answer)
        if not isinstance(result, Result):
            raise AssertionError(f"a branch failed: {result}")
        self.ended[plan] = result
        return False

    def report(self, result: Result | str) -> NoReturn:
        """Ends the branch."""
        with os.fdopen(self._pipe, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)


def _run_branches(
    trunk: Schedule, plans: list[Schedule], with_trace: bool, idle_ticks: int
) -> list[Result]:
    reference(trunk.workload)  # so that no branch has to make it
    with without_overhead(), one_model_per_page():
        this = Run(trunk, is_fast=True, idle_ticks=idle_ticks, store=MemoryStore())
        branches = this.simulation.faults = Branches(trunk, plans)
        try:
            this.execute()
            if branches.number is not None:
                this.schedule = plans[branches.number]
                this.compare()
                branches.report(this.result(with_trace))
        except BaseException:
            if branches.number is not None:
                branches.report(traceback.format_exc())
            raise
        finally:
            this.simulation.close()
    never = [plan for number, plan in enumerate(plans) if number not in branches.ended]
    alone = iter([run(plan, with_trace=with_trace, idle_ticks=idle_ticks) for plan in never])
    return [branches.ended.get(number) or next(alone) for number in range(len(plans))]
