"""Cached, resumable steps: a step whose key was computed before is not run again, also after kill -9."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tidemill.core.errors import Corrupt
from tidemill.core.recording import done_before, key_of, outputs_of, recorded
from tidemill.core.types import Artifact, View
from tidemill.core.workspace import Workspace
from tidemill.flow.caching.keys import code_of


def step_key(function: Callable[..., Any], *, inputs: Iterable[Artifact | View], params: Mapping[str, Any]) -> str:
    """The cache key: code reached by the function, contents of the inputs, parameters."""
    return key_of("flow.step", code_of(function).digest, [item.digest for item in inputs], dict(params))


def step(
    ws: Workspace,
    function: Callable[[], Artifact],
    *,
    name: str,
    inputs: Iterable[tuple[str, Artifact | View]] = (),
    params: Mapping[str, Any] | None = None,
    code: Callable[..., Any] | None = None,
) -> Artifact:
    """Run a step that makes one artifact, or return what it made before under the same key.

    code: the function whose code counts, where `function` only binds its arguments. The key is made of that code and
    all project code it reaches, the inputs' digests and `params`; a step that did not finish is run again.
    """
    named = list(inputs)
    counted = code or function
    key = step_key(counted, inputs=[item for _, item in named], params=params or {})
    before = done_before(ws, key)
    if before is not None:
        made = [artifact for slot, artifact in outputs_of(ws, before) if slot == "result"]
        if len(made) != 1:
            raise Corrupt(f"run {before.id} of step {name!r} has {len(made)} results; run `tidemill audit verify`")
        return made[0]
    source = code_of(counted)
    with recorded(
        ws, "flow.step", name, inputs=named, params=params, key=key, code=ws.store.put(source.text.encode())
    ) as run:
        result = function()
        run.link_output(result, "result")
    return result


def json_step(
    ws: Workspace,
    function: Callable[..., Any],
    *,
    name: str,
    inputs: Iterable[Artifact | View] = (),
    params: Mapping[str, Any] | None = None,
) -> Any:  # Any: a JSON value
    """`function(**params)`, which must be a JSON value, computed once for the same code, inputs and parameters."""
    named = [(item.name, item) for item in inputs]
    key = step_key(function, inputs=[item for _, item in named], params=params or {})
    before = done_before(ws, key)
    if before is None:
        source = code_of(function)
        with recorded(
            ws, "flow.step", name, inputs=named, params=params, key=key, code=ws.store.put(source.text.encode())
        ) as run:
            value = function(**(params or {}))
            run.emit_json("value", name, value, slot="result")
            before = run.run
    (made,) = [artifact for slot, artifact in outputs_of(ws, before) if slot == "result"]
    return json.loads(ws.store.get(made.digest))
