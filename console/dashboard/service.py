"""The dashboard as a service of its own, behind Identity-Aware Proxy: `gunicorn
'console.dashboard.service:make_app()'`.

Its identity needs `roles/datastore.viewer` and nothing else. Who may see it is up to the proxy,
whose signature under each request is verified (docs/dashboard.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from console.connect import connect
from console.dashboard.app import App
from console.dashboard.iap import Iap, Keys
from console.dashboard.sources import Sources

AUDIENCE, PROXY = "SLIPWAY_IAP_AUDIENCE", "SLIPWAY_DASHBOARD_PROXY"
OTHER = "other"


def make_app(environment: Mapping[str, str] = os.environ) -> App:
    """Reads the project GOOGLE_CLOUD_PROJECT. Raises ValueError if nobody says who keeps strangers
    out.
    """
    refuse = _refuse(environment)
    sources = Sources(connect(environment["GOOGLE_CLOUD_PROJECT"], environment))
    sources.begin()
    return App(sources, hosts=None, refuse=refuse)


def _refuse(environment: Mapping[str, str]) -> Callable[[Mapping[str, object]], str] | None:
    audience, proxy = environment.get(AUDIENCE, ""), environment.get(PROXY, "")
    if audience and not proxy:
        return Iap(audience, Keys())
    if proxy == OTHER and not audience:
        return None
    raise ValueError(
        f"{AUDIENCE} must be the audience of Identity-Aware Proxy's tokens for this service, as"
        f" deploy/dashboard.sh sets it. If another proxy decides who may see all models, and the"
        f" service is reached through it alone, set {PROXY}={OTHER} in its place"
    )
