"""What services answer with, as the content of a Body: found out where it may take its time, in a thread if need be."""

from __future__ import annotations

from typing import Any, AnyStr

from zatotx.wire.malformed import Malformed
from zatotx.wire.soap import envelope
from zatotx.wire.soap.envelope import Version
from zatotx.wire.xml import parser
from zatotx.wire.xml.encoding import to_utf8
from zatotx.wire.xml.writer import Markup

_FREE = parser.XmlBudget(elements=1 << 62, attributes=1 << 62, per_element=1 << 30, namespaces=1 << 62)


class CompleteContent:
    """An envelope that a service made itself: nothing is put around it."""

    __slots__ = ('data', 'version')

    def __init__(self, data: bytes, version: Version) -> None:
        self.data = data
        self.version = version


def content_of(value: Any) -> Markup | CompleteContent:
    """An element or a document, as it may stand within an envelope, or the envelope that it is. Nothing that would
    break the one around it gets through. Raises Malformed."""
    if type(value) is Markup or type(value) is CompleteContent:
        return value
    if parser.is_element(value):
        written = parser.to_bytes(value)
        version = envelope.version_of(value)
        return Markup(written) if version is None else CompleteContent(written, version)
    return _document(value)


def _document(written: Any) -> Markup | CompleteContent:
    if isinstance(written, str):  # which has left the encoding behind that it may still speak of
        try:
            written = undeclared(written.lstrip('\ufeff').strip()).encode('utf-8')
        except UnicodeEncodeError:
            raise Malformed('it has a lone surrogate, which has no form in XML') from None
    if not isinstance(written, bytes):
        raise Malformed(f'a value of type {type(written).__name__} is no XML')
    data = to_utf8(written)
    inside = undeclared(data)
    version = envelope.version_of(parser.parse(inside, budget=_FREE))
    if version is None:
        return Markup(inside)
    return CompleteContent(written if data is written else inside, version)


def undeclared(text: AnyStr) -> AnyStr:
    """A document without its XML declaration."""
    opening, closing = ('<?xml', '?>') if isinstance(text, str) else (b'<?xml', b'?>')
    end = text.find(closing) if text.startswith(opening) else -1
    return text if end < 0 else text[end + 2 :]
