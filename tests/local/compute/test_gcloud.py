"""Google's own command line, unmodified, over HTTP."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.compute import Cloud, ScaledClock, serve

pytestmark = pytest.mark.skipif(shutil.which("gcloud") is None and not os.environ.get("CI"), reason="gcloud is not installed")
Gcloud = Callable[..., str]


@pytest.fixture
def gcloud(tmp_path: Path) -> Iterator[Gcloud]:
    with serve(Cloud(clock=ScaledClock(600), operation_seconds=10, check_answers=True)) as server:
        environment = os.environ | {
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE": f"{server.url}/compute/v1/",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
            "CLOUDSDK_CORE_PROJECT": "demo",
            "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
            "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
            "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
            "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        }

        def run(command: str, *, fails: bool = False) -> str:
            done = subprocess.run(
                ["gcloud", "compute", *command.split(), "--format=json"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode != 0) is fails, done.stderr
            return done.stderr if fails else done.stdout

        yield run


def test_a_load_balancer_is_built_changed_and_taken_down(gcloud: Gcloud, tmp_path: Path) -> None:
    gcloud("health-checks create http hc --port=8000 --request-path=/healthz")
    for name in ("bs1", "bs2"):
        gcloud(
            f"backend-services create {name} --global --protocol=HTTP --health-checks=hc --load-balancing-scheme=EXTERNAL_MANAGED"
        )
    gcloud("backend-services update bs1 --global --timeout=900s")
    gcloud("url-maps create um --default-service=bs1 --global")
    gcloud(
        "url-maps add-path-matcher um --path-matcher-name=pm --default-service=bs1 --path-rules=/v1/*=bs2 "
        "--new-hosts=h.example --global"
    )
    split = tmp_path / "split.yaml"
    split.write_text(
        "name: um\ndefaultRouteAction:\n  weightedBackendServices:\n"
        "  - {backendService: projects/demo/global/backendServices/bs1, weight: 90}\n"
        "  - {backendService: projects/demo/global/backendServices/bs2, weight: 10}\n"
    )
    gcloud(f"url-maps import um --source={split} --global --quiet")
    kept = json.loads(gcloud("url-maps describe um --global"))
    assert [each["weight"] for each in kept["defaultRouteAction"]["weightedBackendServices"]] == [90, 10]
    assert "pathMatchers" not in kept

    gcloud("target-http-proxies create tp --url-map=um --global")
    gcloud("forwarding-rules create fr --global --target-http-proxy=tp --ports=80 --load-balancing-scheme=EXTERNAL_MANAGED")
    assert "already being used by 'projects/demo/global/backendServices/bs1'" in gcloud(
        "health-checks delete hc --global --quiet", fails=True
    )
    for command in (
        "forwarding-rules delete fr",
        "target-http-proxies delete tp",
        "url-maps delete um",
        "backend-services delete bs1 bs2",
        "health-checks delete hc",
    ):
        gcloud(f"{command} --global --quiet")
    assert json.loads(gcloud("health-checks list --global")) == []


def test_templates_are_created_listed_and_two_deleted_in_one_command(gcloud: Gcloud) -> None:
    gcloud(
        "instance-templates create gpu --machine-type=g2-standard-4 --accelerator=type=nvidia-l4,count=1 "
        "--maintenance-policy=TERMINATE --image-family=cos-121-lts --image-project=cos-cloud --labels=app=llm "
        "--metadata=k=v --provisioning-model=SPOT --instance-termination-action=DELETE"
    )
    gcloud("instance-templates create plain")
    listed = json.loads(gcloud("instance-templates list"))
    assert sorted(each["name"] for each in listed) == ["gpu", "plain"]
    gcloud("instance-templates delete gpu plain --quiet")
    finished = json.loads(gcloud("operations list"))
    assert {each["operationType"] for each in finished} == {
        "compute.instanceTemplates.insert",
        "compute.instanceTemplates.delete",
    }


def test_a_group_is_made_rolled_to_a_new_template_and_deleted(gcloud: Gcloud) -> None:
    here = "--region=us-central1"
    for name in ("it-v1", "it-v2"):
        gcloud(f"instance-templates create {name}")
    gcloud(f"instance-groups managed create fleet {here} --size=3 --template=it-v1 --update-policy-type=proactive")
    gcloud(f"instance-groups managed set-named-ports fleet {here} --named-ports=http:8000")
    gcloud(f"instance-groups managed set-autoscaling fleet {here} --min-num-replicas=3 --max-num-replicas=5")
    gcloud(f"instance-groups managed rolling-action start-update fleet {here} --version=template=it-v2")
    for goal in ("--version-target-reached", "--stable"):
        gcloud(f"instance-groups managed wait-until fleet {here} {goal} --timeout=120")
    instances = json.loads(gcloud(f"instance-groups managed list-instances fleet {here}"))
    assert [each["version"]["instanceTemplate"].rpartition("/")[2] for each in instances] == ["it-v2"] * 3
    assert {each["instanceStatus"] for each in instances} == {"RUNNING"}
    assert len(json.loads(gcloud("instances list"))) == 3
    gcloud(f"instance-groups managed delete fleet {here} --quiet")
    assert json.loads(gcloud("instances list")) == []
