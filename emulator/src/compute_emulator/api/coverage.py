"""Which methods of Compute v1 are built. `python -m compute_emulator --coverage` prints the page
docs/compute-coverage.md."""

from __future__ import annotations

from compute_emulator.api import discovery
from compute_emulator.api.collections import HANDLERS
from compute_emulator.api.collections.empty import EMPTY

HEAD = """\
# What the Compute Engine stand-in answers

Made by `python -m compute_emulator --coverage`. A collection is listed when something of it is built; every other method of
Compute v1 is answered with 501, naming the method. In **bold**: collections with every method built. In *italics*: collections
in which there never is anything, which can be asked all the same.

"""


def coverage() -> dict[str, dict[str, list[str]]]:
    """For every collection of which something is built: what is, and what is not."""
    table: dict[str, dict[str, list[str]]] = {}
    for method_id in sorted(discovery.methods()):
        _, collection, verb = method_id.rsplit(".", 2)
        entry = table.setdefault(collection, {"built": [], "missing": []})
        entry["built" if method_id in HANDLERS else "missing"].append(verb)
    return {name: entry for name, entry in table.items() if entry["built"]}


def as_markdown() -> str:
    """The whole page."""
    table = coverage()
    built = sum(len(entry["built"]) for entry in table.values())
    known = sum(len(entry["built"]) + len(entry["missing"]) for entry in table.values())
    lines = [
        f"{built} of {known} methods in {len(table)} collections.",
        "",
        "| collection | built | not built |",
        "|---|---|---|",
    ]
    for name, entry in table.items():
        mark = "*" if name in EMPTY else "" if entry["missing"] else "**"
        shown = f"{mark}{name}{mark}"
        lines.append(f"| {shown} | {', '.join(entry['built'])} | {', '.join(entry['missing'])} |")
    return HEAD + "\n".join(lines) + "\n"
