"""Translates a recorded exchange to the emulator's project: names, links and bodies."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

PROJECT, REGION = "demo", "us-central1"
BASE = f"/compute/v1/projects/{PROJECT}"
PLACEHOLDERS = {
    "${projectId}": PROJECT,
    "${projectNumber}": "123456789012",
    "${networkID}": "default",
    "${subnetworkID}": "default",
    "computeglobalforwardingrule-${uniqueId}": "computeforwardingrule-${uniqueId}",
    "computeregionalforwardingrule-${uniqueId}": "computeforwardingrule-${uniqueId}",
    "computeraddress-${uniqueId}": "computeaddress-${uniqueId}",
}
"""What the recorders replaced. They call some resources by two names."""
ZONAL = ("instanceGroupManagers", "autoscalers", "operations", "instanceGroups")
"""Collections whose zonal logs are replayed on the region."""


def translate(log: str, exchange: dict[str, Any]) -> dict[str, Any]:
    """The exchange with the emulator's names."""
    text = json.dumps(exchange)
    for placeholder, name in PLACEHOLDERS.items():
        text = text.replace(placeholder, name)
    if log.startswith("gcloud-addr"):
        text = text.replace("test-${uniqueId}", "${addressID}")
    if log.startswith("bs-"):
        text = _to_region(text, "instanceGroups")
    text = re.sub(r"\$\{(?!operationID)(\w+?)ID\}", lambda m: f"compute{m[1].lower()}-u1", text)
    text = text.replace("${uniqueId}", "u1").replace("/compute/beta/", "/compute/v1/")
    text = text.replace(
        "global/backendBuckets/computebackendbucket",
        "global/backendServices/bb-computebackendbucket",
    )
    if "zonal" in log or log.startswith("autoscaler"):
        text = _to_region(text, *ZONAL)
        place = f"https://www.googleapis.com{BASE}"
        text = text.replace(
            f'"zone": "{place}/zones/{REGION}-a"', f'"region": "{place}/regions/{REGION}"'
        )
    translated: dict[str, Any] = json.loads(text)
    return translated


def _to_region(text: str, *collections: str) -> str:
    for collection in collections:
        text = text.replace(f"zones/{REGION}-a/{collection}", f"regions/{REGION}/{collection}")
    return text


def body_to_send(
    log: str, method: str, collection: str, body: dict[str, Any], current: dict[str, Any]
) -> dict[str, Any]:
    """The recorded body with what depends on the run: fingerprints, and a group's zones.

    `current` is the resource as the emulator has it, or empty.
    """
    body = copy.deepcopy(body)
    if collection == "instanceGroupManagers":
        body.pop("serviceAccount", None)  # only compute/beta has it
        if method == "PATCH" and (body.get("distributionPolicy") or {}).get("zones"):
            body["distributionPolicy"]["zones"] = current["distributionPolicy"]["zones"]
        if "zonal" in log and method in ("POST", "PATCH") and "updatePolicy" in body:
            body["updatePolicy"]["instanceRedistributionType"] = "NONE"
    if collection == "backendServices":
        for backend in body.get("backends") or []:
            backend["group"] = _to_region(backend["group"], "instanceGroups")
    if collection == "autoscalers":
        body.pop("zone", None)
        body.pop("region", None)
    for name in ("fingerprint", "labelFingerprint"):
        if name in body and name in current:
            body[name] = current[name]
    return body
