"""What the spans of a trace say of it as a whole: when, how it ended, what was asked and answered, tokens and cost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Span = Mapping[str, Any]
INPUTS, OUTPUTS, TYPE = "mlflow.spanInputs", "mlflow.spanOutputs", "mlflow.spanType"
USAGE, COST = "mlflow.chat.tokenUsage", "mlflow.llm.cost"
PREVIEW = 1000  # characters
KINDS = 1000  # different (name, type, status) of a trace that are listed with it
# Where OpenTelemetry's and OpenInference's conventions have what MLflow's attributes have.
_INPUTS = (INPUTS, "gen_ai.input.messages", "gen_ai.prompt", "input.value", "traceloop.entity.input")
_OUTPUTS = (OUTPUTS, "gen_ai.output.messages", "gen_ai.completion", "output.value", "traceloop.entity.output")
_TOKENS = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion"),
    "total_tokens": ("gen_ai.usage.total_tokens", "llm.usage.total_tokens", "llm.token_count.total"),
}
_TYPES = {"chat": "CHAT_MODEL", "text_completion": "LLM", "embeddings": "EMBEDDING", "execute_tool": "TOOL",
          "invoke_agent": "AGENT", "create_agent": "AGENT"}  # fmt: skip


def attributes(span: Span) -> Mapping[str, Any]:
    """The attributes of a span."""
    found: Mapping[str, Any] = span.get("attributes", {})
    return found


def type_of(span: Span) -> str:
    """The type of a span: MLflow's, or what other conventions call its kind."""
    has = attributes(span)
    found = has.get(TYPE) or has.get("openinference.span.kind") or _TYPES.get(str(has.get("gen_ai.operation.name")))
    return str(found) if found else "UNKNOWN"


def root_of(spans: Iterable[Span]) -> Span | None:
    """The span without a parent."""
    return next((each for each in spans if each["parent"] is None), None)


def kinds(spans: Iterable[Span], before: Iterable[Sequence[str]] = ()) -> list[list[str]]:
    """The different (name, type, status) of spans, with those known before."""
    found = {tuple(each) for each in before} | {(each["name"], type_of(each), each["status"]) for each in spans}
    return [list(each) for each in sorted(found)[:KINDS]]


def state_of(root: Span | None) -> str:
    """The state of a trace with that root."""
    return "IN_PROGRESS" if root is None else "ERROR" if root["status"] == "ERROR" else "OK"


def previews(root: Span) -> tuple[str | None, str | None]:
    """What was asked and what was answered, as short texts."""
    has = attributes(root)
    asked, answered = _first(has, _INPUTS), _first(has, _OUTPUTS)
    return _preview(asked, "user"), _preview(answered, "assistant")


def usage_of(span: Span) -> dict[str, int] | None:
    """The tokens of a span."""
    has = attributes(span)
    given = _parsed(has.get(USAGE))
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items() if isinstance(value, int)}
    found = {name: _first(has, keys) for name, keys in _TOKENS.items()}
    known = {name: value for name, value in found.items() if isinstance(value, int)}
    if known and "total_tokens" not in known:
        known["total_tokens"] = sum(known.values())
    return known or None


def cost_of(span: Span) -> dict[str, float] | None:
    """The cost of a span, in US dollars."""
    given = _parsed(attributes(span).get(COST))
    if not isinstance(given, Mapping):
        return None
    return {str(name): float(value) for name, value in given.items() if isinstance(value, int | float)}


def total(spans: Sequence[Span], of: Callable[[Span], Mapping[str, float] | None]) -> dict[str, float] | None:
    """The sum over a tree; what a span says of itself covers all that is below it, as frameworks that add up do."""
    parents = {each["id"]: each["parent"] for each in spans}
    said = {each["id"]: found for each in spans if (found := of(each))}
    made: dict[str, float] = {}
    for span_id, found in said.items():
        above, seen = parents[span_id], {span_id}
        while above is not None and above not in said and above not in seen:
            seen.add(above)
            above = parents.get(above)
        if above is None or above not in said:
            for name, value in found.items():
                made[name] = made.get(name, 0) + value
    return made or None


def _first(has: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((has[name] for name in names if has.get(name) is not None), None)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _preview(value: Any, role: str) -> str | None:
    if value is None:
        return None
    found = _message(_parsed(value), role) or (
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
    return found if len(found) <= PREVIEW else f"{found[: PREVIEW - 3]}..."


def _message(value: Any, role: str) -> str | None:
    """The last message of a conversation, of that role where there is one."""
    if not isinstance(value, Mapping):
        return None
    said = value.get("messages") or value.get("input")
    if not isinstance(said, list):
        choices = value.get("choices")
        said = (
            [each.get("message") for each in choices if isinstance(each, Mapping)] if isinstance(choices, list) else []
        )
    messages = [each for each in said if isinstance(each, Mapping) and "role" in each]
    mine = [each for each in messages if each["role"] == role] or messages
    content = mine[-1].get("content") if mine else None
    if isinstance(content, list):
        texts = [each.get("text") for each in content if isinstance(each, Mapping)]
        content = " ".join(each for each in texts if isinstance(each, str))
    return content if isinstance(content, str) and content else None
