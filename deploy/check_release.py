"""Validates a release file by the intake's rules before anything is deployed for it.

    python -m deploy.check_release release.json

Rules that depend on the model's current release are checked only by the intake.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rollout.spec.message import parse
from rollout.spec.problems import Invalid
from rollout.spec.strict_json import decode_json


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m deploy.check_release FILE", file=sys.stderr)
        return 2
    try:
        parse(decode_json(Path(arguments[0]).read_bytes()))
    except (Invalid, OSError) as refusal:
        print(f"{arguments[0]}: {refusal}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
