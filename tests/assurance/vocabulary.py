"""Finds retired words: the private vocabulary that `docs/style.md`, "Retired words", has replaced.

    python -m tests.assurance.vocabulary           prints each hit, fails if there is any
    python -m tests.assurance.vocabulary --count   prints the number of hits in each folder

What is checked:

- Names: identifiers in Python, file names, strings without spaces (stored fields, published words)
  in Python and JSON, and code spans in Markdown. A name is split into its words, so that
  `going_back`, `GoingBack` and `going-back` are the same.
- Sentences: all other strings in Python, which holds log messages, errors and problems, and the
  names of test functions. Words that are also plain English (`ENGLISH`) are allowed here, except in
  the phrases that only the old meaning has (`PHRASES`).
- Other files (shell, YAML, make): names of several words.

Comments and docstrings are not checked. To retire a word, add it to the table in
`docs/style.md`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
STYLE = "docs/style.md"
# The changelog names what was renamed; mutants quote the code that they change.
SKIPPED = (
    STYLE,
    "CHANGELOG.md",
    "tests/assurance/mutants/",
    "tests/assurance/vocabulary.py",
    "tests/assurance/test_vocabulary.py",
)
SUFFIXES = frozenset({".py", ".json", ".md", ".yaml", ".sh", ".toml", ""})
ENGLISH = frozenset(
    {
        "asked",
        "capped",
        "checking",
        "claim",
        "fade",
        "hiding",
        "in_play",
        "is_calm",
        "judged",
        "noted",
        "said",
        "shown",
        "sight",
        "survey",
        "told",
        "turn",
        "waits",
        "wake_at",
        "want",
        "wanted",
        "watched_at",
    }
)
PHRASES = {
    "turn": re.compile(r"\b(an?|the|this|each|every|one|next|second|last|settled) turns?\b"),
    "claim": re.compile(r"\bclaim\b"),
}
# Names that are not ours, each with its owner.
ALLOWED = {
    "CAPPED_AT_MAX_NUM_REPLICAS": "Compute Engine: a status detail of an autoscaler",
    "TYPE_CHECKING": "Python: typing.TYPE_CHECKING",
}

_ROW = re.compile(r"^\| (.+?) \| (.+) \|$", re.MULTILINE)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_TOKEN = re.compile(
    r"""\#[^\n]*
    | (?P<prefix>[rRbBuUfF]{0,2})(?P<string>
        \"{3}[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*\"{3} | '{3}[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*'{3}
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<name>[A-Za-z_]\w*)""",
    re.VERBOSE | re.DOTALL,
)
_EXPRESSION = re.compile(r"(?<!\{)\{([^{}]*)\}")
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_HYPHENATED = re.compile(r"[A-Za-z_][\w-]*")
_CODE_SPAN = re.compile(r"`([^`\s]+)`")


@dataclass(frozen=True)
class Hit:
    path: str
    line: int
    found: str
    entry: str
    replacement: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found} ({self.entry}) -> {self.replacement}"


class Vocabulary:
    """The retired names, and where a text has one."""

    def __init__(self, table: Mapping[str, str]) -> None:
        self._replacements = table
        self._entries = {split(entry): entry for entry in table}
        self._longest = max(map(len, self._entries), default=0)
        self.in_name = cache(self._in_name)

    def hits(self, path: str, text: str) -> Iterator[Hit]:
        """Each retired word in a file, once for each line."""
        found = {(1, entry): Path(path).stem for entry in self.in_name(Path(path).stem)}
        for place, name, entry in self._found(path, text):
            found.setdefault((text.count("\n", 0, place) + 1, entry), name)
        for (line, entry), name in sorted(found.items()):
            yield Hit(path, line, name, entry, self._replacements[entry])

    def _found(self, path: str, text: str) -> Iterator[tuple[int, str, str]]:
        match Path(path).suffix:
            case ".py" | ".json":
                yield from self._in_source(text)
            case ".md":
                for span in _CODE_SPAN.finditer(text):
                    name = span[1].rpartition("::")[2]
                    yield from ((span.start(), name, entry) for entry in self._in_identifier(name))
            case _:
                for name in _HYPHENATED.finditer(text):
                    for entry in self.in_name(name[0]):
                        if len(split(entry)) > 1:
                            yield name.start(), name[0], entry

    def _in_source(self, text: str) -> Iterator[tuple[int, str, str]]:
        for token in _TOKEN.finditer(text):
            if name := token["name"]:
                entries = self._in_identifier(name)
            elif token["string"] and not _is_docstring(text, token):
                name, entries = self._in_string(token["string"], "f" in token["prefix"].lower())
            else:
                continue
            yield from ((token.start(), name, entry) for entry in entries)

    def _in_identifier(self, name: str) -> tuple[str, ...]:
        if name.startswith("test_"):
            return self._in_sentence(name.replace("_", " ")) if self.in_name(name) else ()
        return self.in_name(name)

    def _in_string(self, literal: str, is_formatted: bool) -> tuple[str, tuple[str, ...]]:
        content = literal.strip("\"'")
        if not self.in_name(content):
            return content, ()
        expressions = " ".join(_EXPRESSION.findall(content)) if is_formatted else ""
        prose = _EXPRESSION.sub(" ", content) if is_formatted else content
        of_names = (
            entry for name in _IDENTIFIER.findall(expressions) for entry in self.in_name(name)
        )
        is_sentence = " " in prose.strip() or prose.count("-") > 2
        of_prose = self._in_sentence(prose) if is_sentence else self.in_name(prose)
        return " ".join(content.split())[:60], (*of_names, *of_prose)

    def _in_sentence(self, text: str) -> tuple[str, ...]:
        plain = text.lower()
        return tuple(
            entry
            for entry in self.in_name(text)
            if entry not in ENGLISH or (entry in PHRASES and PHRASES[entry].search(plain))
        )

    def _in_name(self, name: str) -> tuple[str, ...]:
        if name in ALLOWED:
            return ()
        words, found, start = split(name), [], 0
        while start < len(words):
            length, entry = self._longest_at(words[start : start + self._longest])
            found += [entry] if entry else []
            start += length
        return tuple(dict.fromkeys(found))

    def _longest_at(self, words: tuple[str, ...]) -> tuple[int, str]:
        for length in range(len(words), 0, -1):
            *before, last = words[:length]
            for ending in (last, last.removesuffix("s")):
                if entry := self._entries.get((*before, ending)):
                    return length, entry
        return 1, ""


def split(name: str) -> tuple[str, ...]:
    """`going_back`, `GoingBack` and `going-back` as `("going", "back")`."""
    return tuple(word.lower() for word in _WORD.findall(name))


def read_table(page: str) -> dict[str, str]:
    """The names in backticks in the first column of "Retired words", with the second column."""
    section = page.partition("## Retired words\n")[2]
    table = section[: section.find("\n\n", section.find("\n|---"))]
    return {
        name: replacement
        for names, replacement in _ROW.findall(table)
        for name in _CODE_SPAN.findall(names)
    }


def _is_docstring(text: str, token: re.Match[str]) -> bool:
    line_start = text.rfind("\n", 0, token.start()) + 1
    return token["string"].startswith('"""') and not text[line_start : token.start()].strip()


def find_hits(root: Path) -> list[Hit]:
    vocabulary = Vocabulary(read_table((root / STYLE).read_text("utf-8")))
    files = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.split("\0")
    return [
        hit
        for path in files
        if path and not path.startswith(SKIPPED) and Path(path).suffix in SUFFIXES
        for hit in vocabulary.hits(path, (root / path).read_text("utf-8", "replace"))
    ]


def main(arguments: list[str]) -> int:
    hits = find_hits(ROOT)
    if arguments == ["--count"]:
        for folder, count in Counter(hit.path.rpartition("/")[0] for hit in hits).most_common():
            print(f"{count:5} {folder or '.'}")
    else:
        for hit in hits:
            print(hit)
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
