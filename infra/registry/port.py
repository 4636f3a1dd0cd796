"""What the intake needs of a registry: the digest that a tag has now."""

from __future__ import annotations

from typing import Protocol

from rollout.spec.images import TaggedImage


class NoDigest(Exception):
    """The registry says no, or may not be asked. The text says why."""


class Registry(Protocol):
    def find_digest(self, image: TaggedImage, registries: tuple[str, ...]) -> str:
        """The digest of a tag, `sha256:…`; only hosts of `registries` are connected to. Raises
        `NoDigest`, and `Unavailable` if the registry does not answer.
        """
