"""Google's regions and zones, and the zones that a group gets by default. `Cloud(regions=…)`
replaces the list. Sources: documentation, "Regions and zones"; recorded groups in us-central1.
"""

from __future__ import annotations

from collections.abc import Sequence

ZONES_OF_A_GROUP = 3


def _zones(region: str, letters: str) -> tuple[str, ...]:
    return tuple(f"{region}-{letter}" for letter in letters)


_THREE_ZONES = """
    africa-south1
    asia-east1 asia-east2 asia-northeast1 asia-northeast2 asia-northeast3
    asia-south1 asia-south2 asia-southeast1 asia-southeast2
    australia-southeast1 australia-southeast2
    europe-central2 europe-north1 europe-north2 europe-southwest1
    europe-west2 europe-west3 europe-west4 europe-west6 europe-west8 europe-west9
    europe-west10 europe-west12
    me-central1 me-central2 me-west1
    northamerica-northeast1 northamerica-northeast2 northamerica-south1
    southamerica-east1 southamerica-west1
    us-east4 us-east5 us-south1 us-west1 us-west2 us-west3 us-west4
"""
REGIONS: dict[str, tuple[str, ...]] = {
    region: _zones(region, letters)
    for region, letters in sorted(
        {
            **dict.fromkeys(_THREE_ZONES.split(), "abc"),
            "europe-west1": "bcd",
            "us-central1": "abcf",
            "us-east1": "bcd",
        }.items()
    )
}
_DEFAULTS = {"us-central1": _zones("us-central1", "bcf")}


def default_zones(region: str, zones: Sequence[str]) -> tuple[str, ...]:
    """The zones of a group that names none; `zones` are those of its region."""
    chosen = _DEFAULTS.get(region, ())
    return chosen if chosen and set(chosen) <= set(zones) else tuple(zones[:ZONES_OF_A_GROUP])
