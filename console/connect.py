"""Decides which project a command is about, and connects to its store and its bus.

In this order: `--project`, a local stack that runs (`make demo DEMO_ARGS="--keep"`),
`GOOGLE_CLOUD_PROJECT`, gcloud's configuration. Google's clients use application default
credentials, or emulators by `FIRESTORE_EMULATOR_HOST` and `PUBSUB_EMULATOR_HOST`. Clients that few
commands use are imported when they are: they take half of the time that others need.
"""

from __future__ import annotations

import base64
import configparser
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from google.auth.exceptions import GoogleAuthError

from infra.bus.port import Bus, BusError, check_outgoing
from infra.clock import Clock
from infra.errors import Unavailable
from infra.store.documents import UnknownSchema
from infra.store.port import Store, StoreError
from infra.wiring import World, make_settings, make_world

if TYPE_CHECKING:
    from console.examine.cloud import Cloud
    from console.examine.topics import Topics

PROJECT = re.compile(r"[a-z][a-z0-9.:-]{0,62}")


class Failure(Exception):
    """What the command could not do, and what to do about it. Ends the program with status 1."""


@dataclass(frozen=True)
class Connection:
    """`place` says for people where the project is. `sleep` waits, and `timer` counts, in real
    seconds; the clock of a local stack is faster. `is_local`: commands find it without --project.
    """

    world: World
    project: str
    place: str
    publisher: Bus | None = None
    find_topics: Callable[[], Topics] | None = None
    find_settings: Callable[[], Store] | None = None
    find_cloud: Callable[[], Cloud] | None = None
    sleep: Callable[[float], None] = time.sleep
    timer: Callable[[], float] = time.monotonic
    is_local: bool = False

    @property
    def store(self) -> Store:
        return self.world.store

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @cached_property
    def bus(self) -> Bus:
        return self.publisher or self.world.bus

    @cached_property
    def settings(self) -> Store:
        """Where people write settings: the store of the World only reads them."""
        if self.find_settings is None:
            raise Failure(f"{self.place} has no database of settings")
        return self.find_settings()

    @cached_property
    def topics(self) -> Topics | None:
        """None if the bus is embedded in the local stack."""
        return self.find_topics() if self.find_topics else None

    @cached_property
    def cloud(self) -> Cloud | None:
        """None unless it is a project on Google Cloud."""
        return self.find_cloud() if self.find_cloud else None


Connect = Callable[[str | None], Connection]


class RestBus:
    """Publishes by Pub/Sub's REST API: that of a local stack without Google's emulator."""

    def __init__(self, project: str, address: str) -> None:
        self._url = f"http://{address}/v1/projects/{project}/topics"

    def publish(
        self, topic: str, data: bytes, attributes: Mapping[str, str] = MappingProxyType({})
    ) -> str:
        import requests

        check_outgoing(data, attributes)
        message = {"data": base64.b64encode(data).decode(), "attributes": dict(attributes)}
        try:
            answer = requests.post(
                f"{self._url}/{topic}:publish", json={"messages": [message]}, timeout=10
            )
        except requests.RequestException as error:
            raise Unavailable(f"the local stack does not answer: {error}") from error
        if answer.status_code != 200:
            raise BusError(f"the local stack refused a message: {answer.text[:300]}")
        return str(answer.json()["messageIds"][0])


def connector(environment: Mapping[str, str]) -> Connect:
    """Connects as the environment and a command's `--project` say."""
    return lambda project: connect(project, environment)


def connect(project: str | None, environment: Mapping[str, str]) -> Connection:
    if project is None and (local := _local_stack(environment)):
        return local
    named = project or environment.get("GOOGLE_CLOUD_PROJECT") or gcloud_project(environment)
    if not named:
        raise Failure(
            "no project is known: give --project, set GOOGLE_CLOUD_PROJECT, run gcloud config set"
            ' project, or start a local stack with make demo DEMO_ARGS="--keep"'
        )
    if not PROJECT.fullmatch(named):
        raise Failure(f"--project: must be a project id such as my-project-1, got {named!r}")
    environment = {**environment, "GOOGLE_CLOUD_PROJECT": named}
    world = make_world(environment)
    is_emulated = bool(environment.get("FIRESTORE_EMULATOR_HOST"))
    place = f"the emulated project {named}" if is_emulated else f"project {named}"
    emulators = ("FIRESTORE_EMULATOR_HOST", "PUBSUB_EMULATOR_HOST", "SLIPWAY_STORE")
    is_google = not any(environment.get(name) for name in emulators)
    return Connection(
        world,
        named,
        place,
        find_topics=_topics(named, environment),
        find_settings=_settings(environment),
        find_cloud=_cloud(named, environment) if is_google else None,
    )


def _cloud(project: str, environment: Mapping[str, str]) -> Callable[[], Cloud]:
    def find() -> Cloud:
        from console.examine.cloud import Cloud
        from infra.store.firestore import DATABASE

        return Cloud(project, environment.get("SLIPWAY_DATABASE") or DATABASE)

    return find


def _settings(environment: Mapping[str, str]) -> Callable[[], Store]:
    return lambda: make_settings(environment)


def _topics(project: str, environment: Mapping[str, str]) -> Callable[[], Topics]:
    def find() -> Topics:
        from console.examine.topics import Topics

        return Topics(project, environment.get("PUBSUB_EMULATOR_HOST") or None)

    return find


def _local_stack(environment: Mapping[str, str]) -> Connection | None:
    """The local stack that runs on this machine, if one does. It needs a Unix."""
    try:
        from local.running import file_of, find
    except ImportError:
        return None
    stack = find(file_of(environment))
    if stack is None:
        return None
    project = stack.environment["GOOGLE_CLOUD_PROJECT"]
    world, place = make_world(stack.environment), f"the local stack, process {stack.pid}"
    settings = _settings(stack.environment)
    if "PUBSUB_EMULATOR_HOST" in stack.environment:
        topics, bus = _topics(project, stack.environment), None
    else:
        topics, bus = None, RestBus(project, stack.pubsub)
    return Connection(
        world, project, place, bus, find_topics=topics, find_settings=settings, is_local=True
    )


def gcloud_project(environment: Mapping[str, str]) -> str:
    """The project of gcloud's active configuration; empty if there is none."""
    if named := environment.get("CLOUDSDK_CORE_PROJECT"):
        return named
    home = Path(environment.get("CLOUDSDK_CONFIG") or Path.home() / ".config/gcloud")
    with suppress(OSError, UnicodeDecodeError, configparser.Error):
        active = environment.get("CLOUDSDK_ACTIVE_CONFIG_NAME")
        active = active or (home / "active_config").read_text().strip() or "default"
        parser = configparser.ConfigParser(interpolation=None)
        parser.read(home / "configurations" / f"config_{Path(active).name}")
        return parser.get("core", "project", fallback="")
    return ""


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turns what the store, the bus and Google's clients raise into a `Failure` that says what to
    do.
    """
    try:
        yield
    except UnknownSchema as error:
        raise Failure(f"{error}; or use the slipway of that version") from error
    except GoogleAuthError as error:
        raise Failure(
            f"no credentials for {place}: {str(error).rstrip('.')}. Run gcloud auth"
            " application-default login"
        ) from error
    except StoreError as error:
        raise Failure(
            f"Firestore of {place} refused: {error}. Check that the project is the right one, and"
            " that you have roles/datastore.viewer in it"
        ) from error
    except BusError as error:
        raise Failure(
            f"{error}. Check that the project is the right one, and that you may publish on the"
            " topic (roles/pubsub.publisher)"
        ) from error
    except Unavailable as error:
        raise Failure(f"{place} does not answer: {error}. Try again") from error
