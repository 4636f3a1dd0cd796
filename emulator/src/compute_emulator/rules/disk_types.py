"""Disk types. Pure. Source: Compute Engine documentation, "Choose a disk type"."""

from __future__ import annotations

DISK_TYPES = {
    "hyperdisk-balanced": ("Hyperdisk Balanced", "100", "4GB-65536GB"),
    "hyperdisk-extreme": ("Hyperdisk Extreme", "1000", "64GB-65536GB"),
    "hyperdisk-ml": ("Hyperdisk ML", "100", "4GB-65536GB"),
    "hyperdisk-throughput": ("Hyperdisk Throughput", "2048", "2048GB-32768GB"),
    "local-ssd": ("Local SSD", "375", "375GB-375GB"),
    "pd-balanced": ("Balanced Persistent Disk", "100", "10GB-65536GB"),
    "pd-extreme": ("Extreme Persistent Disk", "1000", "500GB-65536GB"),
    "pd-ssd": ("SSD Persistent Disk", "100", "10GB-65536GB"),
    "pd-standard": ("Standard Persistent Disk", "500", "10GB-65536GB"),
}
"""Name: description, default size and allowed sizes."""
