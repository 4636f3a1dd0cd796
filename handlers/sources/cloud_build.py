"""Cloud Build: a message on the topic `cloud-builds` for each new status of a build.

Source: Cloud Build, "Subscribe to build notifications": the data is a Build resource, in whose
`results.images` are the images that it pushed; attributes `buildId` and `status`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import fixed, hex_of, objects_at, split_tag, text_at
from rollout.sources.model import Artifact, Ignored

MAX_IMAGES = 100


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    build, status = text_at(body, "id"), text_at(body, "status")
    about = f"build {build}" if build else ""
    if status != "SUCCESS":
        return Ignored(f"status is {status or 'missing'}, and only SUCCESS has images", about)
    found: list[Artifact] = []
    for pushed in objects_at(body, "results", "images")[:MAX_IMAGES]:
        content = hex_of(text_at(pushed, "digest"))
        name, tag = split_tag(text_at(pushed, "name"))
        if name and content:
            image = f"{name}{':' if tag else ''}{tag}@sha256:{content}"
            found.append(Artifact("cloud_build", name, tag, fixed(tag), content, image))
    return tuple(found) or Ignored("the build pushed no image: it has no results.images", about)
