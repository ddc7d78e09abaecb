"""The messages of the load balancer's agent: `POST /api/CALL` with a JSON object of arguments, answered by
`{"result": …}` or `{"error": {"message": …, "errors": […]}}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.wire import json_codec
from zatotx.wire.malformed import Malformed

PATH = '/api/'
CONTENT_TYPE = 'application/json'
MAX_MESSAGE = 4 * 1024 * 1024  # bytes of a request or response


class AgentCallError(Exception):
    """The agent rejected a call. The text is one sentence; `errors` lists the errors one by one; `status` is the HTTP
    status: 400 wrong arguments or an invalid configuration, 404 there is no such call or object, 409 a conflict with
    another change, 504 the load balancer did not answer in time."""

    def __init__(self, message: str, errors: Sequence[str] = (), status: int = 400) -> None:
        super().__init__(message)
        self.errors = tuple(errors)
        self.status = status


def encode_call(arguments: Mapping[str, Any]) -> bytes:
    """Return the body of a request."""
    return json_codec.encode(arguments)


def decode_call(body: bytes) -> dict[str, Any]:
    """Return the arguments of a call; an empty body has none. Raises Malformed."""
    if not body.strip():
        return {}
    arguments = json_codec.decode(body)
    if not isinstance(arguments, dict):
        raise Malformed('the body must be a JSON object with the arguments by name')
    return arguments


def encode_result(result: object) -> bytes:
    """Return the body of a successful response."""
    return json_codec.encode({'result': result})


def encode_error(error: AgentCallError) -> bytes:
    """Return the body of an error response."""
    return json_codec.encode({'error': {'message': str(error), 'errors': list(error.errors)}})


def decode_response(status: int, body: bytes) -> Any:
    """Return the result of a call. Raises AgentCallError, and Malformed if it is not the response of an agent."""
    document = json_codec.decode(body)
    if isinstance(document, dict):
        if status == 200 and 'result' in document:
            return document['result']
        error = document.get('error')
        if isinstance(error, dict) and isinstance(error.get('message'), str):
            errors = error.get('errors', [])
            raise AgentCallError(error['message'], list(map(str, errors)) if isinstance(errors, list) else (), status)
    raise Malformed('the response has neither a result nor an error')
