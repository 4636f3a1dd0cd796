"""What one instance counts of its own requests, for `GET /metrics` on its port, as a model server
does.

The names, labels and edges of buckets are those of vLLM 0.33 (`vllm/v1/metrics/loggers.py` and
`buckets.py`) and, for the two counters `nv_...`, of Triton Inference Server
(`docs/user_guide/metrics.md`), so that queries written for them can be tried. The numbers are the
app's own. As in vLLM, only requests that a worker took count there; Triton counts refused ones too.
"""

from __future__ import annotations

from compute_emulator.traffic.metrics import Histogram, family

FINISHED_REASONS = ("stop", "length", "abort", "error", "repetition")
LATENCY_EDGES = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0),
    *(120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0),
)
FIRST_TOKEN_EDGES = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
INTER_TOKEN_EDGES = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)


class InstanceMetrics:
    """Counters since the app started. Used on the data plane's event loop only."""

    def __init__(self) -> None:
        self._finished = dict.fromkeys(FINISHED_REASONS, 0)
        self._refused = 0
        self._latency = Histogram(LATENCY_EDGES)
        self._queue_time = Histogram(LATENCY_EDGES)
        self._first_token = Histogram(FIRST_TOKEN_EDGES)
        self._inter_token = Histogram(INTER_TOKEN_EDGES)

    def record_first_token(self, seconds: float) -> None:
        """The time from a request's arrival to the first part of its answer."""
        self._first_token.observe(seconds)

    def record_next_token(self, seconds: float) -> None:
        """The time between two events of a streamed answer."""
        self._inter_token.observe(seconds)

    def record_finished(self, reason: str, seconds: float, queue_seconds: float) -> None:
        """`seconds` from its arrival to its end, `queue_seconds` until a worker took it."""
        self._finished[reason] += 1
        self._latency.observe(seconds)
        self._queue_time.observe(queue_seconds)

    def record_refused(self) -> None:
        """A request for which there was no place in the queue."""
        self._refused += 1

    def exposition(self, model: str, running: int, waiting: int) -> bytes:
        """The Prometheus text format."""
        engine = {"engine": "0", "model_name": model}
        families = [
            family(f"vllm:num_requests_{state}", "gauge", f"Requests {state}.", [("", engine, n)])
            for state, n in (("running", running), ("waiting", waiting))
        ]
        finished = [
            ("", engine | {"finished_reason": reason}, count)
            for reason, count in self._finished.items()
        ]
        families.append(
            family("vllm:request_success_total", "counter", "Requests by their end.", finished)
        )
        families += [
            family(f"vllm:{name}_seconds", "histogram", about, histogram.samples(engine))
            for name, about, histogram in (
                ("time_to_first_token", "From arrival to first token.", self._first_token),
                ("inter_token_latency", "Between tokens of a stream.", self._inter_token),
                ("e2e_request_latency", "From arrival to end.", self._latency),
                ("request_queue_time", "From arrival to a worker.", self._queue_time),
            )
        ]
        return "".join([*families, *self._triton_families(model)]).encode()

    def _triton_families(self, model: str) -> list[str]:
        labels = {"model": model, "version": "1"}
        failed = {
            "REJECTED": self._refused,
            "CANCELED": self._finished["abort"],
            "BACKEND": self._finished["error"],
            "OTHER": 0,
        }
        return [
            family(
                "nv_inference_request_success",
                "counter",
                "Requests that succeeded.",
                [("", labels, self._finished["stop"])],
            ),
            family(
                "nv_inference_request_failure",
                "counter",
                "Requests that failed.",
                [("", labels | {"reason": reason}, count) for reason, count in failed.items()],
            ),
        ]
