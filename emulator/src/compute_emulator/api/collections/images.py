"""Images of public projects. Read-only; the project's own are names in `cloud.catalogue`."""

from __future__ import annotations

from compute_emulator import keys
from compute_emulator.api.call import Call, Handlers
from compute_emulator.api.collections.catalogue import catalogue_resource
from compute_emulator.errors import JsonObject, NotFound
from compute_emulator.rules.images import FAMILIES, Image, image_named, latest_of

HANDLERS = Handlers()


def _image(call: Call, image: Image | None, name: str) -> JsonObject:
    path = f"projects/{call.project}/global/images/{name}"
    if image is None:
        raise NotFound(path)
    return catalogue_resource(
        "image",
        f"projects/{call.project}/global/images/{image.name}",
        family=image.family,
        status="READY",
        sourceType="RAW",
        diskSizeGb="10",
        archiveSizeBytes="1073741824",
        architecture=image.architecture,
    )


def _own(call: Call, name: str) -> Image | None:
    """An image or family (`family/NAME`) that the catalogue control names. A family has one image,
    of its own name.
    """
    given = (keys.parse(each) for each in call.cloud.catalogue.get("images", ()))
    if call.project != call.cloud.project or keys.Key("global", "images", name) not in given:
        return None
    plain = name.removeprefix("family/")
    return Image(call.project, plain, plain)


@HANDLERS.handles("compute.images.getFromFamily")
def get_image_from_family(call: Call) -> JsonObject:
    family = f"family/{call.params['family']}"
    image = latest_of(call.project, call.params["family"]) or _own(call, family)
    return _image(call, image, family)


@HANDLERS.handles("compute.images.get")
def get_image(call: Call) -> JsonObject:
    return _image(call, image_named(call.project, call.name) or _own(call, call.name), call.name)


@HANDLERS.handles("compute.images.list")
def list_images(call: Call) -> JsonObject:
    latest = FAMILIES.get(call.project, {})
    images = [Image(call.project, name, family) for family, name in latest.items()]
    return call.page([_image(call, each, each.name) for each in images])
