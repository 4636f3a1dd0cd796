"""Fixtures of the journeys."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


class Records(logging.Handler):
    """Keeps every record of Slipway's logger, whatever other tests did to its handlers."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)


@pytest.fixture
def log_records() -> Iterator[list[logging.LogRecord]]:
    """What Slipway logs from now on."""
    logger, records = logging.getLogger("slipway"), Records()
    level = logger.level
    logger.addHandler(records)
    logger.setLevel(logging.INFO)
    yield records.all
    logger.removeHandler(records)
    logger.setLevel(level)
