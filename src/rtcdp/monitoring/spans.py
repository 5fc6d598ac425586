"""Spans of OpenTelemetry. Imported only where traces are wanted: it needs the extra `otel`.

One span for a request, a batch, an attempt. A batch links to the traces of the records in it (at most MOST_LINKS); none is made
of a batch in which nothing is traced. What a span says is counts, names and places, never anything of an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from rtcdp.monitoring.tracing import HEADER

MOST_LINKS = 128
EXPORT_S = 2.0
"""How long one export may take: a process has to end in time though nobody takes its spans."""

Attributes = Mapping[str, str | int]
_w3c = TraceContextTextMapPropagator()


class Spans:
    """Makes spans.

    provider: where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("rtcdp")

    @contextmanager
    def request(self, name: str, parent: bytes | None, attributes: Attributes) -> Iterator[bytes | None]:
        """A request that is served, or made, as a part of its caller's trace; yields the trace context to hand on."""
        with self._within(name, SpanKind.SERVER, parent, attributes) as handed:
            yield handed

    @contextmanager
    def attempt(self, name: str, parent: bytes, attributes: Attributes) -> Iterator[bytes | None]:
        """A request that is made, as a part of the trace of what it tells; yields the trace context to hand on."""
        with self._within(name, SpanKind.CLIENT, parent, attributes) as handed:
            yield handed

    @contextmanager
    def batch(self, name: str, parents: Iterable[bytes], attributes: Attributes) -> Iterator[None]:
        """A batch of records, with links to their traces."""
        links = []
        for parent in dict.fromkeys(parents):
            context = get_current_span(_context(parent)).get_span_context()
            if context.is_valid:
                links.append(Link(context))
            if len(links) == MOST_LINKS:
                break
        with self._tracer.start_as_current_span(
            name, Context(), SpanKind.CONSUMER, attributes, links, record_exception=False, set_status_on_exception=False
        ) as span, _failing(span):  # fmt: skip
            yield

    @contextmanager
    def _within(self, name: str, kind: SpanKind, parent: bytes | None, attributes: Attributes) -> Iterator[bytes | None]:
        context = Context() if parent is None else _context(parent)
        with self._tracer.start_as_current_span(
            name, context, kind, attributes, record_exception=False, set_status_on_exception=False
        ) as span, _failing(span):  # fmt: skip
            carrier: dict[str, str] = {}
            _w3c.inject(carrier)
            found = carrier.get(HEADER)
            yield None if found is None else found.encode()


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Mark a span whose work fails; by the error's kind alone, since its text may quote an event."""
    try:
        yield
    except BaseException as error:
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise


def _context(parent: bytes) -> Context:
    return _w3c.extract({HEADER: parent.decode("ascii", "replace")}, Context())


def exporting(address: str, service: str, instance: str) -> Spans:
    """Spans that are sent to an OpenTelemetry collector, in batches, by a thread.

    address: of OTLP over HTTP. Sampling is as the variables OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say.
    """
    about = {"service.name": service} | ({"service.instance.id": instance} if instance else {})
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{address.rstrip('/')}/v1/traces", timeout=EXPORT_S)))
    return Spans(provider)
