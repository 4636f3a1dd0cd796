"""The store, bus, environment and release of the measurements that run the deployed functions.

On Google's emulators the functions use Firestore and Pub/Sub as in a project. Without them, SQLite
is the store and no one receives messages; the results say so.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cloudevents.http import CloudEvent

from handlers import release
from infra.bus.envelope import PUBLISHED
from infra.clock import Clock
from infra.compute.client import Compute
from infra.registry.emulated import EmulatedRegistry
from infra.wiring import World
from local import emulators

ROOT = Path(__file__).resolve().parent.parent
PROJECT, MODEL = "demo", "tiny"
IMAGE = "us-docker.pkg.dev/demo/models/tiny"
TOPICS = ("model-releases", "model-wakeups", "model-rollout-status", "model-releases-dead")
UNUSED_ADDRESS = "127.0.0.1:1"  # a port where nothing listens

_numbers = itertools.count(1)


def clean_environment() -> dict[str, str]:
    """This process's environment without variables that change how a program starts or where it
    connects.
    """
    removed = ("PYTHON", "SLIPWAY_", "GOOGLE_", "FUNCTION_", "CLOUDSDK_")
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(removed) and not name.endswith("_EMULATOR_HOST")
    }


def release_message(version: str, model: str = MODEL) -> dict[str, Any]:
    """Six instances of a small container, swapped in three steps. Nothing bakes, so that a rollout
    ends when all instances are healthy.
    """
    return {
        "model": model,
        "version": version,
        "artifact": {"image": f"{IMAGE}:{version}"},
        "serving": {"startup_seconds": 60},
        "scaling": {"min": 6, "max": 10},
        "traffic": {"draining_seconds": 10},
        "rollout": {
            "steps": [{"percent": percent, "hold_seconds": 0} for percent in (10, 50, 100)],
            "bake_seconds": 0,
            "watch_seconds": 0,
        },
    }


def push_of(topic: str, body: object) -> dict[str, Any]:
    """The body of Pub/Sub's push request."""
    message = {
        "messageId": f"bench-{next(_numbers)}-{time.time_ns()}",
        "publishTime": datetime.now(UTC).isoformat(),
        "data": base64.b64encode(json.dumps(body).encode()).decode(),
    }
    return {"message": message, "subscription": f"projects/{PROJECT}/subscriptions/{topic}-push"}


def event_of(topic: str, body: object) -> CloudEvent:
    """The event that functions-framework passes to a function for a push request."""
    context = {
        "type": PUBLISHED,
        "source": f"//pubsub.googleapis.com/projects/{PROJECT}/topics/{topic}",
    }
    return CloudEvent(context, push_of(topic, body))


def no_compute() -> Compute:
    """The Compute client of an intake, which must not use it."""
    raise RuntimeError("the intake used Compute Engine")


class Setting:
    """`environment` tells the functions where the store and the bus are."""

    def __init__(self, kind: str, environment: dict[str, str]) -> None:
        self.kind = kind
        self.environment = environment | {
            "GOOGLE_CLOUD_PROJECT": PROJECT,
            "FUNCTION_SOURCE": str(ROOT / "main.py"),
            "SLIPWAY_REGISTRY": "emulated",
        }
        self.has_emulators = "SLIPWAY_STORE" not in environment

    def world(self, clock: Clock, compute: Callable[[], Compute]) -> World:
        """The World of a function instance in this process, with the same store."""
        from infra.bus.embedded import EmbeddedBus
        from infra.bus.pubsub import PubsubBus
        from infra.settings import POLICY as SETTINGS
        from infra.store.databases import SETTINGS_DATABASE, TwoDatabases
        from infra.store.firestore import FirestoreStore
        from infra.store.port import Put
        from infra.store.sqlite import SqliteStore
        from local.policy import POLICY

        if self.has_emulators:
            documents = FirestoreStore(
                PROJECT, emulator=self.environment["FIRESTORE_EMULATOR_HOST"]
            )
            settings = documents.beside(SETTINGS_DATABASE)
            settings.commit(Put(SETTINGS, POLICY))
            both = TwoDatabases(documents, settings)
            return World(
                clock,
                lambda: both,
                lambda: PubsubBus(PROJECT, emulator=self.environment["PUBSUB_EMULATOR_HOST"]),
                compute,
                registry=EmulatedRegistry,
                project=PROJECT,
            )
        store = SqliteStore(self.environment["SLIPWAY_STORE"].removeprefix("sqlite:"))
        store.commit(Put(SETTINGS, POLICY))
        return World(
            clock,
            lambda: store,
            lambda: EmbeddedBus(clock),
            compute,
            registry=EmulatedRegistry,
            project=PROJECT,
        )

    def accept(self, world: World, body: object) -> None:
        """Records a release as desired, by the intake's code."""
        release.handle(world, event_of("model-releases", body))


@contextmanager
def setting() -> Iterator[Setting]:
    """A setting for the duration of the block."""
    if emulators.missing("firestore") or emulators.missing("pubsub"):
        with TemporaryDirectory(prefix="slipway-bench-") as folder:
            unused = {
                "FIRESTORE_EMULATOR_HOST": UNUSED_ADDRESS,
                "PUBSUB_EMULATOR_HOST": UNUSED_ADDRESS,
            }
            yield Setting("SQLite", {"SLIPWAY_STORE": f"sqlite:{folder}/store.sqlite"} | unused)
        return
    from local.topics import make_topics

    with emulators.running("firestore", "pubsub") as addresses:
        make_topics(addresses["pubsub"], PROJECT, TOPICS)
        hosts = {
            "FIRESTORE_EMULATOR_HOST": addresses["firestore"],
            "PUBSUB_EMULATOR_HOST": addresses["pubsub"],
        }
        yield Setting("Firestore emulator", hosts)
