"""Errors as MLflow's clients read them: {"error_code", "message"}, with the statuses that they expect."""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from tidemill.api.auth import NotSignedIn
from tidemill.core.errors import BadInput, Busy, Conflict, NoRoom, NotFound, Refused, TidemillError

STATUS = {
    "INVALID_PARAMETER_VALUE": 400,
    "BAD_REQUEST": 400,
    "RESOURCE_ALREADY_EXISTS": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "RESOURCE_CONFLICT": 409,
    "RESOURCE_EXHAUSTED": 507,
    "INTERNAL_ERROR": 500,
    "INVALID_STATE": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
}

# The first that an error is an instance of counts.
_CODES: tuple[tuple[type[TidemillError], str], ...] = (
    (NotSignedIn, "UNAUTHENTICATED"),
    (Refused, "PERMISSION_DENIED"),
    (NotFound, "RESOURCE_DOES_NOT_EXIST"),
    (Conflict, "RESOURCE_CONFLICT"),
    (BadInput, "INVALID_PARAMETER_VALUE"),
    (NoRoom, "RESOURCE_EXHAUSTED"),
    (Busy, "TEMPORARILY_UNAVAILABLE"),
)


class Told(TidemillError):
    """An error with a code of MLflow's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def invalid(text: str) -> Told:
    """A parameter that cannot be what it is."""
    return Told("INVALID_PARAMETER_VALUE", text)


def code_of(error: BaseException) -> str:
    """MLflow's word for an error."""
    if isinstance(error, Told):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), "INTERNAL_ERROR")


def answer(error: BaseException) -> Response:
    """The error for the client; what nobody foresaw stays in the server's log."""
    code = code_of(error)
    known = isinstance(error, TidemillError)
    text = str(error) if known else "something unforeseen went wrong; see the server's terminal"
    body = msgspec.json.encode({"error_code": code, "message": text})
    headers = {"www-authenticate": "Bearer"} if code == "UNAUTHENTICATED" else None
    return Response(body, STATUS.get(code, 500), headers, media_type="application/json")
