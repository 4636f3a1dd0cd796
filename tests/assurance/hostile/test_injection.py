"""Text that is code somewhere: in a shell, in YAML, in JSON, in a URL, in a log, on a terminal.

Property: a text is refused, or it is inert. The files that a machine runs do not depend on the
message. The message's values reach the machine in separate metadata items, and the startup script
reads exactly the given values from them.
"""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.fleet.plan import plan
from infra.fleet.reads import Scope, full_reads
from infra.fleet.resources import instance_template
from infra.fleet.resources.instance_template import metadata, user_data
from rollout.model import Release, Target
from rollout.spec.message import Invalid, ReleaseRequested, decode_json, parse, resolve
from rollout.spec.model import Spec, digest, dump, load
from rollout.strategies.rolling import steady_group
from tests.assurance.hostile.intake import NOON, Intake, scaled
from tests.assurance.hostile.shapes import FieldPath, fields, text_fields, with_key, with_value
from tests.infra.build import World
from tests.infra.resources.test_startup import Machine
from tests.tools import require_program

STARTUP = Path(instance_template.__file__).parent / "startup"
MARK = "zq7"
SEEDS: list[str] = json.loads(Path(__file__).with_name("strings.json").read_text("utf-8"))

# Where an accepted text may appear in requests to Compute Engine. The text of other fields must not
# appear at all.
_ITEM = "instanceTemplates.properties.metadata.items[{}]".format
_SCALING = "regionAutoscalers.autoscalingPolicy"
PLACES: dict[str, set[str]] = {
    "artifact.startup_script": {_ITEM("startup-script")},
    "artifact.image": {_ITEM("slipway-image")},
    "artifact.weights": {_ITEM("slipway-env")},
    "artifact.args.0": {_ITEM("slipway-args")},
    "artifact.env.WORKERS": {_ITEM("slipway-env")},
    "artifact.secrets.TOKEN": {_ITEM("slipway-secrets")},
    "serving.readiness_path": {"healthChecks.httpHealthCheck.requestPath"},
    "serving.liveness_path": {"healthChecks.httpHealthCheck.requestPath"},
    "machine.tags.0": {"instanceTemplates.properties.tags.items"},
    "machine.labels.team": {
        "instanceTemplates.properties.labels.team",
        "instanceTemplates.properties.labels.<name>",
    },
    "scaling.metrics.0.name": {f"{_SCALING}.customMetricUtilizations.metric"},
    "scaling.metrics.0.filter": {f"{_SCALING}.customMetricUtilizations.filter"},
    "scaling.schedules.day.description": {f"{_SCALING}.scalingSchedules.day.description"},
    "scaling.schedules.day": {f"{_SCALING}.scalingSchedules.<name>"},
    "traffic.host": {
        "urlMaps.hostRules.pathMatcher",
        "urlMaps.hostRules.hosts",
        "urlMaps.pathMatchers.name",
    },
    "traffic.path": {"urlMaps.pathMatchers.pathRules.paths"},
    "traffic.certificate": {"targetHttpsProxies.sslCertificates"},
}
METADATA = {
    "slipway-port",
    "slipway-metrics-port",
    "slipway-args",
    "slipway-env",
    "slipway-secrets",
    "slipway-shm-mb",
    "slipway-ulimits",
    "slipway-gpu",
    "slipway-image",
    "user-data",
    "google-logging-enabled",
    "google-monitoring-enabled",
    "startup-script",
}


def strings() -> list[str]:
    """The seeds alone and combined with valid text."""
    return [
        wrapped
        for seed in SEEDS
        for wrapped in (seed, f"a{seed}", f"{seed}a", f"/{seed}", f"a/{seed}", f"gs://a/{seed}")
    ]


def test_a_machine_runs_exactly_the_startup_files() -> None:
    """The cloud-config takes no argument: it is assembled from the three files."""
    lines = [line.strip() for line in user_data().splitlines()]
    files = [STARTUP / name for name in ("cloud-config.yaml", "serve.sh", "slipway.service")]
    written = [
        line.strip()
        for file in files
        for line in file.read_text("utf-8").splitlines()
        if not line.strip().startswith("@")
    ]
    assert sorted(lines) == sorted(written)
    assert not [line for line in lines if line.startswith("@")]


def test_shellcheck_finds_nothing_in_the_startup_script() -> None:
    """Including optional checks: quoting, unset variables, executed values."""
    optional = (
        "quote-safe-variables,check-unassigned-uppercase,deprecate-which,avoid-nullary-conditions"
    )
    found = subprocess.run(
        [
            require_program("shellcheck"),
            "--shell=bash",
            f"--enable={optional}",
            "--severity=style",
            str(STARTUP / "serve.sh"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


def test_the_startup_script_passes_every_text_on_unchanged_and_runs_none(
    tmp_path: Path,
) -> None:
    one_line = [text for text in SEEDS if accept(with_value(("artifact", "args"), [text]))]
    args, env = one_line[:190], {f"V{number}": text for number, text in enumerate(one_line[:95])}
    accepted = accept(with_value(("artifact",), {"image": "host/app:1", "args": args, "env": env}))
    assert accepted
    assert len(one_line) > 60
    machine = Machine(tmp_path, metadata(accepted))
    done = machine.boot()
    assert done.returncode == 0, done.stderr
    ran = machine.read("docker-run")
    assert ran[ran.index("host/app:1") + 1 :] == args
    given = dict(
        line.split("=", 1) for line in (tmp_path / "env-file").read_text().split("\n") if line
    )
    assert given == {"PORT": "8080"} | env
    assert not list(tmp_path.rglob("*zq7*"))
    assert not list(Path.cwd().glob("*zq7*"))


def test_a_refused_text_cannot_break_a_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The logged reason quotes a part of the text, escaped, so that a record stays on one line."""
    intake = Intake()
    with caplog.at_level(logging.INFO, "slipway"):
        for seed in SEEDS:
            intake.deliver(with_value(("version",), seed + "\n"))
    lines = [str(getattr(record, "fields", {}).get("why", "")) for record in caplog.records]
    assert len(lines) == len(SEEDS)
    assert all(line.isprintable() for line in lines)


def test_there_are_enough_strings_and_each_is_marked() -> None:
    assert len(strings()) >= 500
    assert all(MARK in text for text in strings())
    assert len(text_fields()) >= 30


def messages(path: FieldPath) -> Iterator[tuple[str, dict[str, Any]]]:
    """The texts for a field, each in a message. In the tests of every commit each field gets a
    sixth of them, and each text many fields.
    """
    every = scaled(6, 1)
    offset = text_fields().index(path) % every
    for text in strings()[offset::every]:
        yield text, with_value(path, text)


@pytest.mark.parametrize("path", text_fields(), ids=lambda path: ".".join(map(str, path)))
def test_a_text_in_any_field_is_refused_or_inert(path: FieldPath) -> None:
    for text, message in messages(path):
        accepted = accept(message)
        if accepted:
            assert_inert(accepted, path, text)


@pytest.mark.parametrize(
    "path",
    [path for path, _ in fields() if path[-1] in ("WORKERS", "TOKEN", "team", "day")],
    ids=str,
)
def test_a_text_as_a_name_is_refused_or_inert(path: FieldPath) -> None:
    for text in strings()[:: scaled(3, 1)]:
        accepted = accept(with_key(path, text))
        if accepted:
            assert_inert(accepted, path, text)


def accept(message: dict[str, Any]) -> Spec | None:
    try:
        request = parse(decode_json(json.dumps(message).encode()))
        assert isinstance(request, ReleaseRequested)
        return resolve(request, None)
    except Invalid as refused:
        why = str(refused)
    assert why.isprintable(), "a reason contains control characters"
    return None


def assert_inert(spec: Spec, path: FieldPath, text: str) -> None:
    items = metadata(spec)
    assert set(items) <= METADATA
    script = spec.artifact.startup_script
    assert items.get("user-data") == (None if script else user_data())
    assert items.get("startup-script") == script
    assert read_as_machine(items) == expected_inputs(spec)
    assert load(json.loads(json.dumps(dump(spec)))) == spec
    found = {place for place, value in list_requested_texts(spec) if MARK in value}
    name = ".".join(map(str, path))
    assert found <= PLACES.get(name, set()), f"{name} = {text!r} appears in {found}"


def read_as_machine(items: dict[str, str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """Parses the items as serve.sh does: an argument follows `=`, and a name precedes the first
    `=`.
    """
    args, env, secrets = (
        items[name].split("\n") if name in items else []
        for name in ("slipway-args", "slipway-env", "slipway-secrets")
    )
    pairs = [dict(line.split("=", 1) for line in lines) for lines in (env, secrets)]
    return [line[1:] for line in args], pairs[0], pairs[1]


def expected_inputs(spec: Spec) -> tuple[list[str], dict[str, str], dict[str, str]]:
    artifact = spec.artifact
    weights = {"MODEL_WEIGHTS": artifact.weights} if artifact.weights else {}
    return (
        list(artifact.args),
        {"PORT": str(spec.serving.port)} | weights | dict(artifact.env),
        dict(artifact.secrets),
    )


def list_requested_texts(spec: Spec) -> Iterator[tuple[str, str]]:
    """Every text in the requests of a first release to Compute Engine, with its place."""
    release = Release(
        "1", digest(spec), instance_template.name("tiny", spec), spec, 1, NOON, "event"
    )
    world, target = (
        World(),
        Target("tiny", (steady_group(release, "blue"),), frozenset({release.template})),
    )
    for _ in range(9):
        todo = plan(target, world.snapshot(full_reads(Scope("tiny", (release,), ("blue",)))))
        if todo.is_empty:
            break
        world.do(todo)
    for key, body in world.bodies.items():
        yield f"{key.collection}.name", key.name
        yield from texts_in(body, key.collection)


def texts_in(value: Any, place: str) -> Iterator[tuple[str, str]]:
    match value:
        case {"key": str(key), "value": str(text), **nothing} if not nothing:
            yield f"{place}[{key}]", text
        case dict():
            for name, inner in value.items():
                yield f"{place}.<name>", name
                yield from texts_in(inner, f"{place}.{name}")
        case list():
            for inner in value:
                yield from texts_in(inner, place)
        case str():
            yield place, value
