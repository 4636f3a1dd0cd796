"""Public images: which families exist, their latest image, and an image's architecture. Pure.

Versions are of one date. Images of older dates exist too, as long as their names have the form
that their project uses. Source: Compute Engine documentation, "Operating system details".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DATE = "20260101"
ARM = "ARM64"


@dataclass(frozen=True)
class Image:
    project: str
    name: str
    family: str

    @property
    def architecture(self) -> str:
        return ARM if "arm64" in f"{self.name} {self.family}".split("-") else "X86_64"


COS_MILESTONES = {"stable": 121, "beta": 125, "dev": 129}
"""The milestone of each release channel of Container-Optimized OS."""
COS_LTS = (109, 113, 117, 121)
CODE_NAMES = {"debian-11": "bullseye", "debian-12": "bookworm", "debian-13": "trixie"}
UBUNTU = {"2204-lts": "jammy", "2404-lts": "noble"}


def _cos() -> dict[str, str]:
    """Images of a channel carry its name, so that clients find the newest of a channel by it:
    `cos-stable-121-...`.
    """
    channels = {
        f"cos-{arch}{channel}": f"cos-{arch}{channel}-{milestone}-{DATE}-0-0"
        for channel, milestone in COS_MILESTONES.items()
        for arch in ("", "arm64-")
    }
    return channels | {
        f"cos-{arch}{milestone}-lts": f"cos-{arch}{milestone}-lts-v{DATE}"
        for milestone in COS_LTS
        for arch in ("", "arm64-")
    }


FAMILIES: dict[str, dict[str, str]] = {
    "cos-cloud": _cos(),
    "debian-cloud": {
        f"{family}{arch}": f"{family}-{name}{arch}-v{DATE}"
        for family, name in CODE_NAMES.items()
        for arch in ("", "-arm64")
    },
    "ubuntu-os-cloud": {
        f"ubuntu-{minimal}{family}{arch}": (
            f"ubuntu-{minimal}{family.removesuffix('-lts')}-{name}{image_arch}-v{DATE}"
        )
        for minimal in ("", "minimal-")
        for family, name in UBUNTU.items()
        for arch, image_arch in (
            (("", ""), ("-arm64", "-arm64"))
            if family == "2204-lts"
            else (("-amd64", "-amd64"), ("-arm64", "-arm64"))
        )
    },
    "deeplearning-platform-release": {
        family: f"{family}-v{DATE}"
        for family in (
            "common-cpu-debian-12",
            "common-cu124-debian-12",
            "common-cu128-ubuntu-2204-nvidia-570",
            "pytorch-2-7-cu128-ubuntu-2204-nvidia-570",
        )
    },
}
"""The families of each public project, with their latest image."""
NAME_FORMS = {
    "cos-cloud": r"cos-(arm64-)?(stable|beta|dev|\d+)-[-\da-z]+",
    "debian-cloud": r"debian-\d+-[a-z]+(-arm64)?-v\d{8}",
    "ubuntu-os-cloud": r"ubuntu-(minimal-)?\d{4}-[a-z]+(-amd64|-arm64)?-v\d{8}",
    "deeplearning-platform-release": r"[-a-z0-9]+-v\d{8}[-\d]*",
}
"""The form of image names in each project."""


def latest_of(project: str, family: str) -> Image | None:
    """The latest image of a family, or None if there is no such family."""
    name = FAMILIES.get(project, {}).get(family)
    return None if name is None else Image(project, name, family)


def image_named(project: str, name: str) -> Image | None:
    """An image by name, or None if there is none in a public project."""
    for family, latest in FAMILIES.get(project, {}).items():
        if name == latest:
            return Image(project, name, family)
    if project not in NAME_FORMS or not re.fullmatch(NAME_FORMS[project], name):
        return None
    return None if name in FAMILIES[project] else Image(project, name, _family_of(project, name))


def _family_of(project: str, name: str) -> str:
    """The family of an image of another date: that whose latest image differs in digits only."""
    plain = re.sub(r"-v?\d{8}.*$", "", name)
    for family, latest in FAMILIES[project].items():
        if re.sub(r"-v?\d{8}.*$", "", latest) == plain:
            return family
    return plain
