"""Everything is as it is deployed but for Google's own side: emulators instead of the services, and
a proxy that disturbs them.

Each schedule is one model's story under the fates of one seed; ten of them run at once and share
the functions, so that a process that is killed or frozen takes several models' turns with it.
Whatever happened, each ends where the undisturbed story ends.

`SLIPWAY_SCHEDULES` says how many (10), `SLIPWAY_SEED` where to begin (0).
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
PATIENCE_SECONDS = 180  # of real time; an unhurried machine needs twenty
SCHEDULES = int(os.environ.get("SLIPWAY_SCHEDULES", "10"))
SEED = int(os.environ.get("SLIPWAY_SEED", "0"))

pytestmark = pytest.mark.timeout(900)


def model_of(seed: int) -> str:
    return f"m{seed}"


def name_of(seed: int) -> str:
    return tuple(STORIES)[seed % len(STORIES)]


def judge(topic: str, model: str, number: int) -> Fate:
    """The model's name says its seed. Ticks have a schedule of their own, which begins anew again
    and again."""
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
        addresses, f"schedules-{SEED}-{os.getpid()}", folder, SPEED, turns=2, judge=judge
    ) as rig:
        yield rig


@pytest.mark.xdist_group("schedules")
@pytest.mark.parametrize("first", range(SEED, SEED + SCHEDULES, AT_ONCE))
def test_every_schedule_ends_where_the_undisturbed_story_ends(rig: Rig, first: int) -> None:
    seeds = range(first, min(first + AT_ONCE, SEED + SCHEDULES))
    with ThreadPoolExecutor(len(seeds)) as pool:
        wrongs = [wrong for wrong in pool.map(lambda seed: lived(rig, seed), seeds) if wrong]
        assert not wrongs, "\n\n".join(wrongs)
        assert eventually(lambda: rig.proxy.is_idle, PATIENCE_SECONDS), (
            "what was taken over is not delivered"
        )
        wrongs = [wrong for wrong in pool.map(lambda seed: ended(rig, seed), seeds) if wrong]
    assert not wrongs, "\n\n".join(wrongs)
    assert not rig.watch.wrongs, "\n".join(
        (*rig.watch.wrongs[:5], rig.tell(rig.watch.wrongs[0].split()[0]))
    )
    assert not rig.proxy.warnings
    assert {delivery.fate.kind for delivery in rig.proxy.deliveries} >= set(HINTS) - {
        "lost",
        "refused",
    }
    assert overlapping(rig, 0), "no message was delivered again while it was worked on"
    assert reordered(rig), "no message came before one that was published earlier"
    assert len(struck(rig)) >= 2, "no process was killed in the middle of its work"
    assert max(rig.proxy.backoffs.waiting_for) >= FIRST_SECONDS * 2, "no message failed twice"
    assert not kept_secrets(rig), "the token of a push was kept"


def test_a_turn_that_outlasts_the_ack_deadline_is_delivered_again_meanwhile_and_its_work_is_done_once(
    pubsub_emulator: str, firestore_emulator: str, tmp_path: Path, project: str
) -> None:
    """A turn takes 45 s of the stack's time, here 15 real ones; Pub/Sub itself gives up waiting
    after 10."""
    addresses = {"pubsub": pubsub_emulator, "firestore": firestore_emulator}
    with running(
        addresses, project, tmp_path, SLOW, turns=1, judge=lambda topic, model, number: WELL
    ) as rig:
        rig.publish(RELEASES, {"model": "m0", **release("1", bake_seconds=0)})
        assert eventually(lambda: rig.outcome("m0", "1") == "succeeded", PATIENCE_SECONDS), (
            rig.tell("m0")
        )
        assert eventually(lambda: rig.is_at_rest("m0"), PATIENCE_SECONDS), rig.tell("m0")
        assert overlapping(rig, GOOGLES_DEADLINE_SECONDS), rig.tell("m0")
        assert set(end(rig.cloud, "m0").effects.values()) == {1}


def overlapping(rig: Rig, after_seconds: float) -> list[str]:
    """The messages that were delivered again while a function still worked on them, that long after
    it began."""
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
    """Pairs of messages about one model on one topic of which the later one was taken first."""
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
    """How long into its work each process was that was killed in the middle of it: the request
    never got an answer."""
    return [
        delivery.fate.seconds
        for delivery in rig.proxy.deliveries
        if delivery.fate.kind == "killed" and delivery.status == GONE
    ]


def kept_secrets(rig: Rig) -> list[str]:
    """Where the token of a push is to be found: in a log, or in a document."""
    texts = {log.name: log.read_text(errors="replace") for log in rig.folder.glob("*.log")}
    assert len(texts) >= 3
    texts |= {
        each.path: str(each.data)
        for name in ("models", "quarantine", "outbox")
        for each in rig.store.list(name, 1000, None)
    }
    return [name for name, text in texts.items() if SECRET in text]


def lived(rig: Rig, seed: int) -> str:
    """Publish the story. Answers where it got stuck, if it did, and all there is to know about
    it."""
    model = model_of(seed)
    for chapter in STORIES[name_of(seed)]:
        if any(event.get("command") == "retire" for event in chapter.events):
            rig.watch.retired.add(model)
        messages = {rig.publish(RELEASES, {"model": model, **event}) for event in chapter.events}
        if not eventually(partial(is_over, rig, model, chapter, messages), PATIENCE_SECONDS):
            return (
                f"seed {seed} is stuck before"
                f" {chapter.ends or chapter.stepping}:\n{rig.tell(model)}"
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


def ended(rig: Rig, seed: int) -> str:
    """What is not as it is at the end of the undisturbed story."""
    model, name = model_of(seed), name_of(seed)
    wrongs: list[str] = []
    if not eventually(lambda: rig.is_at_rest(model), PATIENCE_SECONDS):
        wrongs.append("does not come to rest")
    wanted = [undisturbed(story, model) for story in (STORIES[name], *SAME_ENDS.get(name, ()))]
    if not eventually(
        lambda: end(rig.cloud, model).standing in [each.standing for each in wanted], 5
    ):
        wrongs.append(unlike(end(rig.cloud, model).standing, wanted[0].standing))
    effects = Counter(end(rig.cloud, model).effects)
    more = effects - Counter(dict.fromkeys(effects, 1) if name in SAME_ENDS else wanted[0].effects)
    wrongs += [f"{effect} was done {effects[effect]} times" for effect in more]
    with_reason = {
        entry["release"] for entry in rig.log(model) if entry["outcome"] and entry["why"]
    }
    releases = rig.store.list(f"models/{model}/releases", 100, None)
    wrongs += [
        f"{each.path} has no outcome"
        for each in releases
        if not each.data.get("outcome") or each.data["version"] not in with_reason
    ]
    if not eventually(lambda: rig.untold(model) == set(), 30):
        wrongs.append(f"never told: {rig.untold(model)}")
    return f"seed {seed}: {wrongs}\n{rig.tell(model)}" if wrongs else ""


def unlike(found: Mapping[str, object], wanted: Mapping[str, object]) -> str:
    names = sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name))
    return "\n".join(
        f"{name} is {found.get(name)} and should be {wanted.get(name)}" for name in names
    )
