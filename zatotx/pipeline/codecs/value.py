"""Codec of messages that carry a Python value, as asynchronous invocations do: nothing is encoded or decoded."""

from __future__ import annotations

from zope.interface import implementer

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import ServiceError
from zatotx.model.message import Message, Reply, ServiceResult
from zatotx.model.work import ValueMessage, ValueReply
from zatotx.pipeline.codecs.data_formats import BaseCodec


@implementer(ICodec)
class ValueCodec(BaseCodec):
    """The payload and `request.raw_request` are the message's value, as in `self.invoke`."""

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
