"""The text that stands in every component of an exported Kubeflow pipeline, beside that of the launcher.

It runs in the component's own interpreter: standard library only.
"""

import json
from typing import Any

from tidemill.flow.export.launcher import ask


def answer(text: str, given: dict[str, Any]) -> Any:
    """Do the task that `text` says, with what earlier ones answered; the answer in the component's type."""
    request = json.loads(text)
    if request["do"] == "begin":
        request["params"] = given
    elif "point" in given:
        request["point"] = json.loads(given["point"])
    request["given"] = {source: given[name] for name, source in request.pop("inputs").items()}
    returns, timeout_s = request.pop("returns", None), request.pop("timeout_s", None)
    made = ask(request, timeout_s)
    if request["do"] == "spread":
        return [json.dumps(point) for point in made]
    if request["do"] == "flag":
        return json.dumps(made["value"])
    if request["do"] != "end":
        return json.dumps(made)
    kinds = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "BOOLEAN": bool, "STRING": str}
    value = made["value"]
    if (
        returns != "STRING"
        and type(value) is not kinds[returns]
        and not (returns == "NUMBER_DOUBLE" and type(value) is int)
    ):
        raise TypeError(f"the pipeline is annotated to return {kinds[returns].__name__}, and returned {value!r}")
    if returns == "NUMBER_INTEGER" and abs(value) > 2**53:
        raise OverflowError(f"{value} is no number that Kubeflow can pass (doubles: to 2**53); return it as text")
    if returns == "STRING" and not isinstance(value, str):
        return json.dumps(value if made.get("output", {}).get("format") == "json" and value is not None else made)
    return float(value) if returns == "NUMBER_DOUBLE" else value
