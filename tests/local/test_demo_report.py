from __future__ import annotations

import json
from dataclasses import replace

from local.report import check_promises, count_changes, to_json, with_sample
from tests.local.runs import (
    CANARY_SAMPLES,
    ENTRIES,
    SAMPLES,
    a_canary_run,
    a_run,
    at,
    differing,
    entry,
    sample,
)


def test_a_successful_run_keeps_every_promise() -> None:
    assert differing(a_run()) == []


def test_a_story_has_consecutive_phases_and_an_outcome() -> None:
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


def test_a_release_in_progress_is_in_its_last_phase() -> None:
    story = a_run(ENTRIES[:-2]).releases[2]
    assert (story.phase, story.outcome, story.phases[-1].ended) == ("step_1", "", None)


def test_other_log_entries_start_no_phase() -> None:
    repaired = entry(9, "2", "settled", "repaired")
    assert a_run((*ENTRIES, repaired)).releases[1] == a_run().releases[1]


def test_a_missing_release_is_reported() -> None:
    assert "release 3 is not in the log" in differing(a_run(ENTRIES[:11]))


def test_an_unfinished_release_is_reported_with_its_phase() -> None:
    assert differing(a_run(ENTRIES[:-2])) == [
        "release 3 has not ended; it is in step_1: step_1 was due"
    ]


def test_a_bad_release_that_succeeds_is_reported() -> None:
    entries = (*ENTRIES[:-2], entry(11.5, "3", "baking", "succeeded", outcome="succeeded"))
    assert differing(a_run(entries)) == ["release 3 succeeded: succeeded was due"]


def test_canaries_get_the_promised_shares() -> None:
    promises = {promise.text: promise.differs for promise in check_promises(a_canary_run())}
    assert promises["release 2 gets 5, then 50, then 100 % of the requests"] == ""
    assert promises["release 3 gets 5 % of the requests"] == ""


def test_a_canary_that_gets_other_shares_is_reported() -> None:
    first, *_, back = CANARY_SAMPLES
    more = replace(back, at=at(10), shares={"2": 50.0, "3": 50.0})
    found = differing(a_canary_run((first, *CANARY_SAMPLES[3:5], more, back)))
    assert {"it got 100 %", "it got 5, then 50 %"} <= {*found}
    assert "it got none" in differing(a_canary_run((first,)))


def test_a_rollback_for_another_reason_is_reported() -> None:
    entries = (
        *ENTRIES[:-1],
        entry(11.5, "3", "rolling_back", "rolled_back", "timeout", "rolled_back"),
    )
    assert differing(a_run(entries)) == ["release 3 rolled_back (timeout): rolled_back was due"]


def test_an_instance_below_the_floor_is_reported_with_its_time() -> None:
    samples = tuple(
        sorted((*SAMPLES, sample(5, {"1": 2, "2": 1}, {"2": 1})), key=lambda each: each.at)
    )
    assert differing(a_run(samples=samples)) == ["3 at 12:05:00"]


def test_there_is_no_floor_before_the_first_release_succeeds() -> None:
    assert SAMPLES[0].serving == 0
    assert differing(a_run()) == []


def test_an_unhealthy_instance_at_the_end_is_reported() -> None:
    found = differing(a_run(samples=(*SAMPLES, sample(12, {"2": 4}, {"2": 1}))))
    assert found == ["there are 5 of release 2; healthy are 4 of release 2"]


def test_an_instance_of_another_release_at_the_end_is_reported() -> None:
    found = differing(a_run(samples=(*SAMPLES, sample(12, {"2": 4, "3": 1}))))
    assert found == [
        "there are 4 of release 2, 1 of release 3; healthy are 4 of release 2, 1 of release 3"
    ]


def test_a_run_without_data_keeps_no_promise() -> None:
    assert len(differing(a_run((), ()))) == 5


def test_an_unchanged_sample_is_dropped() -> None:
    assert with_sample(SAMPLES, sample(12, {"2": 4})) == SAMPLES
    assert len(with_sample(SAMPLES, sample(12, {"2": 5}))) == len(SAMPLES) + 1


def test_only_writes_count_as_changes() -> None:
    calls = {
        "compute.urlMaps.get": 9,
        "compute.globalOperations.wait": 8,
        "compute.backendServices.getHealth": 7,
        "compute.regionInstanceGroupManagers.listManagedInstances": 6,
        "compute.regionAutoscalers.aggregatedList": 5,
        "compute.regionInstanceGroupManagers.patch": 2,
        "compute.instanceTemplates.insert": 1,
    }
    assert count_changes(calls) == 3


def test_the_json_report_contains_the_run() -> None:
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
        "shares": {},
    }
    assert (written["backend"], written["calls"]) == ("emulators", {"compute.urlMaps.get": 7})
