"""The reply to a request that a service sent over AMQP."""

from __future__ import annotations

from typing import Any

import msgspec

from zatotx.model.errors import BadGateway
from zatotx.model.response import Headers
from zatotx.plugins.amqp.body_codec import InvalidBody, decode_body
from zatotx.plugins.amqp.message_properties import STATUS_HEADER, MessageHeaders, header_text

MAX_SIZE = 64 * 1024 * 1024  # bytes of a reply when it is decompressed


class AmqpReply:
    """The reply to an AMQP request. `headers` contains the headers and properties of the reply; the names are
    case-insensitive."""

    def __init__(self, title: str, properties: Any, body: bytes) -> None:
        self.connection_title = title
        self.body = body
        self._properties = properties
        fields = MessageHeaders(properties, '', '', redelivered=False)
        self.headers = Headers((name.decode('utf-8', 'replace'), value.decode('utf-8', 'replace'))
                               for name, value in fields.items())  # fmt: skip

    @property
    def status_code(self) -> int:
        """The status of a service of zatotx that replied, e.g. 404; 200 where the reply does not have one."""
        text = header_text(self._properties, STATUS_HEADER)
        return int(text) if text.isascii() and text.isdigit() else 200

    @property
    def content(self) -> bytes:
        """The body without its content encoding. Raises BadGateway."""
        try:
            return decode_body(self.body, self._properties.content_encoding, MAX_SIZE)
        except InvalidBody as error:
            raise BadGateway(None, f'{self.connection_title} gave no usable answer: {error}') from None

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 is replaced."""
        return self.content.decode('utf-8', 'replace')

    @property
    def data(self) -> Any:
        """The body read as JSON; None where it is empty. Raises BadGateway."""
        content = self.content
        if not content.strip():
            return None
        try:
            return msgspec.json.decode(content)
        except msgspec.DecodeError as error:
            raise BadGateway(None, f'{self.connection_title} gave no usable answer: it is not JSON: {error}') from None
