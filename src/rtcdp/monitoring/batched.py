"""Metrics that take a whole batch at once: prometheus-client's own cost as much as some of a worker's transactions."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

FEW = 16
"""Values that are put into their buckets one by one: for fewer than there are buckets that takes less time."""


class BatchCounter(Collector):
    """A counter per combination of labels.

    labels: their names. Without any there is one counter, from 0 on; else each begins with its first `add`.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        self._counts: dict[tuple[str, ...], int] = {} if labels else {(): 0}
        self._lock = Lock()
        registry.register(self)

    def add(self, amount: int, *labels: str) -> None:
        """Counts `amount` (0 or more) under the values of the labels."""
        with self._lock:
            self._counts[labels] = self._counts.get(labels, 0) + amount

    def collect(self) -> Iterator[Metric]:
        """One sample per combination."""
        with self._lock:
            counts = dict(self._counts)
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for labels, count in counts.items():
            family.add_metric(labels, count)
        yield family


class BatchHistogram(Collector):
    """A histogram that takes a whole batch of values at once: one sort and one bisection per bound.

    bounds: inclusive upper bounds, ascending; the bucket above the last is added.
    """

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self.name = name
        self.bounds = tuple(bounds)
        self._text = text
        self._counts = [0] * (len(self.bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()
        self._bounds_ms = [round(bound * 1_000) for bound in self.bounds]
        registry.register(self)

    def observe(self, value: float) -> None:
        """Adds one value, in the unit of the bounds."""
        place = bisect_left(self.bounds, value)
        with self._lock:
            self._counts[place] += 1
            self._sum += value

    def observe_since(self, appended: Sequence[int], now: int) -> None:
        """Adds `now - appended` for each of the batch, as seconds; all times in ms.

        A time in the future (another machine's clock) counts as no time at all.
        """
        if len(appended) < FEW:
            for time in appended:
                self._observe_ms(max(0, now - time))
            return
        times = sorted(appended)
        total = now * len(times) - sum(times)
        if times[-1] > now:
            future = len(times) - bisect_right(times, now)
            total += sum(times[len(times) - future :]) - now * future
        above = len(times)  # values not yet put into a bucket: those that were appended earliest
        with self._lock:
            for place, bound in enumerate(self._bounds_ms):
                first_within = bisect_left(times, now - bound, 0, above)
                self._counts[place] += above - first_within
                above = first_within
                if not above:
                    break
            self._counts[-1] += above
            self._sum += total / 1_000

    def _observe_ms(self, value: int) -> None:
        place = bisect_left(self._bounds_ms, value)
        with self._lock:
            self._counts[place] += 1
            self._sum += value / 1_000

    @property
    def count(self) -> int:
        """How many values there are."""
        return sum(self._counts)

    def quantile(self, share: float) -> float | None:
        """The value below which `share` (0..1) of all lie, interpolated within its bucket; None without values.

        As Prometheus' `histogram_quantile`: what lies above the last bound counts as the last bound.
        """
        with self._lock:
            counts = list(self._counts)
        total = sum(counts)
        if not total:
            return None
        rank, below = share * total, 0
        for place, bound in enumerate(self.bounds):
            if counts[place] and below + counts[place] >= rank:
                lower = self.bounds[place - 1] if place else 0.0
                return lower + (bound - lower) * max(0.0, rank - below) / counts[place]
            below += counts[place]
        return self.bounds[-1]

    def collect(self) -> Iterator[Metric]:
        """The cumulative buckets, as the text format wants them."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        family = HistogramMetricFamily(self.name, self._text)
        buckets, running = [], 0
        for bound, count in zip((*map(str, self.bounds), "+Inf"), counts, strict=True):
            running += count
            buckets.append((bound, running))
        family.add_metric([], buckets, sum_value=total)
        yield family
