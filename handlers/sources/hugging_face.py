"""Hugging Face Hub: a webhook about a repository, version 3.

Source: Hugging Face, "Webhooks": `event`, `repo`, and for a change of the content `updatedRefs`.
huggingface_hub's `WebhookPayload` is the same but for `headSha`. A narrower scope that is not
documented counts as its broader one. References of pull requests are no artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from handlers.sources.fields import fixed, objects_at, text_at
from rollout.sources.model import Artifact, Ignored

MAX_REFS = 100

_COMMIT = re.compile(r"[0-9a-f]{40}")


def read(body: Any, attributes: Mapping[str, str]) -> tuple[Artifact, ...] | Ignored:
    scope, action = text_at(body, "event", "scope"), text_at(body, "event", "action")
    name, kind = text_at(body, "repo", "name"), text_at(body, "repo", "type")
    if kind != "model":
        return Ignored(f"repo.type is {kind or 'missing'}, and only a model is released", name)
    if action != "update" or not f"{scope}.".startswith("repo.content."):
        return Ignored(f"it is {action} of {scope}, and not update of repo.content", name)
    found = tuple(
        artifact
        for each in objects_at(body, "updatedRefs")[:MAX_REFS]
        if (artifact := _artifact(name, text_at(each, "ref"), text_at(each, "newSha")))
    )
    return found or Ignored("no tag or branch has new content", name)


def _artifact(name: str, ref: str, commit: str) -> Artifact | None:
    kind, _, short = ref.removeprefix("refs/").partition("/")
    if not name or not short or kind not in ("heads", "tags") or not _COMMIT.fullmatch(commit):
        return None
    version = fixed(short) if kind == "tags" else ""
    return Artifact("hugging_face", name, short, version, commit)
