"""A collector of OpenTelemetry, as far as tests look at what it was sent."""

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {1: "internal", 2: "server", 3: "client", 5: "consumer"}


class Collector:
    """What a collector was sent."""

    def __init__(self, hook):
        self.hook = hook

    def spans(self, trace):
        """The spans of a trace, each with the instance that made it, by span id."""
        found = {}
        for posted in list(self.hook.posted):
            assert (posted.path, posted.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            for resource in ExportTraceServiceRequest.FromString(posted.body).resource_spans:
                of = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        if span.trace_id.hex() == trace:
                            found[span.span_id.hex()] = (of, span)
        return found

    def path(self, trace, name, kind):
        """From the one span of this name and kind up to the first of ours, as who did what."""
        spans = self.spans(trace)
        [at] = [id_ for id_, (_, s) in spans.items() if (s.name, KINDS[s.kind]) == (name, kind)]
        found = []
        while at in spans:
            of, span = spans[at]
            assert of["service.name"] == "understudy"
            found.append((of["service.instance.id"].rpartition("/")[0], span.name, KINDS[span.kind]))
            at = span.parent_span_id.hex()
        return found, at
