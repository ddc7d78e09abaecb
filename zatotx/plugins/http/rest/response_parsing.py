"""What peers answer, as values: by what the answer says it is, or else by the connection's data format.

All of it raises ValueError with the rest of a sentence about the answer.
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
_NAMES = {JSON: 'JSON', XML: 'XML', FORM: 'a form'}
# Types that say nothing of what is in the body: peers send all sorts of things under them.
_SAYS_NOTHING = frozenset(('', 'text/plain', 'application/octet-stream', 'binary/octet-stream'))
_MOST_PAIRS = 100_000
THREADED = 256 * 1024  # bytes of XML that is parsed in a thread: lxml lets others run meanwhile


@lru_cache(maxsize=256)
def format_of(content_type: bytes, data_format: str) -> str:
    """How a body is to be read. `data_format`: of the connection, for answers that do not say what they are."""
    media = content_type.decode('latin-1').partition(';')[0].strip().lower()
    if media in _SAYS_NOTHING:
        return data_format or (TEXT if media == 'text/plain' else BYTES)
    if media.endswith(('/json', '+json')):
        return JSON
    if media.endswith(('/xml', '+xml')):
        return XML
    if media == 'application/x-www-form-urlencoded':
        return FORM
    return TEXT if media.startswith('text/') else BYTES


def value_of(body: bytes, as_what: str, content_type: bytes) -> Any:
    """The value of a body; None of an empty one."""
    if not body:
        return None
    try:
        if as_what == JSON:
            return codec.decode(body)
        if as_what == XML:
            return parser.parse(body, parser.charset_of(content_type))
        if as_what == FORM:
            return form.decode_form(body, _MOST_PAIRS)
    except Malformed as wrong:
        raise ValueError(f'it is not {_NAMES[as_what]}: {wrong}') from None
    return text_of(body, content_type) if as_what == TEXT else body


def text_of(body: bytes, content_type: bytes) -> str:
    """The body as text: in the charset that the answer names, UTF-8 where it names none that is known. What is not of
    that charset becomes U+FFFD."""
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
