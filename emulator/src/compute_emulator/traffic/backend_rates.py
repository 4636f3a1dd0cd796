"""The target capacity of an entry of a backend service's `backends`: its rate, and a VM's share.
Pure.

Source: Compute API reference, Backend.maxRate, maxRatePerInstance and capacityScaler.
"""

from __future__ import annotations

from compute_emulator.errors import JsonObject


def rate_of(settings: JsonObject, count: int) -> float | None:
    """Requests per second that a backend of this many VMs should get; None without a limit."""
    scaler = float(settings.get("capacityScaler", 1.0))
    whole, each = settings.get("maxRate"), settings.get("maxRatePerInstance")
    limits = [float(limit) * scaler for limit in (whole, each and float(each) * count) if limit]
    return min(limits, default=None)


def weight_of(settings: JsonObject, count: int) -> float:
    """A VM's share of its service's requests. Without a rate, all VMs have the same share, times
    the scaler.
    """
    if settings.get("balancingMode") == "RATE" and count:
        return (rate_of(settings, count) or 0.0) / count
    return float(settings.get("capacityScaler", 1.0))
