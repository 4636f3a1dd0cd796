"""What the deployed functions are made of: a bill of materials, known vulnerabilities, licences.

    make sbom        sbom.cdx.json: CycloneDX, with the hashes of each package
    make audit       compares the pins with the database of known vulnerabilities
    make licences    docs/licences.md: the licence of each package; `make check` compares it

The tools are pinned in deploy/requirements-supply.txt and have an environment of their own.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements.txt"
SBOM = ROOT / "sbom.cdx.json"
LICENCES = ROOT / "docs" / "licences.md"
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)", re.MULTILINE)

# By a package's classifier or licence text, the identifier in the SPDX list.
_SPDX = {
    "Apache Software License": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str


def pins() -> dict[str, str]:
    """The functions' packages with their versions."""
    return {match["name"]: match["version"] for match in PIN.finditer(PINS.read_text())}


# ---- Bill of materials


def write_sbom(path: Path) -> int:
    """Returns how many packages it lists. Raises `CalledProcessError` if the tool fails, and
    `ValueError` if what it lists are not the pins.
    """
    command = (_tool("cyclonedx-py"), "requirements", PINS.name, "--pyproject", "pyproject.toml")
    options = ("--output-reproducible", "--output-format", "JSON", "--output-file", str(path))
    subprocess.run([*command, *options], check=True, cwd=ROOT)
    listed = {each["name"]: each["version"] for each in json.loads(path.read_text())["components"]}
    if listed != pins():
        raise ValueError(f"{path.name} lists other packages than {PINS.name}")
    return len(listed)


# ---- Vulnerabilities


@dataclass(frozen=True)
class Audit:
    """`unknown` are the packages that the database could not be asked about; `failure` is why the
    tool itself came to no result.
    """

    found: tuple[str, ...] = ()
    audited: int = 0
    unknown: tuple[str, ...] = ()
    failure: str = ""

    @property
    def status(self) -> int:
        """1 if a vulnerability is known, 2 if the tool failed or only a part could be compared,
        else 0.
        """
        return 1 if self.found else 2 if self.failure or (self.audited and self.unknown) else 0

    def __str__(self) -> str:
        if self.failure:
            return f"pip-audit failed, and nothing was compared:\n{self.failure}"
        if self.found:
            return "\n".join(("known vulnerabilities:", *self.found))
        if not self.audited:
            return "left out: the database of vulnerabilities does not answer from here"
        if self.unknown:
            return f"not compared: {', '.join(self.unknown)}"
        return f"no known vulnerability in {self.audited} packages"


# How pip-audit ends where its database does not answer.
_NO_ANSWER = re.compile(
    r"^requests\.exceptions\.|Could not connect to|not redirecting", re.MULTILINE
)


def read_result(output: str, errors: str) -> Audit:
    """From what pip-audit wrote."""
    try:
        return _read_report(json.loads(output))
    except ValueError:
        if _NO_ANSWER.search(errors):
            return Audit()
        return Audit(failure=errors[-2000:] or "it wrote nothing")


def _read_report(report: Mapping[str, Any]) -> Audit:
    found, unknown, audited = [], [], 0
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(str(package["name"]))
            continue
        audited += 1
        for each in package["vulns"]:
            fix = ", ".join(each["fix_versions"]) or "no version yet"
            found.append(f"  {package['name']} {package['version']}: {each['id']}, fixed in {fix}")
    return Audit(tuple(found), audited, tuple(unknown))


def audit() -> Audit:
    command = (*(_tool("pip-audit"), "-r", str(PINS)), "--require-hashes", "--disable-pip")
    ran = subprocess.run(
        [*command, "--format", "json", "--progress-spinner", "off"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return read_result(ran.stdout, ran.stderr)


def _tool(name: str) -> str:
    """A tool beside the interpreter that runs this, if it is there."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


# ---- Licences


def licence_of(name: str) -> str:
    """The SPDX identifier that the installed package states; empty if it states none."""
    about = metadata(name).json
    if expression := about.get("license_expression"):
        return str(expression)
    classifiers = [
        each.rpartition(" :: ")[2]
        for each in about.get("classifier", ())
        if each.startswith("License :: ") and not each.endswith("OSI Approved")
    ]
    stated = classifiers or [str(about.get("license", ""))]
    return " AND ".join(_SPDX.get(each, each) for each in stated)


def packages() -> tuple[tuple[Package, ...], tuple[str, ...]]:
    """The packages that are installed here, and the names of those that other platforms need."""
    found, elsewhere = [], []
    for name, version in pins().items():
        try:
            found.append(Package(name, version, licence_of(name)))
        except PackageNotFoundError:
            elsewhere.append(name)
    return tuple(found), tuple(elsewhere)


def licences_page(found: Iterable[Package], elsewhere: Iterable[str]) -> str:
    rows = "\n".join(f"| {each.name} | {each.version} | {each.licence} |" for each in found)
    names = ", ".join(f"`{name}`" for name in elsewhere)
    others = f"\nOnly on other platforms, and not listed: {names}.\n" if names else ""
    return f"""# Licences

What the deployed functions contain beside Slipway itself, which is under Apache-2.0 (LICENSE). Made
by `make licences` from what each package states of itself; `make check` compares it.

| package | version | licence |
|---|---|---|
{rows}
{others}"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m deploy.supply_chain", description=__doc__)
    parser.add_argument("part", choices=("sbom", "audit", "licences"))
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    chosen = parser.parse_args(arguments)
    match chosen.part:
        case "sbom":
            print(f"wrote {SBOM.name}: {write_sbom(SBOM)} packages")
        case "audit":
            result = audit()
            print(result)
            return result.status
        case _:
            page = licences_page(*packages())
            if not chosen.check:
                LICENCES.write_text(page)
            elif page != LICENCES.read_text():
                print("docs/licences.md is out of date: make licences", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
