"""Histograms for hot paths, as a collector of prometheus-client.

The library's own `Histogram.observe` takes a lock for each number it counts, which three times a
claim is a tenth of what a claim may cost. These are counted in the event loop alone, and copied when
somebody reads them.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector


class Tally:
    """One series. Called in the event loop alone."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, as the exposition has them, and the sum."""
        counts, total = self._counts.copy(), self._sum
        cumulative, found = 0, list[tuple[str, float]]()
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            cumulative += count
            found.append(("+Inf" if bound == float("inf") else repr(float(bound)), cumulative))
        return found, total


class Tallies(Collector):
    """A histogram with labels: one `Tally` for each combination of their values."""

    def __init__(
        self, name: str, meaning: str, labels: Sequence[str], bounds: Sequence[float]
    ) -> None:
        self._name = name
        self._meaning = meaning
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._tallies: dict[tuple[str, ...], Tally] = {}

    def labels(self, *values: str) -> Tally:
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = Tally(self._bounds)
        return tally

    def remove(self, *values: str) -> None:
        self._tallies.pop(values, None)

    def describe(self) -> Iterable[HistogramMetricFamily]:
        return [HistogramMetricFamily(self._name, self._meaning, labels=self._labels)]

    def collect(self) -> Iterable[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._meaning, labels=self._labels)
        for values, tally in list(self._tallies.items()):
            buckets, total = tally.buckets()
            family.add_metric(values, buckets=buckets, sum_value=total)
        return [family]
