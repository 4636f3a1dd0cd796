"""An artifact that appeared somewhere, in the same words for every vendor, or why a message is
about none. Pure.
"""

from __future__ import annotations

from typing import Literal

from rollout.deferred import dataclass

SourceName = Literal[
    "artifact_registry", "cloud_build", "cloud_storage", "hugging_face", "mlflow", "vertex"
]


SOURCE_ATTRIBUTE = "slipway-source"
"""The attribute of a message that is a verified webhook: of which source."""


@dataclass(frozen=True)
class Artifact:
    """An image, weights or a model version.

    `name` is where it is: an image without tag, `bucket/object`, or a registered model. `ref` is
    the tag, alias or branch that names it, `version` what of that names this one alone: nothing
    for a branch or the tag `latest`. `content` identifies the content, if the vendor does so: a
    digest, a generation or a commit.
    """

    source: SourceName
    name: str
    ref: str = ""
    version: str = ""
    content: str = ""
    image: str = ""
    weights: str = ""
    requested_by: str = ""

    def __str__(self) -> str:
        ref = self.ref or self.version
        return f"{self.name}:{ref}" if ref else self.name

    @property
    def id(self) -> str:
        """The same for each message about the same artifact."""
        return f"{self.source} {self.name}:{self.version or self.ref}@{self.content}"


@dataclass(frozen=True)
class Ignored:
    """No release: `why` says what a release would have needed. `about` is what it was about, as far
    as that is clear.
    """

    why: str
    about: str = ""
