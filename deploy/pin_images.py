"""Pins the images of the build's steps in cloudbuild.yaml to the digests that their tags have now.

    python -m deploy.pin_images

Run it where the registries can be reached, before the first build and for every update, and commit
the change: a tag can be moved to another image, a digest cannot.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from infra.errors import Unavailable
from infra.registry.https import HttpsRegistry
from infra.registry.port import NoDigest, Registry
from rollout.policy.policy import REGISTRIES
from rollout.spec.images import tagged_image

BUILD = Path(__file__).parents[1] / "cloudbuild.yaml"
_IMAGE = re.compile(r"^(  _\w+_IMAGE: )([^@\s]+)(@sha256:[0-9a-f]{64})?$", re.MULTILINE)


def pin(build: str, registry: Registry, registries: tuple[str, ...] = REGISTRIES) -> str:
    """The text of the build with a digest behind each image's tag."""

    def with_digest(found: re.Match[str]) -> str:
        image = tagged_image(found[2])
        assert image, found[2]
        return f"{found[1]}{found[2]}@{registry.find_digest(image, registries)}"

    return _IMAGE.sub(with_digest, build)


def main() -> int:
    before = BUILD.read_text()
    try:
        after = pin(before, HttpsRegistry())
    except (NoDigest, Unavailable) as problem:
        print(f"cloudbuild.yaml is unchanged: {problem}", file=sys.stderr)
        return 1
    BUILD.write_text(after)
    print("cloudbuild.yaml has not changed" if after == before else "cloudbuild.yaml is pinned")
    return 0


if __name__ == "__main__":
    sys.exit(main())
