from __future__ import annotations

import json

from local.report import changes, to_json, with_sample
from tests.local.runs import ENTRIES, SAMPLES, a_run, at, differing, seen, told


def test_a_run_that_came_as_promised_differs_in_nothing() -> None:
    assert differing(a_run()) == []


def test_a_story_has_its_phases_one_after_the_other_and_its_outcome() -> None:
    second = a_run().releases[1]
    assert [phase.name for phase in second.phases] == [
        "desired",
        "step_1",
        "step_2",
        "step_3",
        "baking",
    ]
    assert all(
        phase.ended == following.began
        for phase, following in zip(second.phases, second.phases[1:], strict=False)
    )
    assert (second.outcome, second.phase) == ("succeeded", "")


def test_a_release_under_way_is_in_its_last_phase() -> None:
    story = a_run(ENTRIES[:-2]).releases[2]
    assert (story.phase, story.outcome, story.phases[-1].ended) == ("step_1", "", None)


def test_what_the_log_tells_beside_phases_makes_no_phase() -> None:
    repaired = told(9, "2", "settled", "repaired")
    assert a_run((*ENTRIES, repaired)).releases[1] == a_run().releases[1]


def test_a_release_that_was_never_heard_of_is_told() -> None:
    assert "nothing was heard of release 3" in differing(a_run(ENTRIES[:10]))


def test_a_release_that_has_not_ended_is_told_with_its_phase() -> None:
    assert differing(a_run(ENTRIES[:-2])) == [
        "release 3 has not ended; it is in step_1: step_1 was due"
    ]


def test_a_bad_release_that_succeeds_is_told() -> None:
    entries = (*ENTRIES[:-2], told(11.5, "3", "baking", "succeeded", outcome="succeeded"))
    assert differing(a_run(entries)) == ["release 3 succeeded: succeeded was due"]


def test_going_back_for_another_reason_is_told() -> None:
    entries = (
        *ENTRIES[:-1],
        told(11.5, "3", "rolling_back", "rolled_back", "timeout", "rolled_back"),
    )
    assert differing(a_run(entries)) == ["release 3 rolled_back (timeout): rolled_back was due"]


def test_one_instance_below_the_floor_in_a_swap_is_told_with_its_time() -> None:
    samples = tuple(
        sorted((*SAMPLES, seen(5, {"1": 2, "2": 1}, {"2": 1})), key=lambda sample: sample.at)
    )
    assert differing(a_run(samples=samples)) == ["3 at 12:05:00"]


def test_before_the_first_release_stands_there_is_no_floor() -> None:
    assert SAMPLES[0].serving == 0
    assert differing(a_run()) == []


def test_a_sick_instance_at_the_end_is_told() -> None:
    found = differing(a_run(samples=(*SAMPLES, seen(12, {"2": 4}, {"2": 1}))))
    assert found == ["there are 5 of release 2; healthy are 4 of release 2"]


def test_an_instance_of_another_release_at_the_end_is_told() -> None:
    found = differing(a_run(samples=(*SAMPLES, seen(12, {"2": 4, "3": 1}))))
    assert found == [
        "there are 4 of release 2, 1 of release 3; healthy are 4 of release 2, 1 of release 3"
    ]


def test_a_run_in_which_nothing_was_seen_keeps_no_promise() -> None:
    assert len(differing(a_run((), ()))) == 5


def test_a_sample_that_shows_nothing_new_is_not_kept() -> None:
    assert with_sample(SAMPLES, seen(12, {"2": 4})) == SAMPLES
    assert len(with_sample(SAMPLES, seen(12, {"2": 5}))) == len(SAMPLES) + 1


def test_only_calls_that_change_something_are_changes() -> None:
    calls = {
        "compute.urlMaps.get": 9,
        "compute.globalOperations.wait": 8,
        "compute.backendServices.getHealth": 7,
        "compute.regionInstanceGroupManagers.listManagedInstances": 6,
        "compute.regionAutoscalers.aggregatedList": 5,
        "compute.regionInstanceGroupManagers.patch": 2,
        "compute.instanceTemplates.insert": 1,
    }
    assert changes(calls) == 3


def test_the_written_report_holds_what_was_seen() -> None:
    written = json.loads(json.dumps(to_json(a_run())))
    third = written["releases"][2]
    assert (third["version"], third["outcome"], third["reason"]) == (
        "3",
        "rolled_back",
        "unhealthy",
    )
    assert third["phases"][-1] == {
        "phase": "rolling_back",
        "began": "2026-01-01T12:11:00.000Z",
        "ended": "2026-01-01T12:11:30.000Z",
        "why": "rolling_back was due",
    }
    assert written["instances"][3] == {
        "at": at(3.3).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "by_version": {"1": 4, "2": 1},
        "healthy": {"1": 4},
    }
    assert (written["backend"], written["calls"]) == ("emulators", {"compute.urlMaps.get": 7})
