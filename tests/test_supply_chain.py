"""The licences of what is deployed, and how a report about vulnerabilities is read."""

from __future__ import annotations

import json

import pytest

from deploy.supply_chain import LICENCES, licences_page, packages, pins, read_result

# Of these, the functions may import and ship packages without further duties than to name them.
ALLOWED = {
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "PSF-2.0",
}


def package(name: str, *vulnerabilities: str) -> dict[str, object]:
    vulns = [{"id": each, "fix_versions": ["2.0"]} for each in vulnerabilities]
    return {"name": name, "version": "1.0", "vulns": vulns}


SKIPPED = {"name": "offline", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("dependencies", "status", "text"),
    [
        ([package("a"), package("b")], 0, "no known vulnerability in 2 packages"),
        ([package("a", "CVE-1")], 1, "a 1.0: CVE-1, fixed in 2.0"),
        ([package("a", "CVE-1"), SKIPPED], 1, "CVE-1"),
        ([package("a"), SKIPPED], 2, "not compared: offline"),
        ([SKIPPED], 0, "left out"),
    ],
)
def test_an_audit_says_what_was_found_and_what_was_not_compared(
    dependencies: list[dict[str, object]], status: int, text: str
) -> None:
    audit = read_result(json.dumps({"dependencies": dependencies}), "")
    assert audit.status == status
    assert text in str(audit)


@pytest.mark.parametrize(
    ("errors", "status", "text"),
    [
        ("Traceback ...\nrequests.exceptions.ProxyError: HTTPSConnectionPool", 0, "left out"),
        ("ERROR:pip_audit._cli:Could not connect to PyPI's vulnerability feed", 0, "left out"),
        ("requests.exceptions.HTTPError: 503\n\nServiceError", 0, "left out"),
        ("ERROR:pip_audit._cli:requirement file contains invalid specifier", 2, "invalid spec"),
        ("Traceback ...\nModuleNotFoundError: No module named 'pip_audit'", 2, "No module named"),
        ("", 2, "it wrote nothing"),
    ],
)
def test_only_a_database_that_does_not_answer_is_no_failure(
    errors: str, status: int, text: str
) -> None:
    audit = read_result("", errors)
    assert audit.status == status
    assert text in str(audit)


def test_each_licence_of_the_deployed_packages_is_stated_and_allowed() -> None:
    found, elsewhere = packages()
    assert {each.name for each in found} | {*elsewhere} == pins().keys()
    for each in found:
        choices = each.licence.split(" OR ")
        assert {*choices} <= ALLOWED, f"{each.name}: {each.licence!r}"
    assert LICENCES.read_text() == licences_page(found, elsewhere)
