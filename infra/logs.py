"""Log lines for Cloud Logging: one JSON object per line, with a constant message and fields. Never
a secret, never a whole spec.

Set up once by `main.py`. Callers write `log.info("constant message", extra={"fields": {...}})`.
"""

from __future__ import annotations

import json
import logging
import sys


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "severity": record.levelname,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("slipway")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
