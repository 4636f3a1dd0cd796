"""A registry for images that exist only in the Compute Engine emulator: every tag exists, and its
digest is the SHA-256 of the image's name and its `content`.

Used by the local stack and the tests (`SLIPWAY_REGISTRY=emulated`). It connects to nothing, so it
needs no list of hosts.
"""

from __future__ import annotations

import hashlib

from infra.errors import Unavailable
from infra.registry.port import NoDigest
from rollout.spec.images import TaggedImage


class EmulatedRegistry:
    """`content`: what was published last under a tag, by the image's name. `absent`: names that it
    does not have. `is_available`: whether it answers.
    """

    def __init__(self) -> None:
        self.content: dict[str, str] = {}
        self.absent: set[str] = set()
        self.is_available = True

    def find_digest(self, image: TaggedImage, registries: tuple[str, ...]) -> str:
        if not self.is_available:
            raise Unavailable(f"{image.host} did not answer")
        if image.name in self.absent:
            raise NoDigest(f"{image.host} has no such image")
        text = f"{image.name}\n{self.content.get(image.name, '')}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
