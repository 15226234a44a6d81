"""What the server counts, for Prometheus: `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)


class Meters:
    """Of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "vidpred_http_requests", "Answers by route and status.", ["route", "method", "status"], registry=registry
        )
        self.latency = Histogram(
            "vidpred_http_request_seconds", "From a request's first byte to the end of its answer.", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "vidpred_refused", "Requests that were turned away, by reason.", ["reason"], registry=registry
        )
        self.stage = Histogram(
            "vidpred_stage_seconds", "Of an upload in each stage, its wait for a batch included.", ["stage"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.batch = Histogram(
            "vidpred_batch_size", "Uploads that were done together.", ["stage"],
            buckets=(1, 2, 3, 4, 6, 8, 12, 16, 32), registry=registry,
        )  # fmt: skip
        self.under_way = Gauge("vidpred_uploads_under_way", "Uploads arriving or at work.", registry=registry)
        self.waiting = Gauge(
            "vidpred_queue_depth", "Uploads that wait for a batch, by stage.", ["stage"], registry=registry
        )
        self.frames = Counter("vidpred_predicted_frames", "Frames predicted.", ["model"], registry=registry)
        self.clips = Counter("vidpred_classified_clips", "Clips that were told a class.", ["model"], registry=registry)
        self.model = Gauge(
            "vidpred_model_info", "Always 1: what is served under each name.", ["model", "network", "weights"],
            registry=registry,
        )  # fmt: skip
        self.model_changes = Counter(
            "vidpred_model_changes", "Looks for a new version that ended so.", ["model", "outcome"], registry=registry
        )

        self._told: dict[str, tuple[str, str, str]] = {}

    def serving(self, name: str, network: str, weights: str) -> None:
        """Notes what is served under a name from now on."""
        if name in self._told:
            self.model.remove(*self._told[name])
        self._told[name] = (name, network, weights)
        self.model.labels(*self._told[name]).set(1)
        self.model_changes.labels(name, "taken").inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' own format."""
        return generate_latest(self._registry)
