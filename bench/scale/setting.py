"""What the stories of this bench assume of the deployed functions and of Google's services."""

from __future__ import annotations

COMPUTE_SECONDS, STORE_SECONDS = 0.08, 0.02
INSTANCES, CONCURRENCY = 10, 4
"""Of each function, as `deploy/functions.sh` sets them for the reconciler."""
READS_PER_MINUTE = 1500
