"""The Cloud Build file is valid, and its steps run in the right order and do what they say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.pin_images import pin
from rollout.spec.images import TaggedImage, is_listed

ROOT = Path(__file__).parents[1]
BUILD: dict[str, Any] = yaml.safe_load((ROOT / "cloudbuild.yaml").read_text())
STEPS: dict[str, dict[str, Any]] = {step["id"]: step for step in BUILD["steps"]}
EVERY_STEP = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))


def test_cloud_build_accepts_the_build() -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.cloudbuild", "cloudbuild.yaml"),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout


def before(step: str) -> set[str]:
    """Every step that has finished when this one starts."""
    direct = {name for name in STEPS[step]["waitFor"] if name != "-"}
    return direct.union(*(before(name) for name in direct))


def test_each_step_has_an_id_and_waits_only_for_earlier_steps() -> None:
    names = list(STEPS)
    assert len(names) == len(BUILD["steps"])
    for position, name in enumerate(names):
        assert set(STEPS[name]["waitFor"]) <= {"-", *names[:position]}, name


def test_the_build_checks_then_deploys_then_publishes() -> None:
    assert "make check test" in STEPS["check-and-test"]["script"]
    deploys = {name for name in STEPS if name.startswith("deploy-")}
    checks = {"check-and-test", "supply-chain", "check-release"}
    assert all(checks <= before(name) for name in deploys)
    assert deploys <= before("publish-release")
    assert len({frozenset(before(name)) for name in deploys}) == 1, "they deploy in parallel"


def test_the_declared_substitutions_are_those_used() -> None:
    text = json.dumps({key: value for key, value in BUILD.items() if key != "substitutions"})
    assert set(re.findall(r"\$\{?(_[A-Z_]+)", text)) == set(BUILD["substitutions"])


@EVERY_STEP
def test_a_step_runs_on_an_image_that_can_be_pinned(step: dict[str, Any]) -> None:
    name = BUILD["substitutions"][step["name"].removeprefix("$")]
    assert re.fullmatch(r"[a-z./-]+:[\w.-]*\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", name)


def test_images_are_pinned_to_the_digests_of_their_tags() -> None:
    class Digests:
        def find_digest(self, image: TaggedImage, registries: tuple[str, ...]) -> str:
            assert is_listed(image.host, registries)
            return f"sha256:{len(image.tag):064}"

    text = (ROOT / "cloudbuild.yaml").read_text()
    pinned = pin(text, Digests())
    images = yaml.safe_load(pinned)["substitutions"]
    assert images["_PYTHON_IMAGE"] == f"python:3.13-bookworm@sha256:{13:064}"
    assert images["_GCLOUD_IMAGE"].endswith(f":528.0.0-slim@sha256:{12:064}")
    assert pin(pinned, Digests()) == pinned, "an update replaces the digest"
    assert pinned.count("@sha256:0") == 2


@pytest.mark.parametrize(
    ("images", "unpinned", "status"),
    [
        ("a:1@sha256:0 b:1@sha256:1", "fail", 0),
        ("a:1@sha256:0 b:1", "fail", 1),
        ("a:1@sha256:0 b:1", "warn", 0),
    ],
)
def test_nothing_is_built_with_an_image_that_is_not_pinned(
    images: str, unpinned: str, status: int
) -> None:
    step = subprocess.run(
        ["bash", "-c", STEPS["pinned-images"]["script"]],
        env=os.environ | {"IMAGES": images, "UNPINNED": unpinned},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert step.returncode == status
    assert ("not pinned to a digest: b:1\n" in step.stdout) is images.endswith("b:1")
    assert all("pinned-images" in before(name) for name in STEPS if name != "pinned-images")


def test_the_image_of_gcloud_has_the_version_of_its_packages() -> None:
    given = BUILD["substitutions"]
    assert f":{given['_GCLOUD_VERSION']}-slim" in given["_GCLOUD_IMAGE"]


@EVERY_STEP
def test_the_script_of_a_step_is_bash_and_uses_only_its_own_variables(step: dict[str, Any]) -> None:
    assert step["script"].startswith("#!/usr/bin/env bash\n")
    assert (
        subprocess.run(["bash", "-n"], input=step["script"], text=True, timeout=10).returncode == 0
    )
    given = {assignment.partition("=")[0] for assignment in step["env"]}
    assert set(re.findall(r"\$\{?([A-Z][A-Z_]*)", step["script"])) <= given


@pytest.mark.parametrize(
    ("fails", "audit", "passes"),
    [
        ("none", "fail", True),
        ("sbom", "warn", False),
        ("audit", "fail", False),
        ("audit", "warn", True),
        ("audit", "", False),
    ],
)
def test_a_build_without_its_bill_of_materials_or_with_a_vulnerability_stops(
    tmp_path: Path, fails: str, audit: str, passes: bool
) -> None:
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\n[ "$1" != {fails} ]\n')
    make.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "AUDIT": audit}
    script = STEPS["supply-chain"]["script"]
    ran = subprocess.run(["bash", "-c", script], env=environment, timeout=10, check=False)
    assert (ran.returncode == 0) == passes


def test_the_steps_call_existing_scripts() -> None:
    called = re.findall(r"deploy/\S+", "".join(step["script"] for step in STEPS.values()))
    assert called
    assert [name for name in called if not os.access(ROOT / name, os.X_OK)] == []


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ('{"model":"tiny","command":"pause"}', True),
        ('{"model":"tiny","wish":1}', False),
        ("", False),
    ],
)
def test_a_build_stops_at_a_release_that_the_intake_would_reject(
    text: str, accepted: bool, tmp_path: Path
) -> None:
    file = tmp_path / "release.json"
    file.write_text(text)
    script = STEPS["check-release"]["script"].replace(".venv/bin/python", sys.executable)
    step = subprocess.run(
        ["bash", "-c", script],
        env=os.environ | {"RELEASE_FILE": str(file)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (step.returncode == 0) is accepted, step.stderr
    assert accepted or str(file) in step.stderr


def published(tmp_path: Path, release_file: str) -> list[str]:
    """What the last step publishes, with a fake gcloud that only records it."""
    gcloud, messages = tmp_path / "gcloud", tmp_path / "messages"
    messages.write_text("")
    gcloud.write_text(f'#!/bin/bash\nprintf "%s\\0" "${{@: -1}}" >> {messages}\n')
    gcloud.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PROJECT": "p",
        "RELEASE_FILE": release_file,
    }
    subprocess.run(
        ["bash", "-c", STEPS["publish-release"]["script"]],
        env=environment,
        cwd=ROOT,
        check=True,
        timeout=10,
    )
    return messages.read_text().split("\0")[:-1]


def test_a_build_without_a_release_file_publishes_nothing(tmp_path: Path) -> None:
    assert published(tmp_path, "") == []


def test_a_build_with_a_release_file_publishes_its_content(tmp_path: Path) -> None:
    release = {
        "model": "tiny",
        "version": "1",
        "artifact": {"image": "registry.example/tiny@sha256:" + "0" * 64},
    }
    file = tmp_path / "release.json"
    file.write_text(json.dumps(release))
    (message,) = published(tmp_path, str(file))
    assert json.loads(message.removeprefix("--message=")) == release


def test_the_build_runs_as_the_deployer_that_bootstrap_creates() -> None:
    assert BUILD["serviceAccount"].endswith(
        "/serviceAccounts/slipway-deployer@$PROJECT_ID.iam.gserviceaccount.com"
    )
    assert "service_account slipway-deployer" in (ROOT / "deploy/bootstrap.sh").read_text()
    assert BUILD["options"]["logging"] == "CLOUD_LOGGING_ONLY", (
        "Cloud Build rejects a build with its own account and no choice of logs"
    )
