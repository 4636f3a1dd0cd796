"""Images: every family exists in every image project, with one image. Read-only."""

from __future__ import annotations

from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.catalogue import catalogue_resource
from compute_emulator.errors import JsonObject

HANDLERS = Handlers()

FAMILIES = {
    "cos-cloud": ("cos-stable", "cos-117-lts", "cos-121-lts"),
    "debian-cloud": ("debian-12", "debian-13"),
    "ubuntu-os-cloud": ("ubuntu-2204-lts", "ubuntu-2404-lts-amd64"),
    "deeplearning-platform-release": ("common-cu124-debian-12",),
}
"""The images that lists show; the project itself has none."""


def _image(call: Call, name: str, family: str) -> JsonObject:
    return catalogue_resource(
        "image",
        f"projects/{call.project}/global/images/{name}",
        family=family,
        status="READY",
        sourceType="RAW",
        diskSizeGb="10",
        archiveSizeBytes="1073741824",
        architecture="X86_64",
    )


@HANDLERS.handles("compute.images.getFromFamily")
def get_image_from_family(call: Call) -> JsonObject:
    """Every family exists, with one image."""
    family = call.params["family"]
    return _image(call, f"{family}-v20260101", family)


@HANDLERS.handles("compute.images.get")
def get_image(call: Call) -> JsonObject:
    return _image(call, call.name, call.name.rpartition("-v")[0] or call.name)


@HANDLERS.handles("compute.images.list")
def list_images(call: Call) -> JsonObject:
    return call.page(
        [_image(call, f"{family}-v20260101", family) for family in FAMILIES.get(call.project, ())]
    )
