"""Writes the golden histories that are missing: `make golden`, before each release and after each
change of the documents' schema.

Runs every moment of `moments.py` and saves what it leaves, with its final state, under
`v<schema>/`. An existing history is never rewritten: an older release wrote it.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict

from infra.store.documents import SCHEMA
from tests.assurance.golden.histories import FOLDER, capture, run_to_end
from tests.assurance.golden.moments import MOMENTS
from tests.scenario import Scenario


def main() -> int:
    logging.getLogger("slipway").setLevel(logging.ERROR)
    folder = FOLDER / f"v{SCHEMA}"
    folder.mkdir(exist_ok=True)
    for name, play in MOMENTS.items():
        file = folder / f"{name}.json"
        if file.exists():
            continue
        scenario = Scenario()
        play(scenario)
        history = capture(scenario)
        history["ends"] = asdict(run_to_end(scenario))
        file.write_text(json.dumps(history, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")
        lines = scenario.history().splitlines()
        print(f"{file.relative_to(FOLDER)}: {lines[-1] if lines else ''}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
