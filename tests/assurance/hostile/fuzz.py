"""Looks for bytes that break `parsing.check`, led by which code they reach. Run by `make fuzz`;
never a part of the tests.

Begins from `corpus/` and from what earlier runs found, and leaves in `.fuzz/`, out of git, what
reached new code and what broke something. `--keep` (`make fuzz-keep`) makes `corpus/` anew: the
fewest and smallest of all these files that reach what all of them reach.
tests/assurance/hostile/test_corpus.py holds each of those to the property at every commit. Other
arguments are libFuzzer's: `-max_total_time=600`, or a file to try again."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[3]
CORPUS = Path(__file__).with_name("corpus")
EXAMPLES = ROOT / "examples"
FOUND = ROOT / ".fuzz"
SCHEMA = ROOT / "schemas" / "model-release.v1.json"
INSTRUMENTED = [
    "rollout",
    "infra.bus.envelope",
    "infra.bus.validators",
    "infra.fleet.resources",
    "handlers.redaction",
]
AGAIN = "SLIPWAY_FUZZ"  # by what name libFuzzer may start itself again, where it does
LONGEST = 4096  # of what is tried; nothing is to be learned from more
IN_JSON = 0.6  # of all changes are made within a message's JSON, the others to its bytes
ENVELOPE = (
    *(
        "message",
        "data",
        "data_base64",
        "attributes",
        "messageId",
        "publishTime",
        "subscription",
        "deliveryAttempt",
    ),
    *(
        "specversion",
        "1.0",
        "id",
        "source",
        "type",
        "time",
        "datacontenttype",
        "application/json",
        "content-type",
    ),
    *("ce-specversion", "ce-id", "ce-source", "ce-type", "application/cloudevents+json"),
    *("io.slipway.model.release.v1", "io.slipway.model.command.v1"),
)


def main() -> None:
    if sys.argv[1:] == ["--keep"]:
        keep()
    else:
        fuzz(sys.argv[1:])


def fuzz(arguments: list[str]) -> None:
    import atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.assurance.hostile.parsing import check
    from tests.assurance.hostile.mutation import Mutator

    mutator = Mutator(
        (file.read_bytes() for folder in (EXAMPLES, CORPUS) for file in sorted(folder.iterdir())),
        lambda text: bytes(atheris.Mutate(text, len(text) + 20)),
    )

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        chance = Random(seed)
        changed = mutator.changed(data, chance) if chance.random() < IN_JSON else None
        return changed if changed and len(changed) <= most else bytes(atheris.Mutate(data, most))

    FOUND.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.write(
            "\n".join(sorted(_words(json.loads(SCHEMA.read_text("utf-8"))) | _quoted(ENVELOPE)))
        )
        words.flush()
        options = [
            f"-dict={words.name}",
            f"-max_len={LONGEST}",
            f"-artifact_prefix={FOUND}/broken-",
        ]
        is_given = any(not argument.startswith("-") for argument in arguments)
        folders = [] if is_given else [str(folder) for folder in (FOUND, CORPUS, EXAMPLES)]
        atheris.Setup(
            [os.environ.get(AGAIN, sys.argv[0]), *options, *arguments, *folders],
            lambda data: check(data) and None,
            custom_mutator=mutated,
        )
        atheris.Fuzz()


def keep() -> None:
    """A file that broke something is kept under its own name, once it breaks nothing any more;
    until then nothing is kept."""
    broken = sorted(FOUND.glob("broken-*"))
    with tempfile.TemporaryDirectory() as made:
        fresh = Path(made, "corpus")
        fresh.mkdir()
        # libFuzzer starts itself again by this name when a file breaks something while it merges.
        again = Path(made, "fuzz")
        again.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.assurance.hostile.fuzz "$@"\n'
        )
        again.chmod(0o755)
        if broken:
            subprocess.run([again, *broken], check=True, cwd=ROOT)
        folders = [folder for folder in (fresh, CORPUS, FOUND, EXAMPLES) if folder.exists()]
        subprocess.run(
            [again, "-set_cover_merge=1", *folders],
            check=True,
            cwd=ROOT,
            env=os.environ | {AGAIN: str(again)},
        )
        kept = [*fresh.iterdir(), *broken]
        if not kept:
            sys.exit("nothing was kept, the corpus is as it was")
        for file in CORPUS.iterdir():
            if not file.name.startswith("broken-"):
                file.unlink()
        for file in kept:
            shutil.copy(file, CORPUS)
    print(f"{len(list(CORPUS.iterdir()))} files in {CORPUS.relative_to(ROOT)}")


def _words(schema: object) -> set[str]:
    """The names and fixed values of the schema as libFuzzer's dictionary wants them, since no
    chance would spell them."""
    found: set[str] = set()
    match schema:
        case dict():
            found = _quoted(
                [
                    *schema.get("properties", {}),
                    *(word for word in schema.get("enum", []) if isinstance(word, str)),
                ]
            )
            inner: list[object] = list(schema.values())
        case list():
            inner = schema
        case _:
            inner = []
    return found.union(*map(_words, inner))


def _quoted(words: Iterable[str]) -> set[str]:
    return {json.dumps(f'"{word}"').replace("\\u", "\\\\u") for word in words}


if __name__ == "__main__":
    main()
