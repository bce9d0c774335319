"""Where a gateway worker's records go: its log files, and a collector if the standard OTEL_* variables name one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING
from urllib.parse import unquote

from gateway.insight.access_log import AccessLog
from gateway.insight.worker import Insight
from ops.config import Settings
from ops.local.child_log import ChildLog

if TYPE_CHECKING:
    from gateway.insight.spans import Spans


@asynccontextmanager
async def insight_of(settings: Settings, worker: str) -> AsyncIterator[Insight]:
    """`worker`: one process's own name."""
    path = settings.folder("logs") / f"gateway-{settings.gateway_worker}-access.jsonl"
    with closing(ChildLog(path, settings.log_max_bytes, settings.log_files)) as file:
        insight = Insight(
            access_log=AccessLog(settings.access_log_sample, file.write),
            spans=_spans(dict(settings.inherited_env), worker),
            trace_sample=settings.trace_sample,
        )
        try:
            yield insight
        finally:
            await insight.close()


def _spans(environ: Mapping[str, str], worker: str) -> "Spans | None":
    """By the variables of the OpenTelemetry specification; None: no collector is named, or tracing is disabled."""
    base = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    url = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or (f"{base}/v1/traces" if base else "")
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not url or off:
        return None
    given = environ.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") or environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")
    pairs = (each.partition("=") for each in given.split(",") if "=" in each)
    headers = {name.strip(): unquote(value.strip()) for name, _, value in pairs}
    from gateway.insight.spans import Spans  # and with it an HTTP client, which nobody else here needs

    return Spans(url, headers, worker=worker, service=environ.get("OTEL_SERVICE_NAME") or "causeway-gateway")
