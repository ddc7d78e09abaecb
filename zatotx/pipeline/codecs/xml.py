"""Codec of XML 1.0."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message
from zatotx.pipeline.codecs.base_codec import BaseCodec, has_own_body
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageLimits
from zatotx.wire.xml import parser
from zatotx.wire.xml.limits import estimate_tree_size
from zatotx.wire.xml.writer import XML_TYPE, SerializedElement, write_document, write_error

_ROOT = 'response'  # element name of values without a name


@implementer(ICodec)
class XmlCodec(BaseCodec):
    """Decodes and encodes XML 1.0. The payload is the document's root as an lxml.objectify element."""

    content_type = XML_TYPE
    bytes_type = XML_TYPE
    thread_threshold = parser.THREAD_THRESHOLD
    check_threshold = parser.CHECK_THRESHOLD

    def __init__(self, budget: MessageLimits = DEFAULT_BUDGET) -> None:
        self._budget = budget.xml

    def estimate_memory(self, body: bytes) -> int:
        return estimate_tree_size(body, self._budget)

    def decode(self, message: Message) -> object:
        """Return the document's root, which is also stored in `message.parsed`; None if the message has no body. Raises
        BadRequest for what `wire.xml` rejects, and for an empty body where one is required."""
        body = message.body
        if not body:
            if has_own_body(message):
                raise BadRequest(message.cid, 'Malformed XML: the body is empty')
            return None
        assert isinstance(body, bytes)  # the pipeline has read spooled bodies into memory
        try:
            charset = parser.content_type_charset(message.headers.get(b'content-type', b''))
            root = message.parsed = parser.parse(body, charset, self._budget)
        except parser.Malformed as error:
            raise BadRequest(message.cid, f'Malformed XML: {error}') from None
        return root

    def encode_value(self, value: object) -> bytes:
        """Encode an element as a document, and any other value inside `<response>`. Raises ValueError if it cannot be
        represented."""
        if type(value) is SerializedElement:
            return value.data
        if parser.is_element(value):
            return parser.to_bytes(value)
        return write_document(_ROOT, value).data

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        return write_error(cid, details)
