"""The dashboard as a service of its own, behind Identity-Aware Proxy: `gunicorn
'console.dashboard.service:make_app()'`.

Its identity needs `roles/datastore.viewer` and nothing else. Who may see it is up to the proxy: the
service itself must not be reachable without it (docs/dashboard.md).
"""

from __future__ import annotations

import os

from console.connect import connect
from console.dashboard.app import App
from console.dashboard.sources import Sources


def make_app() -> App:
    """Reads the project GOOGLE_CLOUD_PROJECT."""
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    return App(Sources(connect(project, os.environ)), hosts=None)
