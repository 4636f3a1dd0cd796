"""The policy of a local stack, where nothing is real: everything in `examples/` runs."""

from __future__ import annotations

from typing import Any

POLICY: dict[str, Any] = {
    "exposure": ["external"],
    "hosts": ["*"],
    "networks": ["global/networks/default", "projects/example-host/*"],
    "secrets": ["*"],
    "service_accounts": ["slipway-model", "llama-serving@example-project.iam.gserviceaccount.com"],
    "tags": ["*"],
}
