"""Reads fields of a vendor's JSON of which nothing is certain. Pure and total."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rollout.visible import is_visible

MAX_TEXT = 1024

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


def text_at(value: Any, *path: str) -> str:
    """The text at a path of names; empty if there is none, or no text of one printable line."""
    found = value_at(value, *path)
    is_text = isinstance(found, str) and len(found) <= MAX_TEXT and is_visible(found)
    return str(found) if is_text else ""


def value_at(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def objects_at(value: Any, *path: str) -> list[dict[str, Any]]:
    """The objects in the list at a path."""
    found = value_at(value, *path)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def split_tag(image: str) -> tuple[str, str]:
    """The name of an image, and its tag, if it has one. A port is no tag."""
    name, colon, tag = image.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (image, "")


def hex_of(digest: str) -> str:
    """The 64 hex digits of a digest; empty if it is none."""
    found = _DIGEST.fullmatch(digest)
    return found[1] if found else ""


def fixed(tag: str) -> str:
    """The tag as a version: `latest` names another image tomorrow."""
    return "" if tag == "latest" else tag
