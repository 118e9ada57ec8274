"""GET /metrics: what this daemon counts, in the text format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pyswarmd.engine.door.context import NODE, Route
from pyswarmd.engine.host.parts import CONTAINERS, IMAGES
from pyswarmd.metrics import Sample, of_host, of_raft

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Samples(Collector):
    def __init__(self, samples: Iterator[Sample]) -> None:
        self._samples = list(samples)

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for sample in self._samples:
            if (family := families.get(sample.name)) is None:
                kind = CounterMetricFamily if sample.counts else GaugeMetricFamily
                family = families[sample.name] = kind(sample.name, sample.help, labels=list(sample.labels))
            assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
            family.add_metric(list(sample.labels.values()), sample.value)
        yield from families.values()


def _of(app: web.Application) -> Iterator[Sample]:
    node = app[NODE]
    yield from of_host(app[CONTAINERS].running, len(app[IMAGES].list()), node.faults.counts)
    if node.networks is not None:
        yield from node.networks.metrics()
    if node.status().control_available:
        yield from of_raft(node.manager().raft.status())


async def metrics(request: web.Request) -> web.Response:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Samples(_of(request.app)))
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE})


ROUTES: tuple[Route, ...] = (("GET", "/metrics", metrics),)
