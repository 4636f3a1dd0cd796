"""How long the data plane takes to follow changes of what it serves.

A change of a URL map, a backend service or a target proxy is in the API at once. The data plane
follows it `seconds` after its operation has ended; until then it serves the earlier version, also
of a resource that is deleted, and nothing of one that is new. Source: load-balancing/docs: global
changes are eventually consistent. No figures are published.
"""

from __future__ import annotations

import math

from compute_emulator.errors import JsonObject
from compute_emulator.keys import Key

SERVED = frozenset(("urlMaps", "backendServices", "targetHttpProxies", "targetHttpsProxies"))


class Propagation:
    """Versions of resources that are not served yet, or still are. Holds nothing while `seconds` is
    0.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        # In the order of the writes: since when each is served, and the resource (None: deleted).
        self._versions: dict[Key, list[tuple[float, JsonObject | None]]] = {}

    def record(
        self, key: Key, before: JsonObject | None, after: JsonObject | None, now: float
    ) -> None:
        """A resource is replaced at this moment; None stands for a resource that does not exist."""
        if not self.seconds and key not in self._versions:
            return
        versions = self._versions.setdefault(key, [(-math.inf, before)])
        versions.append((max(versions[-1][0], now + self.seconds), after))

    def hold(self, key: Key, until: float) -> None:
        """The last change of a resource counts from `until`, when its operation ends."""
        versions = self._versions.get(key)
        if versions is not None:
            since, resource = versions[-1]
            versions[-1] = (max(since, until + self.seconds), resource)

    def served(self, key: Key, current: JsonObject | None, now: float) -> JsonObject | None:
        """The version that the data plane serves; `current` is the API's."""
        versions = self._versions.get(key)
        if versions is None:
            return current
        while len(versions) > 1 and versions[1][0] <= now:
            del versions[0]
        if len(versions) == 1:
            del self._versions[key]
            return current
        return versions[0][1]
