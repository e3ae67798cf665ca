"""What a service counts, in the text format of Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_IMAGES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256)


class Metrics:
    """The counts of one service.

    Attributes:
        requests: answers, by route, method and status.
        seconds: from the first byte of a request to the last of its answer, by route.
        refused: requests that found a full queue or too many others.
        in_work: requests that are worked on now.
        queued: images that wait for the model now.
        queue_wait: seconds from a decoded request to the run that takes its first image.
        batch: images of each run of the model.
        run: seconds of each run.
        images: images that were embedded.
        search: seconds of each search of the gallery.
    """

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        own = self.registry
        self.requests = Counter(
            "mtml_requests", "Answers.", ("route", "method", "status"), registry=own
        )
        self.seconds = Histogram(
            "mtml_request_seconds",
            "From a request to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=own,
        )
        self.refused = Counter("mtml_refused", "Requests refused with 429.", registry=own)
        self.in_work = Gauge("mtml_requests_in_work", "Requests worked on now.", registry=own)
        self.queued = Gauge("mtml_queued_images", "Images that wait for the model.", registry=own)
        self.queue_wait = Histogram(
            "mtml_queue_wait_seconds",
            "From a decoded request to the run that takes its first image.",
            buckets=_SECONDS,
            registry=own,
        )
        self.batch = Histogram(
            "mtml_batch_images", "Images of each run of the model.", buckets=_IMAGES, registry=own
        )
        self.run = Histogram(
            "mtml_run_seconds",
            "Each run of the model, with what overlaps it.",
            buckets=_SECONDS,
            registry=own,
        )
        self.images = Counter("mtml_embedded_images", "Images embedded.", registry=own)
        self.search = Histogram(
            "mtml_search_seconds", "Each search of the gallery.", buckets=_SECONDS, registry=own
        )

    def text(self) -> bytes:
        """All of them."""
        return generate_latest(self.registry)
