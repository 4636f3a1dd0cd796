"""Which fault of a schedule strikes what happens now, and how often it still may."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.schedule import Fault, Schedule


class _Armed:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.left = fault, fault.times


class Faults:
    """The faults of one schedule in one run."""

    def __init__(self, schedule: Schedule) -> None:
        self._on_calls = [
            _Armed(fault)
            for fault in sorted(schedule.faults, key=lambda fault: fault.at)
            if fault.kind in schedules.ON_CALLS
        ]
        self._on_messages = [
            _Armed(fault) for fault in schedule.faults if fault.kind in schedules.ON_MESSAGES
        ]
        self._on_workers = [
            fault for fault in schedule.faults if fault.kind in schedules.ON_WORKERS
        ]
        self.on_the_world = [
            fault for fault in schedule.faults if fault.kind in schedules.ON_THE_WORLD
        ]
        self.has_stale_reads = any(armed.fault.kind == "stale" for armed in self._on_calls)

    def of_call(self, number: int, name: str, is_write: bool, *, has_read: bool) -> Fault | None:
        """The one fault that strikes this call."""
        for armed in self._on_calls:
            if armed.fault.at > number:
                return None
            if (
                armed.left > 0
                and _fits(armed.fault, name, is_write)
                and (armed.fault.kind != "stale" or has_read)
            ):
                armed.left -= 1
                return armed.fault
        return None

    def of_message(self, number: int, topic: str, *, is_tick: bool) -> list[Fault]:
        """All that strikes this message. Each strikes one message only, but for a drop that is to
        be repeated."""
        struck = [
            armed
            for armed in self._on_messages
            if armed.left > 0 and _befalls(armed.fault, number, topic, is_tick)
        ]
        for armed in struck:
            armed.left -= 1 if armed.fault.kind == "drop" else armed.left
        return [armed.fault for armed in struck]

    def skew(self, worker: int) -> float:
        """Seconds by which this worker's clock is wrong."""
        return sum(
            fault.seconds
            for fault in self._on_workers
            if fault.at <= worker < fault.at + fault.times
        )


def _fits(fault: Fault, name: str, is_write: bool) -> bool:
    if fault.on != "*" and not fnmatchcase(name, fault.on):
        return False
    is_compute = name.startswith("compute.")
    match fault.kind:
        case "no_effect" | "crash_before" | "pause_before":
            return is_write or fault.on != "*"
        case "stale":
            return is_compute and not is_write and not name.endswith("Operations.wait")
        case "error" | "garbled":
            return is_compute
        case "operation_error" | "operation_never":
            return is_compute and is_write
    return is_write


def _befalls(fault: Fault, number: int, topic: str, is_tick: bool) -> bool:
    is_spared = fault.kind == "drop" and is_tick  # the clock ticks on
    return fault.at <= number and not is_spared and fnmatchcase(topic, fault.on)
