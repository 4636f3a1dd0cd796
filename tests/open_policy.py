"""A policy that limits nothing, for tests of everything else: releases may be reached from outside,
and use any account, network, tag and secret.
"""

from __future__ import annotations

from typing import Any

OPEN: dict[str, Any] = {
    "boot_images": ["projects/", "global/"],
    "external_ip": True,
    "exposure": ["external"],
    "hosts": ["*"],
    "networks": ["*"],
    "gateways": ["*"],
    "reservations": ["*"],
    "secrets": ["*"],
    "service_accounts": ["*"],
    "tags": ["*"],
}
