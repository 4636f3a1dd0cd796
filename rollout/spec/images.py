"""The names of container images: which registry an image is in, whether a tag or a digest names it,
and the text of a refusal.

Called by `handlers/release.py`, which resolves tags when a release is accepted. Pure. Invariant: a
resolved image keeps its tag for people, but its digest decides what runs
(`host/path:tag@sha256:…`).
"""

from __future__ import annotations

from collections.abc import Iterable

from rollout.deferred import dataclass

DOCKER_HUB = "docker.io"
_GOOGLE = ("pkg.dev", "gcr.io")


@dataclass(frozen=True)
class TaggedImage:
    """An image that a tag names; `name` is as written. Docker Hub is meant where no host is given,
    as in Docker.
    """

    name: str
    host: str
    repository: str
    tag: str

    @property
    def is_googles(self) -> bool:
        return is_listed(self.host, _GOOGLE)


def tagged_image(name: str) -> TaggedImage | None:
    """The parts of an image's name; None if it names a digest, or is none."""
    if "@" in name:
        return None
    path, _, tag = name.rpartition(":")
    first, slash, rest = path.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return TaggedImage(name, first, rest, tag)
    return TaggedImage(name, DOCKER_HUB, path if slash else f"library/{path}", tag)


def is_listed(host: str, hosts: Iterable[str]) -> bool:
    """Whether a list names the host or a domain that it belongs to. A port is part of the name."""
    host = host.lower()
    return any(host == each or host.endswith(f".{each}") for each in map(str.lower, hosts))


def has_prefix(image: str, prefix: str) -> bool:
    """Whether an image's name starts with the prefix, up to the end of a part. A port is part of a
    host's name.
    """
    rest = image.removeprefix(prefix)
    is_port = rest.startswith(":") and "/" in rest
    return image.startswith(prefix) and (
        not rest
        or prefix.endswith(("/", ":", "@"))
        or (rest.startswith(("/", ":", "@")) and not is_port)
    )


def unlisted_registry(image: TaggedImage, registries: tuple[str, ...]) -> str | None:
    """Why a registry may not be asked for a digest, or None if it may."""
    if is_listed(image.host, registries):
        return None
    listed = ", ".join(registries) or "none"
    return f"policy allows to ask the registries {listed}, not {image.host}"


def refusal(image: TaggedImage, why: str) -> str:
    """The refusal of an image whose digest is not found, with the command that finds it."""
    command = (
        f"gcloud artifacts docker images describe {image.name}"
        " --format='value(image_summary.digest)'"
        if image.is_googles
        else f"docker buildx imagetools inspect {image.name} --format '{{{{.Manifest.Digest}}}}'"
    )
    return (
        f"artifact.image: {image.name} is a tag, and a release runs a digest: {why}. Name the image"
        f" by its digest, which this command prints: {command}"
    )
