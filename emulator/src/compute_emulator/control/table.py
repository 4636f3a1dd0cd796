"""The controls that can be scheduled: all but those of the schedule itself."""

from __future__ import annotations

from compute_emulator.control import instances, outages, settings
from compute_emulator.control.registry import Controls
from compute_emulator.traffic import controls as traffic_controls

SCHEDULABLE = Controls(
    settings.CONTROLS | instances.CONTROLS | outages.CONTROLS | traffic_controls.CONTROLS
)
