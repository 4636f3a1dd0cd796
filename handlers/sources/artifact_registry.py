"""Artifact Registry: a message on the topic `gcr` for each image that is pushed, tagged or deleted.

Source: Artifact Registry, "Configure Pub/Sub notifications". `digest` and `tag` are whole names
(`HOST/PROJECT/REPOSITORY/IMAGE@sha256:…`, `HOST/PROJECT/REPOSITORY/IMAGE:TAG`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import fixed, hex_of, split_tag, text_at
from rollout.sources.model import Artifact, Ignored

_ATTACHED = re.compile(r"sha256-[0-9a-f]{64}(\..+)?")


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    action, digest, tag = (text_at(body, name) for name in ("action", "digest", "tag"))
    about = tag or digest
    if action != "INSERT":
        return Ignored(f"action is {action or 'missing'}, and only INSERT is a push", about)
    name, at, of_content = digest.partition("@")
    content = hex_of(of_content)
    if not at or not content:
        return Ignored("it has no digest, which a release runs", about)
    if not tag:
        return Ignored("it has no tag, so nobody has named it yet", about)
    tagged, short = split_tag(tag)
    if not short:
        return Ignored(f"tag must be IMAGE:TAG, got {tag[:200]}", about)
    if tagged != name:
        return Ignored("tag and digest are of different images", about)
    if _ATTACHED.fullmatch(short):
        return Ignored("it is a signature or an attestation of an image", about)
    image = f"{name}:{short}@sha256:{content}"
    return (Artifact("artifact_registry", name, short, fixed(short), content, image),)
