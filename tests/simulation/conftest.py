"""`survive` runs schedules, and tells the run's end how many there were in how much of a processor's time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from multiprocessing import get_context
from typing import Protocol

import pytest

from tests.conftest import SIMULATED
from tests.simulation import schedule as schedules
from tests.simulation.branches import run_together
from tests.simulation.run import Result
from tests.simulation.schedule import Schedule

Survive = Callable[[Iterable[Schedule]], list[Result]]


class Together(Protocol):
    def __call__(self, plans: list[Schedule], *, is_told: bool = False) -> tuple[list[Result], float]: ...


@pytest.fixture(scope="session")
def together() -> Iterator[Together]:
    """`run_together` in a process of its own: it forks, and a process that runs tests has threads."""
    with get_context("spawn").Pool(1) as pool:
        yield lambda plans, *, is_told=False: pool.apply(run_together, (plans,), {"is_told": is_told})


@pytest.fixture
def survive(together: Together, record_property: Callable[[str, object], None]) -> Survive:
    """Runs them all, and fails with the story of those that did."""

    def survive(plans: Iterable[Schedule]) -> list[Result]:
        results, seconds = together(list(plans))
        rollouts = sum(result.rollouts for result in results)
        record_property(SIMULATED, (len(results), rollouts, seconds))
        assert results, "there is no schedule to run"
        failed = [result for result in results if result.broken]
        told = [f"{result.why}\n{schedules.dump(result.schedule)}" + "\n".join(result.story[-15:]) for result in failed[:3]]
        assert not failed, f"{len(failed)} of {len(results)} runs failed\n" + "\n\n".join(told)
        return results

    return survive
