"""Creates a function with functions-framework from `main.py` and posts one event to it.

Arguments: target, topic, data. Prints three times of the system's monotonic clock: when
functions-framework was imported, when the function was ready, and when it had responded; then the
response's status, and the CPU time until it was ready. Used by `bench/cold_start.py`.
"""

from __future__ import annotations

import base64
import os
import sys
import time

import functions_framework

imported = time.monotonic()
target, topic, data = sys.argv[1:]
app = functions_framework.create_app(target, os.environ["FUNCTION_SOURCE"], "cloudevent")
ready, busy = time.monotonic(), time.process_time()
message = {
    "messageId": f"bench-{time.time_ns()}",
    "publishTime": "2026-01-01T00:00:00Z",
    "data": base64.b64encode(data.encode()).decode(),
}
push = {"message": message, "subscription": "projects/demo/subscriptions/bench"}
answer = app.test_client().post(f"/projects/demo/topics/{topic}", json=push)
print(imported, ready, time.monotonic(), answer.status_code, busy, flush=True)
