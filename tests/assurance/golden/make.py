"""Keeps golden histories of this Slipway: `make golden`, once before each release, and after the
documents' schema has changed.

Tells every moment of `stories.py` and writes what it left, with how it ended, under `v<schema>/`. A
history that is there already is never written again, since it is the older release's; a moment that
is new gets its file."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

from infra.store.documents import SCHEMA
from tests.assurance.golden.histories import FOLDER, carried_on, kept
from tests.assurance.golden.stories import MOMENTS
from tests.scenario import Scenario


def main() -> int:
    logging.getLogger("slipway").setLevel(logging.ERROR)
    folder = FOLDER / f"v{SCHEMA}"
    folder.mkdir(exist_ok=True)
    for name, tell in MOMENTS.items():
        file = folder / f"{name}.json"
        if file.exists():
            continue
        story = Scenario()
        tell(story)
        history = kept(story)
        history["ends"] = asdict(carried_on(story))
        file.write_text(json.dumps(history, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")
        print(
            f"{file.relative_to(FOLDER)}: {story.story().splitlines()[-1] if story.story() else ''}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
