"""What a service made becomes a Reply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zatotx.interfaces.exchange import ICodec
from zatotx.model.message import Inbound, Outcome, Reply

_ZATO_OK = 'ZATO_OK'
_BYTES = b'application/octet-stream'


def reply_to(outcome: Outcome, inbound: Inbound, codec: ICodec) -> Reply:
    """Text and bytes go out unchanged, anything else through the codec, inside the element the service declared.

    Raises TypeError where the value has no form in the channel's format, ValueError for an illegal header.
    """
    headers = _headers(outcome.headers) if outcome.headers else ()
    content_type = outcome.content_type.encode('latin-1') if outcome.content_type else b''
    if outcome.stream is not None:
        return Reply(outcome.status, b'', content_type or _BYTES, headers, stream=outcome.stream)
    value = outcome.value
    if not outcome.element and type(value) in (bytes, str):
        body = value if type(value) is bytes else value.encode('utf-8')
        written = codec.content_type if type(value) is str else _BYTES
    else:
        body = codec.encode(enveloped(outcome, inbound.cid) if outcome.element else value)
        written = codec.content_type
    return Reply(outcome.status, body, content_type or written, headers)


def enveloped(outcome: Outcome, cid: str) -> dict[str, Any]:
    """The value inside its response element; for zato.* services with `zato_env` beside it (Zato's wire form)."""
    if not outcome.internal:
        return {outcome.element: outcome.value}
    return {'zato_env': {'result': _ZATO_OK, 'cid': cid, 'details': ''}, outcome.element: outcome.value}


def _headers(fields: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in fields.items()]
