"""Decodes the bodies of responses, by their Content-Type or else by the connection's data format.

All functions raise ValueError with the rest of a sentence about the response.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from zatotx.plugins.http.rest.request_body import FORM, JSON, XML
from zatotx.wire.http import form
from zatotx.wire.json import codec
from zatotx.wire.malformed import Malformed
from zatotx.wire.xml import parser

TEXT, BYTES = 'text', 'bytes'
_FORMAT_NAMES = {JSON: 'JSON', XML: 'XML', FORM: 'a form'}
# Content types that tell nothing about the body: peers use them for all formats.
_UNSPECIFIC_TYPES = frozenset(('', 'text/plain', 'application/octet-stream', 'binary/octet-stream'))
_MAX_PAIRS = 100_000
THREAD_THRESHOLD = 256 * 1024  # bytes of XML above which it is parsed in a thread: lxml releases the GIL


@lru_cache(maxsize=256)
def response_format(content_type: bytes, data_format: str) -> str:
    """Return the format of a body. `data_format`: the connection's, for responses that do not specify theirs."""
    media_type = content_type.decode('latin-1').partition(';')[0].strip().lower()
    if media_type in _UNSPECIFIC_TYPES:
        return data_format or (TEXT if media_type == 'text/plain' else BYTES)
    if media_type.endswith(('/json', '+json')):
        return JSON
    if media_type.endswith(('/xml', '+xml')):
        return XML
    if media_type == 'application/x-www-form-urlencoded':
        return FORM
    return TEXT if media_type.startswith('text/') else BYTES


def decode_value(body: bytes, data_format: str, content_type: bytes) -> Any:
    """Return the value of a body; None if it is empty."""
    if not body:
        return None
    try:
        if data_format == JSON:
            return codec.decode(body)
        if data_format == XML:
            return parser.parse(body, parser.content_type_charset(content_type))
        if data_format == FORM:
            return form.decode_form(body, _MAX_PAIRS)
    except Malformed as error:
        raise ValueError(f'it is not {_FORMAT_NAMES[data_format]}: {error}') from None
    return decode_text(body, content_type) if data_format == TEXT else body


def decode_text(body: bytes, content_type: bytes) -> str:
    """Return the body as text: in the charset of its Content-Type, UTF-8 if that names no known one. Invalid bytes
    become U+FFFD."""
    try:
        return body.decode(_charset(content_type), 'replace')
    except (LookupError, ValueError):
        return body.decode('utf-8', 'replace')


@lru_cache(maxsize=256)
def _charset(content_type: bytes) -> str:
    charset = 'utf-8'
    for parameter in content_type.decode('latin-1').split(';')[1:]:
        name, _, value = parameter.partition('=')
        if name.strip().lower() == 'charset':
            charset = value.strip().strip('"\'')
    return charset
