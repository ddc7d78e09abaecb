"""Answers the kind gives by itself, before any exchange: nobody is there, not like this, too much, too late."""

from __future__ import annotations

import msgspec

from zatotx.model.message import Reply

_JSON = b'application/json'
_RETRY = ((b'Retry-After', b'1'),)

NOT_FOUND = 'URL not found'
NOT_SO = 'Method `{method}` is not allowed here'
INACTIVE = 'Inactive channel'
NO_SUCH_EXPECTATION = 'There is no expectation but 100-continue that can be met here'
NO_CODING = 'Bodies are taken as gzip, as deflate, or without Content-Encoding'
BAD_DEADLINE = 'X-Zato-Deadline-Ms must be a whole number of milliseconds from 1 to 86400000'
TOO_MUCH = 'The body is larger than the {limit} bytes allowed here'
NO_ROOM = 'The body cannot be stored at the moment'
HEAD_LATE = 'The head of the request did not arrive in time'
BODY_LATE = 'The body of the request did not arrive in time'
CUT_SHORT = 'The request ended before it was complete'


def refusal(status: int, cid: str, details: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Reply:
    """An error answer in Zato's JSON form. What passes by itself (503) says when to come back."""
    body = msgspec.json.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': details}})
    return Reply(status, body, _JSON, headers + _RETRY if status == 503 else headers)
