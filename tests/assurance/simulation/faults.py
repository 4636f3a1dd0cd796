"""Selects the faults of a schedule that apply to a call, a message or a worker."""

from __future__ import annotations

from fnmatch import fnmatchcase

from tests.assurance.simulation import schedule as schedules
from tests.assurance.simulation.schedule import Fault, Schedule


class _Armed:
    def __init__(self, fault: Fault) -> None:
        self.fault, self.remaining = fault, fault.times


class Faults:
    """The faults of one schedule in one run."""

    def __init__(self, schedule: Schedule) -> None:
        self._call_faults = [
            _Armed(fault)
            for fault in sorted(schedule.faults, key=lambda fault: fault.at)
            if fault.kind in schedules.CALL_FAULTS
        ]
        self._message_faults = [
            _Armed(fault) for fault in schedule.faults if fault.kind in schedules.MESSAGE_FAULTS
        ]
        self._worker_faults = [
            fault for fault in schedule.faults if fault.kind in schedules.WORKER_FAULTS
        ]
        self.world_faults = [
            fault for fault in schedule.faults if fault.kind in schedules.WORLD_FAULTS
        ]
        self.has_stale_reads = any(armed.fault.kind == "stale" for armed in self._call_faults)

    def for_call(self, number: int, name: str, is_write: bool, *, has_read: bool) -> Fault | None:
        """The fault that applies to this call; at most one does."""
        for armed in self._call_faults:
            if armed.fault.at > number:
                return None
            if (
                armed.remaining > 0
                and _matches_call(armed.fault, name, is_write)
                and (armed.fault.kind != "stale" or has_read)
            ):
                armed.remaining -= 1
                return armed.fault
        return None

    def for_message(self, number: int, topic: str, *, is_tick: bool) -> list[Fault]:
        """All faults that apply to this message. Each applies to one message, except a `drop`,
        which applies `times` times.
        """
        matching = [
            armed
            for armed in self._message_faults
            if armed.remaining > 0 and _matches_message(armed.fault, number, topic, is_tick)
        ]
        for armed in matching:
            armed.remaining -= 1 if armed.fault.kind == "drop" else armed.remaining
        return [armed.fault for armed in matching]

    def skew(self, worker: int) -> float:
        """The error of this worker's clock, in seconds."""
        return sum(
            fault.seconds
            for fault in self._worker_faults
            if fault.at <= worker < fault.at + fault.times
        )


def _matches_call(fault: Fault, name: str, is_write: bool) -> bool:
    if fault.on != "*" and not fnmatchcase(name, fault.on):
        return False
    is_compute = name.startswith("compute.")
    match fault.kind:
        case "no_effect" | "crash_before" | "stall_before":
            return is_write or fault.on != "*"
        case "stale":
            return is_compute and not is_write and not name.endswith("Operations.wait")
        case "error" | "garbled":
            return is_compute
        case "metrics":
            return name.startswith("metrics.")
        case "operation_error" | "operation_never":
            return is_compute and is_write
    return is_write


def _matches_message(fault: Fault, number: int, topic: str, is_tick: bool) -> bool:
    is_exempt = fault.kind == "drop" and is_tick  # ticks are never lost
    return fault.at <= number and not is_exempt and fnmatchcase(topic, fault.on)
