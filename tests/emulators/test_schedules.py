"""The functions run as deployed, on Google's emulators, behind a proxy that disturbs deliveries.

A schedule is one model's story under the faults of one seed. Up to ten run at once and share the
functions, so a killed or stopped process interrupts the passes of several models. Each schedule
must end in the same state as the undisturbed story.

`SLIPWAY_SCHEDULES` sets how many run in the wide tier (10), `SLIPWAY_SEED` the first seed (0).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from tests.emulators.backoff import FIRST_SECONDS
from tests.emulators.envelopes import SECRET
from tests.emulators.fates import GOOGLES_DEADLINE_SECONDS, HINTS, WELL, Fate, fate
from tests.emulators.proxy import ACKNOWLEDGED, Delivery
from tests.emulators.rig import RELEASES, Rig, eventually, running
from tests.emulators.stories import SAME_ENDS, STORIES, Chapter, end, release, undisturbed
from tests.emulators.workers import GONE

SPEED, SLOW = 30.0, 3.0
AT_ONCE = 10
TICKS = 50
PATIENCE_SECONDS = 180  # real time; an idle machine needs twenty
SCHEDULES = int(os.environ.get("SLIPWAY_SCHEDULES", "10"))
SEED = int(os.environ.get("SLIPWAY_SEED", "0"))
SAMPLE = range(1_000, 1_003)

pytestmark = pytest.mark.timeout(900)


def model_of(seed: int) -> str:
    return f"m{seed}"


def name_of(seed: int) -> str:
    return tuple(STORIES)[seed % len(STORIES)]


def judge(topic: str, model: str, number: int) -> Fate:
    """A model's name contains its seed. Ticks have their own schedule, which repeats."""
    return (
        fate(int(model.removeprefix("m")), topic, model, number)
        if model
        else fate(SEED, topic, "", number % TICKS)
    )


@pytest.fixture(scope="module")
def rig(
    pubsub_emulator: str, firestore_emulator: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Rig]:
    addresses = {"pubsub": pubsub_emulator, "firestore": firestore_emulator}
    folder = tmp_path_factory.mktemp("schedules")
    with running(
        addresses, f"schedules-{SEED}-{os.getpid()}", folder, SPEED, reconcilers=2, judge=judge
    ) as rig:
        yield rig


def test_three_schedules_end_where_the_undisturbed_story_ends(rig: Rig) -> None:
    run_to_the_end(rig, SAMPLE)


@pytest.mark.wide
@pytest.mark.parametrize("first", range(SEED, SEED + SCHEDULES, AT_ONCE))
def test_every_schedule_ends_where_the_undisturbed_story_ends(rig: Rig, first: int) -> None:
    run_to_the_end(rig, range(first, min(first + AT_ONCE, SEED + SCHEDULES)))
    assert {delivery.fate.kind for delivery in rig.proxy.deliveries} >= set(HINTS) - {
        "lost",
        "refused",
    }
    assert overlapping(rig, 0), "no message was redelivered while a function worked on it"
    assert reordered(rig), "no message arrived before one that was published earlier"
    assert len(struck(rig)) >= 2, "no process was killed while it worked"
    assert max(rig.proxy.backoffs.waiting_for) >= FIRST_SECONDS * 2, "no message failed twice"


def run_to_the_end(rig: Rig, seeds: range) -> None:
    """Runs the schedules at once and checks each one's end, and what must hold all the time."""
    with ThreadPoolExecutor(len(seeds)) as pool:
        wrongs = [
            wrong for wrong in pool.map(lambda seed: publish_story(rig, seed), seeds) if wrong
        ]
        assert not wrongs, "\n\n".join(wrongs)
        assert eventually(lambda: rig.proxy.is_idle, PATIENCE_SECONDS), (
            "the proxy has messages left to deliver"
        )
        wrongs = [wrong for wrong in pool.map(lambda seed: differences(rig, seed), seeds) if wrong]
    assert not wrongs, "\n\n".join(wrongs)
    assert not rig.watch.wrongs, "\n".join(
        (*rig.watch.wrongs[:5], rig.describe(rig.watch.wrongs[0].split()[0]))
    )
    assert not rig.proxy.warnings
    assert not leaked_secrets(rig), "a push token was stored"


@pytest.mark.wide
def test_a_pass_longer_than_the_ack_deadline_is_redelivered_and_its_work_is_done_once(
    pubsub_emulator: str, firestore_emulator: str, tmp_path: Path, project: str
) -> None:
    """A pass takes 45 s of the stack's time, 15 real seconds; Pub/Sub stops waiting after 10."""
    addresses = {"pubsub": pubsub_emulator, "firestore": firestore_emulator}
    with running(
        addresses, project, tmp_path, SLOW, reconcilers=1, judge=lambda topic, model, number: WELL
    ) as rig:
        rig.publish(RELEASES, {"model": "m0", **release("1", bake_seconds=0)})
        assert eventually(lambda: rig.outcome("m0", "1") == "succeeded", PATIENCE_SECONDS), (
            rig.describe("m0")
        )
        assert eventually(lambda: rig.is_settled("m0"), PATIENCE_SECONDS), rig.describe("m0")
        assert overlapping(rig, GOOGLES_DEADLINE_SECONDS), rig.describe("m0")
        assert set(end(rig.emulator, "m0").effects.values()) == {1}


def overlapping(rig: Rig, after_seconds: float) -> list[str]:
    """Messages that were delivered again while a function worked on them, at least so long after it
    started.
    """
    by_message: dict[str, list[Delivery]] = {}
    for delivery in rig.proxy.deliveries:
        by_message.setdefault(delivery.message, []).append(delivery)
    return [
        message
        for message, times in by_message.items()
        if any(
            a.began + after_seconds <= b.began < a.ended for a in times for b in times if a is not b
        )
    ]


def reordered(rig: Rig) -> list[tuple[str, str]]:
    """Pairs of messages about one model on one topic of which the later one was acknowledged
    first.
    """
    first: dict[tuple[str, str, str], Delivery] = {}
    for delivery in rig.proxy.deliveries:
        if delivery.status in ACKNOWLEDGED and delivery.model:
            first.setdefault((delivery.topic, delivery.model, delivery.message), delivery)
    taken = sorted(first.values(), key=lambda delivery: delivery.ended)
    return [
        (early.message, late.message)
        for number, late in enumerate(taken)
        for early in taken[number + 1 :]
        if (early.topic, early.model) == (late.topic, late.model)
        and early.published < late.published
    ]


def struck(rig: Rig) -> list[float]:
    """For each process killed while it worked, after how many seconds. It did not respond."""
    return [
        delivery.fate.seconds
        for delivery in rig.proxy.deliveries
        if delivery.fate.kind == "killed" and delivery.status == GONE
    ]


def leaked_secrets(rig: Rig) -> list[str]:
    """The logs and documents that contain the token of a push."""
    texts = {log.name: log.read_text(errors="replace") for log in rig.folder.glob("*.log")}
    assert len(texts) >= 3
    texts |= {
        each.path: str(each.data)
        for name in ("models", "quarantine", "outbox")
        for each in rig.store.list(name, 1000, None)
    }
    return [name for name, text in texts.items() if SECRET in text]


def publish_story(rig: Rig, seed: int) -> str:
    """Publishes the story. Returns where it got stuck, if it did, with everything known about
    it.
    """
    model = model_of(seed)
    for chapter in STORIES[name_of(seed)]:
        if any(event.get("command") == "retire" for event in chapter.events):
            rig.watch.retired.add(model)
        messages = {rig.publish(RELEASES, {"model": model, **event}) for event in chapter.events}
        if not eventually(partial(is_over, rig, model, chapter, messages), PATIENCE_SECONDS):
            return (
                f"seed {seed} is stuck before"
                f" {chapter.ends or chapter.stepping}:\n{rig.describe(model)}"
            )
        rig.watch.serving.add(model)
    return ""


def is_over(rig: Rig, model: str, chapter: Chapter, messages: set[str]) -> bool:
    if not messages <= rig.proxy.acknowledged:
        return False
    if chapter.stepping:
        return any(
            entry["release"] == chapter.stepping and entry["to"] == "step_1"
            for entry in rig.log(model)
        )
    return all(
        rig.outcome(model, version) in outcomes for version, outcomes in chapter.ends.items()
    )


def differences(rig: Rig, seed: int) -> str:
    """The differences from the end of the undisturbed story."""
    model, name = model_of(seed), name_of(seed)
    wrongs: list[str] = []
    if not eventually(lambda: rig.is_settled(model), PATIENCE_SECONDS):
        wrongs.append("does not settle")
    expected = [undisturbed(story, model) for story in (STORIES[name], *SAME_ENDS.get(name, ()))]
    if not eventually(
        lambda: end(rig.emulator, model).resources in [each.resources for each in expected], 5
    ):
        wrongs.append(compare(end(rig.emulator, model).resources, expected[0].resources))
    effects = Counter(end(rig.emulator, model).effects)
    more = effects - Counter(
        dict.fromkeys(effects, 1) if name in SAME_ENDS else expected[0].effects
    )
    wrongs += [f"{effect} happened {effects[effect]} times" for effect in more]
    with_reason = {
        entry["release"] for entry in rig.log(model) if entry["outcome"] and entry["why"]
    }
    releases = rig.store.list(f"models/{model}/releases", 100, None)
    wrongs += [
        f"{each.path} has no outcome"
        for each in releases
        if not each.data.get("outcome") or each.data["version"] not in with_reason
    ]
    if not eventually(lambda: rig.unpublished(model) == set(), 30):
        wrongs.append(f"never published: {rig.unpublished(model)}")
    return f"seed {seed}: {wrongs}\n{rig.describe(model)}" if wrongs else ""


def compare(found: Mapping[str, object], expected: Mapping[str, object]) -> str:
    names = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
    return "\n".join(
        f"{name} is {found.get(name)} and should be {expected.get(name)}" for name in names
    )
