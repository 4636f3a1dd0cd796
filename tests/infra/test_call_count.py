"""Each piece of work counts its own calls, although many share a client and its threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from infra.compute import call_count


def test_work_at_the_same_time_counts_its_own_calls_in_shared_threads() -> None:
    together = Barrier(2)
    with ThreadPoolExecutor(2) as shared, ThreadPoolExecutor(2) as instance:

        def work(calls: int) -> int:
            count = call_count.start()
            together.wait(10)
            call_count.add()
            jobs = [shared.submit(call_count.in_context(call_count.add)) for _ in range(calls)]
            for job in jobs:
                job.result()
            together.wait(10)
            return count.total

        assert list(instance.map(work, [3, 7])) == [4, 8]


def test_a_call_outside_of_any_work_is_not_counted() -> None:
    with ThreadPoolExecutor(1) as fresh:
        fresh.submit(call_count.add).result()
