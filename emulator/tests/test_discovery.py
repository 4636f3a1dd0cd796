"""The discovery document defines the methods, and every handler implements one of them."""

from __future__ import annotations

import pytest

from compute_emulator.api import discovery, request_schema, response_schema
from compute_emulator.api.collections import HANDLERS
from compute_emulator.errors import BadRequest, Invalid


def test_every_handler_is_a_method_of_the_api() -> None:
    assert set(HANDLERS) <= set(discovery.methods())


@pytest.mark.parametrize(
    ("http", "path", "method"),
    [
        ("GET", "projects/p", "compute.projects.get"),
        ("GET", "projects/p/regions/r", "compute.regions.get"),
        ("GET", "projects/p/global/images/family/f", "compute.images.getFromFamily"),
        ("POST", "projects/p/targetHttpProxies/x/setUrlMap", "compute.targetHttpProxies.setUrlMap"),
        ("POST", "projects/p/regions/r/operations/o/wait", "compute.regionOperations.wait"),
        ("PATCH", "projects/p/regions/r/autoscalers", "compute.regionAutoscalers.patch"),
        (
            "POST",
            "projects/p/regions/r/instanceGroupManagers/m/resize",
            "compute.regionInstanceGroupManagers.resize",
        ),
    ],
)
def test_a_url_finds_its_method(http: str, path: str, method: str) -> None:
    found = discovery.route(http, tuple(path.split("/")))
    assert found is not None
    assert found[0].id == method


def test_a_methods_resource_is_read_from_its_url() -> None:
    resize = discovery.methods()["compute.regionInstanceGroupManagers.resize"]
    assert (resize.collection, resize.name_parameter) == (
        "instanceGroupManagers",
        "instanceGroupManager",
    )
    patch = discovery.methods()["compute.regionAutoscalers.patch"]
    assert (patch.collection, patch.name_parameter) == ("autoscalers", None)
    get = discovery.methods()["compute.regions.get"]
    assert (get.collection, get.name_parameter) == ("regions", "region")


def test_sixty_four_bit_numbers_become_strings_and_nulls_are_dropped() -> None:
    body = {"properties": {"disks": [{"initializeParams": {"diskSizeGb": 50}, "source": None}]}}
    cleaned = request_schema.clean("InstanceTemplate", body)
    assert cleaned["properties"]["disks"] == [{"initializeParams": {"diskSizeGb": "50"}}]


def test_a_patch_keeps_nulls_because_they_clear() -> None:
    assert request_schema.clean("UrlMap", {"defaultService": None}, merge=True) == {
        "defaultService": None
    }


def test_resource_urls_are_stored_with_googles_host() -> None:
    cleaned = request_schema.clean(
        "TargetHttpProxy",
        {"urlMap": "http://127.0.0.1:9100/compute/v1/projects/p/global/urlMaps/u"},
    )
    assert cleaned["urlMap"] == "https://www.googleapis.com/compute/v1/projects/p/global/urlMaps/u"


@pytest.mark.parametrize("sent", ["-_-_-_-_-_8=", "+/+/+/+/+/8="])
def test_fingerprints_are_compared_in_either_base64_alphabet(sent: str) -> None:
    assert request_schema.clean("UrlMap", {"fingerprint": sent}) == {"fingerprint": "-_-_-_-_-_8="}


def test_a_nested_error_names_its_location() -> None:
    with pytest.raises(BadRequest, match=r"resource\.updatePolicy\.maxSurge\.fixed"):
        request_schema.clean(
            "InstanceGroupManager", {"updatePolicy": {"maxSurge": {"fixed": "three"}}}
        )
    with pytest.raises(Invalid, match=r"resource\.updatePolicy\.type"):
        request_schema.clean("InstanceGroupManager", {"updatePolicy": {"type": "EAGER"}})


def test_an_invalid_response_is_noticed() -> None:
    wrong = response_schema.problems(
        "HealthCheck", {"kind": "compute#healthCheck", "id": 7, "colour": "red", "name": "hc"}
    )
    assert any("HealthCheck.id" in each for each in wrong)
    assert any("HealthCheck.colour: not in the schema" in each for each in wrong)
    assert any("HealthCheck.selfLink: missing" in each for each in wrong)
