"""Encodes and decodes the messages of the load balancer's agent. A call is `POST /api/CALL` with a JSON object of
arguments. The response is `{"result": …}` or `{"error": {"message": …, "errors": […]}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.wire import json_codec
from zatotx.wire.malformed import Malformed

PATH = '/api/'
CONTENT_TYPE = 'application/json'
MAX_MESSAGE = 4 * 1024 * 1024  # bytes of a request or response


class AgentCallError(Exception):
    """The agent rejected a call. The message is one sentence, and `errors` lists the single errors. `status` is the
    HTTP status: 400 for wrong arguments or an invalid configuration, 404 for an unknown call or object, 409 for a
    conflict with another change, 504 if the load balancer did not respond in time."""

    def __init__(self, message: str, errors: Sequence[str] = (), status: int = 400) -> None:
        super().__init__(message)
        self.errors = tuple(errors)
        self.status = status


def encode_call(arguments: Mapping[str, Any]) -> bytes:
    """Encode the arguments of a call as a request body."""
    return json_codec.encode(arguments)


def decode_call(body: bytes) -> dict[str, Any]:
    """Decode a request body to the arguments of a call. An empty body means no arguments. Raises Malformed."""
    if not body.strip():
        return {}
    arguments = json_codec.decode(body)
    if not isinstance(arguments, dict):
        raise Malformed('the body must be a JSON object with the arguments by name')
    return arguments


def encode_result(result: object) -> bytes:
    """Encode the result of a call as the body of a successful response."""
    return json_codec.encode({'result': result})


def encode_error(error: AgentCallError) -> bytes:
    """Encode an error as the body of an error response."""
    return json_codec.encode({'error': {'message': str(error), 'errors': list(error.errors)}})


def decode_response(status: int, body: bytes) -> Any:
    """Decode a response and return the result of the call. Raises AgentCallError for an error response, and Malformed
    if the response is not from an agent."""
    document = json_codec.decode(body)
    if isinstance(document, dict):
        if status == 200 and 'result' in document:
            return document['result']
        error = document.get('error')
        if isinstance(error, dict) and isinstance(error.get('message'), str):
            errors = error.get('errors', [])
            raise AgentCallError(error['message'], list(map(str, errors)) if isinstance(errors, list) else (), status)
    raise Malformed('the response has neither a result nor an error')
