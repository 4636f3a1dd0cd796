"""The policy that `deploy/bootstrap.sh` writes: it allows little, and says how to allow more."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.settings import load_policy_document
from rollout.policy.changes import widen
from rollout.policy.checks import policy_violations
from rollout.policy.violation import explain
from rollout.spec.defaults import project_defaults
from rollout.spec.message import ReleaseRequested, parse, resolve
from rollout.spec.model import Spec

ROOT = Path(__file__).parents[1]
PROJECT = "example-project"
RELEASES = ("smallest", "cpu-metric-schedule", "next-release", "l4-vllm", "h100")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    done = subprocess.run(
        [ROOT / "deploy/bootstrap.sh", f"--project={PROJECT}", "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    (command,) = (line for line in done.stdout.splitlines() if line.startswith("curl "))
    assert "Bearer" not in command
    return {name: _plain(each) for name, each in json.loads(_body(command))["fields"].items()}


def _body(command: str) -> str:
    words = shlex.split(command)
    return words[words.index("-d") + 1]


def _plain(value: dict[str, Any]) -> Any:
    ((kind, given),) = value.items()
    if kind == "integerValue":
        return int(given)
    return [_plain(each) for each in given["values"]] if kind == "arrayValue" else given


def example(name: str) -> tuple[str, Spec]:
    request = parse(json.loads((ROOT / f"examples/{name}.json").read_text()))
    assert isinstance(request, ReleaseRequested)
    base = example("cpu-metric-schedule")[1] if request.base else None
    return request.model, resolve(request, base, of_project=project_defaults(PROJECT))


@pytest.mark.parametrize("name", RELEASES)
def test_each_example_runs_after_the_one_command_that_its_refusal_names(
    document: dict[str, Any], name: str
) -> None:
    model, spec = example(name)
    policy = load_policy_document(document, PROJECT)
    command = explain(policy_violations(policy, model, "1", spec))[-1].partition("with: ")[2]
    assert command.startswith("slipway policy allow ")
    changes = shlex.split(command)[3:]
    widened = load_policy_document(widen(document, changes), PROJECT)
    assert policy_violations(widened, model, "1", spec) == ()


def test_the_smallest_event_needs_nothing_but_to_be_exposed(document: dict[str, Any]) -> None:
    model, spec = example("smallest")
    policy = load_policy_document(document, PROJECT)
    found = policy_violations(policy, model, "1", spec)
    assert [each.allow for each in found] == ["exposure=external", "hosts=*"]


def test_the_first_policy_names_all_that_costs(document: dict[str, Any]) -> None:
    policy = load_policy_document(document, PROJECT)
    assert policy.has_project_caps
    assert (policy.max_accelerators, policy.max_project_accelerators) == (0, 0)
    assert policy.max_instances
    assert policy.max_cost_per_hour
    assert policy.regions == ("us-central1",)
    assert policy.machine_types
    assert policy.images == ("us-central1-docker.pkg.dev/example-project/",)


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ("200", 0, "Wrote a policy"),
        ("409", 0, "Kept the policy"),
        ("403", 1, "could not be written: Firestore answered with HTTP status 403"),
    ],
)
def test_a_policy_that_exists_is_kept_and_any_other_answer_is_an_error(
    tmp_path: Path, answer: str, status: int, text: str
) -> None:
    for name, body in (
        ("gcloud", "echo token-1"),
        ("curl", f'read -r header; echo "$header $*" >> {tmp_path}/sent; printf {answer}'),
    ):
        program = tmp_path / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    script = (
        "set -euo pipefail; cd deploy; source ./common.sh; source ./policy.sh;"
        f" PROJECT={PROJECT} NETWORK=default; first_policy"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, text in done.stdout + done.stderr) == (status, True)
    assert "token-1" not in done.stdout
    sent = (tmp_path / "sent").read_text()
    assert sent.startswith("Authorization: Bearer token-1 ")
    assert "databases/slipway-settings/documents/settings?documentId=policy" in sent
