"""The emulator's regions and zones. The names are Google's, the list is not complete, and
`Cloud(regions=…)` replaces it.
"""

from __future__ import annotations


def _zones(region: str, letters: str) -> tuple[str, ...]:
    return tuple(f"{region}-{letter}" for letter in letters)


REGIONS: dict[str, tuple[str, ...]] = {
    region: _zones(region, letters)
    for region, letters in {
        "asia-east1": "abc",
        "asia-northeast1": "abc",
        "asia-south1": "abc",
        "asia-southeast1": "abc",
        "australia-southeast1": "abc",
        "europe-north1": "abc",
        "europe-west1": "bcd",
        "europe-west2": "abc",
        "europe-west3": "abc",
        "europe-west4": "abc",
        "us-central1": "abcf",
        "us-east1": "bcd",
        "us-east4": "abc",
        "us-east5": "abc",
        "us-south1": "abc",
        "us-west1": "abc",
        "us-west4": "abc",
    }.items()
}
