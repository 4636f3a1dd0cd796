"""Looks for bytes that break `parsing.check`, led by which code they reach. Run by `make fuzz`; never a part of the tests.

Begins from `corpus/` and leaves there what reached new code; tests/hostile/test_corpus.py holds each of those files to the
property at every commit. Arguments are libFuzzer's: `-max_total_time=600`, or a file to try again.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).with_name("corpus")
SCHEMA = Path(__file__).parents[2] / "schemas" / "model-release.v1.json"
LONGEST = 4096  # of what is tried; nothing is to be learned from more


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["rollout", "infra.resources"]):
        from tests.hostile.parsing import check

    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.write("\n".join(sorted(_words(json.loads(SCHEMA.read_text("utf-8"))))))
        words.flush()
        atheris.Setup(
            [sys.argv[0], f"-dict={words.name}", f"-max_len={LONGEST}", str(CORPUS), *sys.argv[1:]],
            lambda data: check(data) and None,
        )
        atheris.Fuzz()


def _words(schema: object) -> set[str]:
    """The names and fixed values of the schema as libFuzzer's dictionary wants them, since no chance would spell them."""
    found: set[str] = set()
    match schema:
        case dict():
            named = [*schema.get("properties", {}), *(word for word in schema.get("enum", []) if isinstance(word, str))]
            found = {json.dumps(f'"{word}"').replace("\\u", "\\\\u") for word in named}
            inner: list[object] = list(schema.values())
        case list():
            inner = schema
        case _:
            inner = []
    return found.union(*map(_words, inner))


if __name__ == "__main__":
    main()
