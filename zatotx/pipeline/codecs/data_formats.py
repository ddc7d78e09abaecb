"""Codecs of data formats without an envelope: JSON (RFC 8259), XML 1.0, and raw bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import BadRequest, ServiceError
from zatotx.model.message import Message, Reply, ServiceResult
from zatotx.model.work_message import ValueMessage, ValueReply
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET, MessageContentLimits
from zatotx.wire import json_codec
from zatotx.wire.json_codec import estimate_memory, exceeds_depth, has_more_keys
from zatotx.wire.xml import parser
from zatotx.wire.xml.document_limits import estimate_tree_size
from zatotx.wire.xml.writer import XML_TYPE, SerializedElement, write_document, write_error

UNLIMITED = 1 << 62  # bytes
_BYTES = b'application/octet-stream'
_BODY_METHODS = frozenset({'POST', 'PUT', 'PATCH'})


class BaseCodec:
    """Base class that implements the encoding methods of ICodec. Subclasses encode a single value and a single
    error."""

    content_type: ClassVar[bytes]
    text_type: ClassVar[bytes] = b''  # content type of text responses; b'' = content_type
    bytes_type: ClassVar[bytes] = _BYTES  # content type of bytes responses
    check_threshold: int = UNLIMITED
    thread_threshold: int = UNLIMITED
    reads_stream: bool = False

    def check_size(self, body: bytes) -> None:
        """See ICodec. No body exceeds the limits by default."""

    def estimate_memory(self, body: bytes) -> int:
        """See ICodec. The payload is the body itself."""
        return 0

    def encode_value(self, value: object) -> bytes:
        """Return the body of a response. Raises TypeError if the value cannot be represented in this format."""
        raise NotImplementedError

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        """Return the body of an error response in Zato's form for this format."""
        raise NotImplementedError

    def encode(self, result: ServiceResult, message: Message) -> Reply:
        """Encode the outcome of a service. Text and bytes are sent unchanged; other values are encoded in this format,
        inside the element that the service declares. Raises TypeError if the value cannot be represented, ValueError
        for an illegal header."""
        headers = encode_headers(result.headers) if result.headers else ()
        content_type = result.content_type.encode('latin-1') if result.content_type else b''
        if result.stream is not None:
            return Reply(result.status, b'', content_type or _BYTES, headers, stream=result.stream)
        value = result.value
        if not result.element and type(value) in (bytes, str):
            body = value if type(value) is bytes else value.encode('utf-8')
            default_type = (self.text_type or self.content_type) if type(value) is str else self.bytes_type
        else:
            body = self.encode_value(wrap_in_envelope(result, message.cid) if result.element else value)
            default_type = self.content_type
        return Reply(result.status, body, content_type or default_type, headers)

    def encode_error(self, error: ServiceError, details: str, message: Message) -> Reply:
        """See ICodec."""
        return Reply(
            error.status, self.encode_error_body(message.cid, error.status, details), self.content_type, error.headers
        )


def has_own_body(message: Message) -> bool:
    """Return whether a message must have a body. This is the case if the HTTP method allows a body, and the URL
    contains no input."""
    http = message.http
    if http is None or message.channel.is_builtin_endpoint:
        return False
    return http.method in _BODY_METHODS and not http.query and not http.params


def wrap_in_envelope(outcome: ServiceResult, cid: str) -> dict[str, Any]:
    """Wrap the value of a response in its response element. For zato.* services, `zato_env` is added (Zato's wire
    format)."""
    if not outcome.internal:
        return {outcome.element: outcome.value}
    return json_codec.wrap_in_zato_envelope(cid, outcome.element, outcome.value)


def encode_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Encode header fields that a service has set. Names and values are converted to bytes."""
    return [(name.encode('ascii'), str(value).encode('utf-8')) for name, value in headers.items()]


CHECK_THRESHOLD = 16 * 1024  # bytes


@implementer(ICodec)
class JsonCodec(BaseCodec):
    """Decodes and encodes JSON (RFC 8259)."""

    content_type = b'application/json'

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._depth = budget.json_depth
        self.check_threshold = min(budget.json_keys, CHECK_THRESHOLD)

    def check_size(self, body: bytes) -> None:
        if has_more_keys(body, self._budget.json_keys):
            raise BadRequest(None, f'The JSON has more than {self._budget.json_keys} keys and elements, the limit')

    def estimate_memory(self, body: bytes) -> int:
        return estimate_memory(body)

    def decode(self, message: Message) -> object:
        """Return the value of the body, or None if the message has none. Raises BadRequest for malformed JSON and for
        values nested too deeply. An empty body is malformed unless the method has no body or the URL carries the
        input."""
        body: bytes = message.body  # type: ignore[assignment]  # the pipeline has read spooled bodies into memory
        if not body:
            if has_own_body(message):
                raise BadRequest(message.cid, 'Malformed JSON: the body is empty')
            return None
        try:
            value = json_codec.decode(body)
        except json_codec.Malformed as error:
            raise BadRequest(message.cid, f'Malformed JSON: {error}') from None
        if len(body) > self._depth and exceeds_depth(body, value, self._depth):
            raise BadRequest(message.cid, f'The JSON is nested more than {self._depth} deep, the limit')
        return value

    encode_value = staticmethod(json_codec.encode)

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        return json_codec.write_error(cid, details)


@implementer(ICodec)
class RawCodec(JsonCodec):
    """A codec whose payload is the unchanged bytes of the body. Text replies are sent as plain text. Other replies that
    are not bytes, and errors, are sent as JSON."""

    text_type = b'text/plain; charset=utf-8'

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
        super().__init__(budget)
        self.check_threshold = UNLIMITED

    def estimate_memory(self, body: bytes) -> int:
        return 0

    def decode(self, message: Message) -> object:
        return message.body


_ROOT = 'response'  # element name of values without a name


@implementer(ICodec)
class XmlCodec(BaseCodec):
    """Decodes and encodes XML 1.0. The payload is the root element of the document, as an lxml.objectify element."""

    content_type = XML_TYPE
    bytes_type = XML_TYPE
    thread_threshold = parser.THREAD_THRESHOLD
    check_threshold = parser.CHECK_THRESHOLD

    def __init__(self, budget: MessageContentLimits = DEFAULT_BUDGET) -> None:
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
            root = message.parsed = parser.parse_document(body, charset, self._budget)
        except parser.Malformed as error:
            raise BadRequest(message.cid, f'Malformed XML: {error}') from None
        return root

    def encode_value(self, value: object) -> bytes:
        """Encode an element as a document, and any other value inside `<response>`. Raises ValueError if it cannot be
        represented."""
        if type(value) is SerializedElement:
            return value.data
        if parser.is_element(value):
            return parser.serialize_document(value)
        return write_document(_ROOT, value).data

    def encode_error_body(self, cid: str, status: int, details: str) -> bytes:
        return write_error(cid, details)


@implementer(ICodec)
class PassthroughCodec(BaseCodec):
    """A codec that passes Python values through unchanged, for messages whose content is a value, such as asynchronous
    invocations. The payload and `request.raw_request` are the value of the message, as in `self.invoke`."""

    content_type = b''

    def decode(self, message: Message) -> object:
        """Return the value."""
        assert isinstance(message, ValueMessage)
        message.body = message.value
        return message.value

    def encode(self, result: ServiceResult, message: Message) -> Reply:
        """Return a ValueReply with the result."""
        reply = ValueReply(result.status, b'', b'')
        reply.result = result
        return reply

    def encode_error(self, error: ServiceError, details: str, message: Message) -> Reply:
        """Return a ValueReply without a result."""
        reply = ValueReply(error.status, b'', b'')
        reply.result = None
        return reply
