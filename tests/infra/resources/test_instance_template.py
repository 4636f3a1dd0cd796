"""The instance template: its name is a hash of its content, and user input never becomes code."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from infra.fleet.model import Body
from infra.fleet.resources.instance_template import desired, metadata, name, user_data
from rollout.spec.model import Artifact
from tests.infra.build import release, spec

LINE = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=40)
ENV_NAME = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)


def properties(**sections: Any) -> Body:
    body: Body = desired("tiny", release(**sections)).body["properties"]
    return body


def test_the_name_depends_on_the_content_and_not_on_the_version() -> None:
    assert name("tiny", spec()) == name("tiny", spec())
    assert name("tiny", spec()).startswith("slipway-tiny-")
    assert name("tiny", spec(scaling={"max": 9})) == name("tiny", spec())
    assert name("tiny", spec(machine={"type": "n2-standard-4"})) != name("tiny", spec())
    assert name("tinier", spec()) != name("tiny", spec())


def test_a_template_keeps_the_name_its_release_was_accepted_with() -> None:
    kept = replace(release(), template="slipway-tiny-0123456789")
    assert desired("tiny", kept).key.name == "slipway-tiny-0123456789"
    assert desired("tiny", kept).body["name"] == "slipway-tiny-0123456789"


def test_a_version_is_a_legal_label() -> None:
    odd = replace(release(), version="2026.11+RC_1")
    assert desired("tiny", odd).body["properties"]["labels"] == {
        "slipway-model": "tiny",
        "slipway-release": "2026-11-rc_1",
    }


@given(
    LINE,
    st.lists(LINE, max_size=5),
    st.dictionaries(ENV_NAME, LINE, max_size=4),
    st.dictionaries(ENV_NAME, LINE, max_size=3),
)
def test_user_input_does_not_change_the_startup_script(
    image: str, args: list[str], env: dict[str, str], secrets: dict[str, str]
) -> None:
    plain = user_data()
    artifact = Artifact.model_construct(
        image=image or "x",
        args=tuple(args),
        env=env,
        secrets=secrets,
        weights=None,
        startup_script=None,
    )
    items = metadata(spec().model_copy(update={"artifact": artifact}))
    assert items["user-data"] == plain == user_data()
    lines = items.get("slipway-args", "").split("\n") if args else []
    assert [line.removeprefix("=") for line in lines] == args
    assert (
        dict(line.split("=", 1) for line in items["slipway-env"].split("\n"))
        == {"PORT": "8080"} | env
    )


def test_a_line_break_is_refused() -> None:
    artifact = Artifact.model_construct(
        image="x", args=("a\nb",), env={}, secrets={}, weights=None, startup_script=None
    )
    with pytest.raises(ValueError, match="line breaks"):
        metadata(spec().model_copy(update={"artifact": artifact}))


def test_no_secrets_value_and_no_empty_item_is_in_metadata() -> None:
    items = metadata(spec(artifact={"image": "x/y:1", "secrets": {"TOKEN": "hf-token@3"}}))
    assert items["slipway-secrets"] == "TOKEN=hf-token@3"
    assert all(items.values())


def test_weights_reach_the_container_as_a_variable() -> None:
    items = metadata(spec(artifact={"image": "x/y:1", "weights": "gs://bucket/w"}))
    assert items["slipway-env"] == "MODEL_WEIGHTS=gs://bucket/w\nPORT=8080"


def test_a_script_runs_on_a_plain_image_without_our_cloud_config() -> None:
    body = properties(artifact={"image": None, "startup_script": "#!/bin/sh\n"})
    items = {item["key"]: item["value"] for item in body["metadata"]["items"]}
    assert items["startup-script"] == "#!/bin/sh\n"
    assert "user-data" not in items
    assert "debian-cloud" in body["disks"][0]["initializeParams"]["sourceImage"]


def test_the_cloud_config_contains_the_script_and_the_unit_unchanged() -> None:
    loaded = yaml.safe_load(user_data())
    script, unit = (file["content"] for file in loaded["write_files"])
    assert script.startswith("#!/bin/bash\n")
    assert script.endswith("say 'the container runs'\n")
    assert "ExecStart=/bin/bash /etc/slipway/serve.sh\n" in unit
    assert user_data().startswith("#cloud-config\n")
    assert user_data().isascii()


def test_machines_with_gpus_are_not_live_migrated() -> None:
    gpu = properties(machine={"accelerator": {"type": "nvidia-tesla-t4"}})
    assert gpu["scheduling"]["onHostMaintenance"] == "TERMINATE"
    assert gpu["guestAccelerators"] == [
        {"acceleratorType": "nvidia-tesla-t4", "acceleratorCount": 1}
    ]
    assert (
        properties(machine={"type": "a2-highgpu-1g"})["scheduling"]["onHostMaintenance"]
        == "TERMINATE"
    )
    assert properties()["scheduling"]["onHostMaintenance"] == "MIGRATE"


def test_preempted_spot_machines_are_deleted() -> None:
    assert properties(machine={"spot": True})["scheduling"] == {
        "provisioningModel": "SPOT",
        "preemptible": True,
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE",
        "instanceTerminationAction": "DELETE",
    }


@pytest.mark.parametrize(
    ("reservation", "affinity"),
    [
        ("any", None),
        ("none", {"consumeReservationType": "NO_RESERVATION"}),
        *(
            (
                name,
                {
                    "consumeReservationType": "SPECIFIC_RESERVATION",
                    "key": "compute.googleapis.com/reservation-name",
                    "values": [name],
                },
            )
            for name in ("h100s", "projects/other/reservations/h100s")
        ),
    ],
)
def test_instances_use_the_reserved_capacity_that_is_named(
    reservation: str, affinity: dict[str, Any] | None
) -> None:
    assert properties(machine={"reservation": reservation}).get("reservationAffinity") == affinity


def test_with_a_subnetwork_the_default_network_is_omitted() -> None:
    subnetwork = "regions/us-central1/subnetworks/s"
    assert properties(machine={"subnetwork": subnetwork, "external_ip": False})[
        "networkInterfaces"
    ] == [{"subnetwork": subnetwork}]
    both = {"subnetwork": subnetwork, "network": "global/networks/n", "external_ip": False}
    assert properties(machine=both)["networkInterfaces"] == [
        {"subnetwork": subnetwork, "network": "global/networks/n"}
    ]


def test_the_metadata_stays_within_the_size_limit() -> None:
    assert len(user_data().encode()) < 16_000
    assert len(json.dumps(properties()["metadata"])) < 32_000
