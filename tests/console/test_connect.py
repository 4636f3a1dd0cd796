"""Which project a command is about, and what a person reads if it cannot be reached."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from console.connect import Failure, RestBus, connect, connector, gcloud_project
from infra.bus.port import BusError
from infra.errors import Unavailable
from infra.store.port import Put
from infra.store.sqlite import SqliteStore
from infra.wiring import ScaledClock
from local.publisher import Publisher
from local.running import RunningStack, announced, file_of
from tests.console.terminal import run

Environment = dict[str, str]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """No local stack runs, and gcloud has no configuration."""
    return {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "SLIPWAY_STORE": f"sqlite:{tmp_path}/store.sqlite",
    }


@pytest.fixture
def local_stack(environment: Environment, tmp_path: Path) -> Iterator[RunningStack]:
    path = tmp_path / "local.sqlite"
    SqliteStore(path).commit(Put("models/older", {"schema": 1, "model": "older"}))
    functions = {
        "GOOGLE_CLOUD_PROJECT": "demo",
        "SLIPWAY_STORE": f"sqlite:{path}",
        "SLIPWAY_CLOCK": "scaled:30:1767268800",
    }
    stack = RunningStack(7, functions, "127.0.0.1:9")
    with announced(file_of(environment), stack):
        yield stack


def given_gcloud(environment: Environment, project: str, name: str = "default") -> None:
    folder = Path(environment["CLOUDSDK_CONFIG"])
    (folder / "configurations").mkdir(parents=True, exist_ok=True)
    (folder / "active_config").write_text(f"{name}\n")
    (folder / f"configurations/config_{name}").write_text(f"[core]\nproject = {project}\n")


def test_a_local_stack_that_runs_is_used_by_itself(
    environment: Environment, local_stack: RunningStack
) -> None:
    connection = connect(None, environment | {"GOOGLE_CLOUD_PROJECT": "production-1"})
    assert (connection.project, connection.place) == ("demo", "the local stack, process 7")
    assert connection.store.get("models/older")
    assert isinstance(connection.clock, ScaledClock)
    assert isinstance(connection.bus, RestBus)


def test_a_project_that_is_named_is_used_beside_a_local_stack(
    environment: Environment, local_stack: RunningStack
) -> None:
    connection = connect("production-1", environment)
    assert (connection.project, connection.place) == ("production-1", "project production-1")
    assert connection.store.get("models/older") is None


def test_the_environment_comes_before_gcloud(environment: Environment) -> None:
    given_gcloud(environment, "of-gcloud")
    assert connect(None, environment).project == "of-gcloud"
    named = environment | {"GOOGLE_CLOUD_PROJECT": "of-environment"}
    assert connect(None, named).project == "of-environment"


def test_the_active_configuration_of_gcloud_counts(environment: Environment) -> None:
    given_gcloud(environment, "first")
    given_gcloud(environment, "second", "work")
    assert gcloud_project(environment) == "second"
    assert gcloud_project(environment | {"CLOUDSDK_ACTIVE_CONFIG_NAME": "default"}) == "first"
    assert gcloud_project(environment | {"CLOUDSDK_CORE_PROJECT": "third"}) == "third"


@pytest.mark.parametrize("text", ["", "not a configuration", "[core]\n", "\x00", "[core]\nproject"])
def test_a_damaged_configuration_of_gcloud_names_nothing(
    environment: Environment, text: str
) -> None:
    given_gcloud(environment, "x")
    (Path(environment["CLOUDSDK_CONFIG"]) / "configurations/config_default").write_text(text)
    assert not gcloud_project(environment)


def test_without_a_project_a_person_reads_how_to_name_one(environment: Environment) -> None:
    result = run(connector(environment), "status")
    assert (result.status, result.out) == (1, "")
    assert "give --project, set GOOGLE_CLOUD_PROJECT" in result.notes


@pytest.mark.parametrize("project", ["a/b", "../x", "Project", "", "x" * 64])
def test_a_project_that_is_none_is_refused(environment: Environment, project: str) -> None:
    with pytest.raises(Failure, match=r"--project|no project"):
        connect(project, environment)


def test_a_store_that_does_not_answer_is_one_line(environment: Environment) -> None:
    away = environment | {"SLIPWAY_STORE": "firestore", "FIRESTORE_EMULATOR_HOST": "127.0.0.1:9"}
    result = run(connector(away), "status", "--project", "demo")
    assert result.status == 1
    assert result.notes.startswith("slipway: the emulated project demo does not answer: ")
    assert result.notes.count("\n") == 1


def test_the_local_stack_takes_messages_by_rest() -> None:
    taken: list[tuple[str, bytes, dict[str, str]]] = []

    def publish(topic: str, data: bytes, attributes: object) -> str:
        if topic == "missing":
            raise BusError("there is no such topic")
        assert isinstance(attributes, dict)
        taken.append((topic, data, attributes))
        return "17"

    publisher = Publisher(publish)
    publisher.start()
    bus = RestBus("demo", publisher.address)
    try:
        assert bus.publish("model-releases", b"{}", {"ce-id": "1"}) == "17"
        with pytest.raises(BusError, match="there is no such topic"):
            bus.publish("missing", b"{}")
    finally:
        publisher.stop()
    assert taken == [("model-releases", b"{}", {"ce-id": "1"})]
    with pytest.raises(Unavailable):
        bus.publish("model-releases", b"{}")
