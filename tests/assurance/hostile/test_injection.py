"""Text that would be code somewhere: in a shell, in YAML, in JSON, in a URL, in a log, on a screen.

Property: a text is refused, or it is inert. The bytes that a machine runs are the same whatever was
asked for; what was asked for reaches the machine in metadata items of its own, and what the
machine's script reads there is what was given, word for word."""

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
from tests.assurance.hostile.shapes import Path_, fields, texts, with_key, with_value
from tests.infra.build import World
from tests.infra.resources.test_startup import Machine
from tests.tools import require_program

STARTUP = Path(instance_template.__file__).parent / "startup"
MARK = "zq7"
SEEDS: list[str] = json.loads(Path(__file__).with_name("strings.json").read_text("utf-8"))

# Where an accepted text may stand in what is asked of Compute Engine; nowhere else, and for the
# others nowhere at all.
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
METADATA = {"slipway-port", "slipway-args", "slipway-env", "slipway-secrets", "slipway-gpu", "slipway-image", "user-data",
            "google-logging-enabled", "google-monitoring-enabled", "startup-script"}  # fmt: skip


def strings() -> list[str]:
    """The seeds, each by itself and around a legal word."""
    return [
        wrapped
        for seed in SEEDS
        for wrapped in (seed, f"a{seed}", f"{seed}a", f"/{seed}", f"a/{seed}", f"gs://a/{seed}")
    ]


def test_the_bytes_that_a_machine_runs_are_those_of_the_files_and_nothing_else() -> None:
    """The cloud-config takes no argument: it is the three files, put together."""
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


def test_shellcheck_has_nothing_to_say_about_what_a_machine_runs() -> None:
    """Also of what is asked of it by hand: quoting, unset variables, values that are run."""
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


def test_the_machine_s_script_hands_every_text_on_word_for_word_and_runs_none(
    tmp_path: Path,
) -> None:
    one_line = [text for text in SEEDS if taken(with_value(("artifact", "args"), [text]))]
    args, env = one_line[:190], {f"V{number}": text for number, text in enumerate(one_line[:95])}
    accepted = taken(with_value(("artifact",), {"image": "host/app:1", "args": args, "env": env}))
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


def test_a_refused_text_reaches_the_record_and_no_line_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reason that is logged says what is wrong and shows a little of it, escaped: one line
    stays one line."""
    intake = Intake()
    with caplog.at_level(logging.INFO, "slipway"):
        for seed in SEEDS:
            intake.take(with_value(("version",), seed + "\n"))
    lines = [str(getattr(record, "fields", {}).get("why", "")) for record in caplog.records]
    assert len(lines) == len(SEEDS)
    assert all(line.isprintable() for line in lines)


def test_there_are_enough_strings_and_each_is_marked() -> None:
    assert len(strings()) >= 500
    assert all(MARK in text for text in strings())
    assert len(texts()) >= 30


def messages(path: Path_) -> Iterator[tuple[str, dict[str, Any]]]:
    """The texts for a field, in its message. For every commit each field gets a sixth of them, and
    each text many fields."""
    every = scaled(6, 1)
    offset = texts().index(path) % every
    for text in strings()[offset::every]:
        yield text, with_value(path, text)


@pytest.mark.parametrize("path", texts(), ids=lambda path: ".".join(map(str, path)))
def test_a_text_in_any_field_is_refused_or_inert(path: Path_) -> None:
    for text, message in messages(path):
        accepted = taken(message)
        if accepted:
            then_inert(accepted, path, text)


@pytest.mark.parametrize(
    "path",
    [path for path, _ in fields() if path[-1] in ("WORKERS", "TOKEN", "team", "day")],
    ids=str,
)
def test_a_text_as_a_name_is_refused_or_inert(path: Path_) -> None:
    for text in strings()[:: scaled(3, 1)]:
        accepted = taken(with_key(path, text))
        if accepted:
            then_inert(accepted, path, text)


def taken(message: dict[str, Any]) -> Spec | None:
    try:
        asked = parse(decode_json(json.dumps(message).encode()))
        assert isinstance(asked, ReleaseRequested)
        return resolve(asked, None)
    except Invalid as refused:
        why = str(refused)
    assert why.isprintable(), "a reason writes on the screen"
    return None


def then_inert(spec: Spec, path: Path_, text: str) -> None:
    items = metadata(spec)
    assert set(items) <= METADATA
    script = spec.artifact.startup_script
    assert items.get("user-data") == (None if script else user_data())
    assert items.get("startup-script") == script
    assert as_the_machine_reads(items) == as_given(spec)
    assert load(json.loads(json.dumps(dump(spec)))) == spec
    found = {place for place, value in asked_of_compute(spec) if MARK in value}
    name = ".".join(map(str, path))
    assert found <= PLACES.get(name, set()), f"{name} = {text!r} stands in {found}"


def as_the_machine_reads(items: dict[str, str]) -> tuple[list[str], dict[str, str], dict[str, str]]:
    """What serve.sh makes of the lines it is given: an argument behind each `=`, a name before the
    first one."""
    args, env, secrets = (
        items[name].split("\n") if name in items else []
        for name in ("slipway-args", "slipway-env", "slipway-secrets")
    )
    pairs = [dict(line.split("=", 1) for line in lines) for lines in (env, secrets)]
    return [line[1:] for line in args], pairs[0], pairs[1]


def as_given(spec: Spec) -> tuple[list[str], dict[str, str], dict[str, str]]:
    artifact = spec.artifact
    weights = {"MODEL_WEIGHTS": artifact.weights} if artifact.weights else {}
    return (
        list(artifact.args),
        {"PORT": str(spec.serving.port)} | weights | dict(artifact.env),
        dict(artifact.secrets),
    )


def asked_of_compute(spec: Spec) -> Iterator[tuple[str, str]]:
    """Every text in everything that a first release asks Compute Engine for, and where it
    stands."""
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
