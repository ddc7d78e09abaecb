"""XML."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest
from zatotx.model.message import Message
from zatotx.pipeline.codecs.base import BaseCodec, has_own_body
from zatotx.rules.limits.limits import USUAL, MessageBudget
from zatotx.wire.xml import parser
from zatotx.wire.xml.budget import tree_size
from zatotx.wire.xml.writer import XML_TYPE, Markup, document, error

_ROOT = 'response'  # of a value that nobody gave a name


@implementer(ICodec)
class XmlCodec(BaseCodec):
    """XML 1.0 both ways: the payload is the root of the document, as lxml.objectify shows it."""

    content_type = XML_TYPE
    bytes_type = XML_TYPE
    threaded = parser.LARGE
    weightless = parser.WEIGHTLESS

    def __init__(self, budget: MessageBudget = USUAL) -> None:
        self._budget = budget.xml

    def footprint(self, body: bytes) -> int:
        return tree_size(body, self._budget)

    def decode(self, inbound: Message) -> object:
        """The root, which is `inbound.parsed` too; None where the message brings no body. Raises BadRequest for what
        `wire.xml` refuses: an empty body is refused where one must be there."""
        body = inbound.body
        if not body:
            if has_own_body(inbound):
                raise BadRequest(inbound.cid, 'Malformed XML: the body is empty')
            return None
        assert isinstance(body, bytes)  # the pipeline has read spooled ones back
        try:
            charset = parser.charset_of(inbound.headers.get(b'content-type', b''))
            root = inbound.parsed = parser.parse(body, charset, self._budget)
        except parser.Malformed as error:
            raise BadRequest(inbound.cid, f'Malformed XML: {error}') from None
        return root

    def encode(self, value: object) -> bytes:
        """An element as a document; any other value in a `<response>`. Raises ValueError where it has no form."""
        if type(value) is Markup:
            return value.data
        if parser.is_element(value):
            return parser.to_bytes(value)
        return document(_ROOT, value).data

    def fault(self, cid: str, status: int, details: str) -> bytes:
        return error(cid, details)
