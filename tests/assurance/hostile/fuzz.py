"""Searches for bytes that break `parsing.check`, guided by code coverage. Run by `make fuzz`, never
by the tests.

Starts from `corpus/` and the findings of earlier runs. Inputs that reach new code or break
something go to `.fuzz/`, which is not in git. `--keep` (`make fuzz-keep`) rewrites `corpus/`: the
fewest and smallest of all these files that reach the same code, which test_corpus.py replays at
every commit. Other arguments are libFuzzer's: `-max_total_time=600`, or a file to replay.
"""

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
RESTART_VARIABLE = "SLIPWAY_FUZZ"  # the program by which libFuzzer restarts itself
MAX_LENGTH = 4096  # of an input, in bytes
JSON_SHARE = 0.6  # of all mutations change the JSON, the others the bytes
ENVELOPE = (
    "message",
    "data",
    "data_base64",
    "attributes",
    "messageId",
    "publishTime",
    "subscription",
    "deliveryAttempt",
    "specversion",
    "1.0",
    "id",
    "source",
    "type",
    "time",
    "datacontenttype",
    "application/json",
    "content-type",
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "application/cloudevents+json",
    "io.slipway.model.release.v1",
    "io.slipway.model.command.v1",
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
    from tests.assurance.hostile.mutator import Mutator

    mutator = Mutator(
        (file.read_bytes() for folder in (EXAMPLES, CORPUS) for file in sorted(folder.iterdir())),
        lambda text: bytes(atheris.Mutate(text, len(text) + 20)),
    )

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        chance = Random(seed)
        changed = mutator.mutate(data, chance) if chance.random() < JSON_SHARE else None
        return changed if changed and len(changed) <= limit else bytes(atheris.Mutate(data, limit))

    FOUND.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".dict") as words:
        words.write(
            "\n".join(
                sorted(_collect_words(json.loads(SCHEMA.read_text("utf-8"))) | _quote(ENVELOPE))
            )
        )
        words.flush()
        options = [
            f"-dict={words.name}",
            f"-max_len={MAX_LENGTH}",
            f"-artifact_prefix={FOUND}/broken-",
        ]
        is_given = any(not argument.startswith("-") for argument in arguments)
        folders = [] if is_given else [str(folder) for folder in (FOUND, CORPUS, EXAMPLES)]
        atheris.Setup(
            [os.environ.get(RESTART_VARIABLE, sys.argv[0]), *options, *arguments, *folders],
            lambda data: check(data) and None,
            custom_mutator=mutate,
        )
        atheris.Fuzz()


def keep() -> None:
    """Rewrites the corpus. Files that broke something keep their names. As long as one of them
    still breaks something, the corpus stays unchanged.
    """
    broken = sorted(FOUND.glob("broken-*"))
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder, "corpus")
        fresh.mkdir()
        # libFuzzer restarts itself by this name when an input breaks something during the merge.
        restart = Path(folder, "fuzz")
        restart.write_text(
            f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.assurance.hostile.fuzz "$@"\n'
        )
        restart.chmod(0o755)
        if broken:
            subprocess.run([restart, *broken], check=True, cwd=ROOT)
        folders = [folder for folder in (fresh, CORPUS, FOUND, EXAMPLES) if folder.exists()]
        subprocess.run(
            [restart, "-set_cover_merge=1", *folders],
            check=True,
            cwd=ROOT,
            env=os.environ | {RESTART_VARIABLE: str(restart)},
        )
        kept = [*fresh.iterdir(), *broken]
        if not kept:
            sys.exit("the merge kept no file; the corpus is unchanged")
        for file in CORPUS.iterdir():
            if not file.name.startswith("broken-"):
                file.unlink()
        for file in kept:
            shutil.copy(file, CORPUS)
    print(f"{len(list(CORPUS.iterdir()))} files in {CORPUS.relative_to(ROOT)}")


def _collect_words(schema: object) -> set[str]:
    """The names and fixed values of the schema for libFuzzer's dictionary: random mutation would
    never spell them.
    """
    found: set[str] = set()
    match schema:
        case dict():
            found = _quote(
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
    return found.union(*map(_collect_words, inner))


def _quote(words: Iterable[str]) -> set[str]:
    return {json.dumps(f'"{word}"').replace("\\u", "\\\\u") for word in words}


if __name__ == "__main__":
    main()
