"""One key for every spelling of a resource's URL."""

from __future__ import annotations

import pytest

from compute_emulator import keys
from compute_emulator.keys import Key


@pytest.mark.parametrize(
    ("url", "key"),
    [
        (
            "https://www.googleapis.com/compute/v1/projects/p/global/urlMaps/um",
            Key("global", "urlMaps", "um"),
        ),
        (
            "https://compute.googleapis.com/compute/v1/projects/p/global/urlMaps/um",
            Key("global", "urlMaps", "um"),
        ),
        (
            "http://127.0.0.1:9100/compute/v1/projects/p/global/urlMaps/um",
            Key("global", "urlMaps", "um"),
        ),
        ("projects/p/regions/r/instanceGroups/g", Key("regions/r", "instanceGroups", "g")),
        ("regions/r/instanceGroups/g", Key("regions/r", "instanceGroups", "g")),
        ("/global/urlMaps/um", Key("global", "urlMaps", "um")),
        ("zones/z/instances/vm", Key("zones/z", "instances", "vm")),
        (
            "projects/cos-cloud/global/images/family/cos-121-lts",
            Key("global", "images", "family/cos-121-lts"),
        ),
        ("projects/p/zones/us-central1-a", Key("global", "zones", "us-central1-a")),
        ("nonsense", None),
        ("", None),
    ],
)
def test_a_url_is_parsed_from_its_scope(url: str, key: Key | None) -> None:
    assert keys.parse(url) == key


def test_links_and_paths_have_one_form() -> None:
    assert keys.link("p", Key("global", "urlMaps", "um")).endswith(
        "/compute/v1/projects/p/global/urlMaps/um"
    )
    assert keys.path("p", Key("global", "zones", "z")) == "projects/p/zones/z"
    assert keys.project_of("projects/p/global/urlMaps/um") == "p"
    assert keys.project_of("global/urlMaps/um") is None
