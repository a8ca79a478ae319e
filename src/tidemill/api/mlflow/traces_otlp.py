"""Spans as OpenTelemetry's exporters send them: OTLP/HTTP in protobuf or JSON, packed or not."""

from __future__ import annotations

import asyncio
import zlib

from fastapi import Request
from starlette.responses import Response

from tidemill.api.mlflow import limits
from tidemill.api.mlflow.errors import Told
from tidemill.api.mlflow.traces_named import known_experiment
from tidemill.core.errors import BadInput
from tidemill.core.graphs.committing import committer_of
from tidemill.core.workspace import Workspace
from tidemill.track.tracing import otlp, traces

PATH = "/v1/traces"
MOST_BYTES = 64 << 20  # of a request, unpacked
INLINE = 64 << 10  # bytes that are read at once: what is more goes to a thread


async def export(ws: Workspace, request: Request) -> Response:
    """Take spans in; answered when they are durable. Raises Told for what is no request of OTLP."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/x-protobuf", "application/json"):
        raise Told("BAD_REQUEST", f"Invalid Content-Type: {kind}. Expected: application/x-protobuf or application/json")
    place = limits.experiment_id(request.headers.get("x-mlflow-experiment-id") or "0")
    given = request.headers.get("x-mlflow-run-id")
    run_id = limits.run_id(given) if given else None
    packing = request.headers.get("content-encoding", "").strip().lower()
    body = await request.body()

    def sent() -> list[otlp.Sent]:
        data = _unpacked(body, packing) if packing not in ("", "identity") else body
        found = otlp.read(data) if kind == "application/x-protobuf" else otlp.read_json(data)
        if not data:
            raise Told("BAD_REQUEST", "Invalid OpenTelemetry format - no spans found")
        return found

    try:
        found = sent() if len(body) < INLINE and not packing else await asyncio.to_thread(sent)
    except BadInput as error:
        raise Told("BAD_REQUEST", f"Invalid OpenTelemetry format: {error}") from None
    if found:
        operation = known_experiment(traces.logging_spans(ws, place, found, run_id=run_id), place)
        await asyncio.wrap_future(committer_of(ws).submit(operation))
    return Response(b"" if kind == "application/x-protobuf" else b"{}", media_type=kind)


def _unpacked(body: bytes, packing: str) -> bytes:
    """The body unpacked, of at most MOST_BYTES: a small one may unpack to anything."""
    if packing not in ("gzip", "deflate"):
        raise Told("BAD_REQUEST", f"Unsupported Content-Encoding: {packing}; there are gzip and deflate")
    reader = zlib.decompressobj(zlib.MAX_WBITS | 32)  # by its head: gzip or zlib
    try:
        data = reader.decompress(body, MOST_BYTES + 1)
    except zlib.error as error:
        raise Told("BAD_REQUEST", f"Failed to decompress {packing} payload: {error}") from None
    if len(data) > MOST_BYTES:
        raise Told("BAD_REQUEST", f"a body that unpacks to more than {MOST_BYTES:,} bytes is too big")
    if not reader.eof:
        raise Told("BAD_REQUEST", f"Failed to decompress {packing} payload: it ends too early")
    return data
