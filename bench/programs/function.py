"""Creates a function with functions-framework from `main.py` and posts one event to it.

Arguments: target, topic, data. Prints the CPU time of this process when the function was ready and
when it had responded, and the response's status. Used by `bench/cold_start.py`.
"""

from __future__ import annotations

import base64
import os
import sys
import time

import functions_framework

target, topic, data = sys.argv[1:]
source = os.environ["FUNCTION_SOURCE"]
sys.path.insert(0, os.path.dirname(source))  # as gunicorn does in a function's folder
app = functions_framework.create_app(target, source, "cloudevent")
ready = time.process_time()
message = {
    "messageId": f"bench-{time.time_ns()}",
    "publishTime": "2026-01-01T00:00:00Z",
    "data": base64.b64encode(data.encode()).decode(),
}
push = {"message": message, "subscription": "projects/demo/subscriptions/bench"}
answer = app.test_client().post(f"/projects/demo/topics/{topic}", json=push)
print(ready, time.process_time(), answer.status_code, flush=True)
