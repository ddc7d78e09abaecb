"""Builds the messages that services send, from the arguments of a call and the settings of the connection."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from attrs import field, frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.cid import new_cid
from zatotx.plugins.amqp.body_codec import encode_body
from zatotx.plugins.amqp.errors import MessageTooLarge
from zatotx.plugins.amqp.message_properties import (
    CID_HEADER,
    COMPONENT_HEADER,
    TIME_HEADER,
    TRACE_HEADER,
    MessageFields,
    merge_fields,
)
from zatotx.plugins.amqp.publisher import ISOLATED_SIZE, REPLY_QUEUE, OutgoingMessage
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
from zatotx.plugins.amqp.wire import encode_properties, encode_publish_method

_SAMPLE_CID = new_cid()  # as long as every correlation id that is generated here
_DEFAULTS = ('delivery_mode', 'priority', 'content_type', 'content_encoding', 'expiration', 'user_id', 'app_id')


@frozen(kw_only=True)
class SendRequest:
    """The arguments with which a service sends a message. The value None selects the connection's default."""

    message: Any
    exchange: str | None = None
    routing_key: str | None = None
    properties: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] | None = None
    mandatory: bool | None = None
    timeout: float | None = None
    correlation_id: str = ''  # of a request that wants a reply


@frozen
class MessageBuilder:
    """Builds the messages of one connection. `component` identifies this node to other systems."""

    value: AmqpOutgoing
    username: str
    component: str
    _defaults: MessageFields = field(init=False)
    _is_foreign_user: bool = field(init=False)
    _templates: dict[str, tuple[bytes, bytes, bytes, bytes]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        found = {name: getattr(self.value, name) for name in _DEFAULTS}
        defaults = {name: str(each) if name == 'expiration' else each
                    for name, each in found.items() if each not in ('', None)}  # fmt: skip
        object.__setattr__(self, '_defaults', defaults)
        object.__setattr__(self, '_is_foreign_user', self.value.user_id not in ('', self.username))

    def build(self, request: SendRequest, call: IServiceCall) -> OutgoingMessage:
        """Return the message. Raises InvalidProperties, InvalidBody, ValueError and MessageTooLarge."""
        value = self.value
        exchange = value.exchange if request.exchange is None else request.exchange
        routing_key = value.routing_key if request.routing_key is None else request.routing_key
        for name, text in (('exchange', exchange), ('routing_key', routing_key)):
            if not isinstance(text, str) or (len(text) > 63 and len(text.encode('utf-8', 'surrogatepass')) > 255):
                raise ValueError(f'{name}: expected text of at most 255 bytes')
        is_plain = not (request.properties or request.headers or request.correlation_id or call.trace)
        fields = self._defaults if is_plain else merge_fields(self._defaults, request.properties, request.headers)
        body, content_type = encode_body(request.message, fields.get('content_encoding', ''))
        if len(body) > value.max_size:
            raise MessageTooLarge(f'the message has {len(body)} bytes, and may have {value.max_size}')
        mandatory = value.mandatory if request.mandatory is None else bool(request.mandatory)
        method = encode_publish_method(exchange, routing_key, mandatory)
        if is_plain:
            message_id = new_cid()
            return OutgoingMessage(
                exchange=exchange, message_id=message_id, body=body, method=method,
                properties=self._plain_properties(content_type, message_id, call.cid),
                is_isolated=self._is_foreign_user or len(body) >= ISOLATED_SIZE,
            )  # fmt: skip
        fields.setdefault('content_type', content_type)
        fields.setdefault('message_id', new_cid())
        if request.correlation_id:
            fields['correlation_id'], fields['reply_to'] = request.correlation_id, REPLY_QUEUE
        self._add_headers(fields['headers'], call)
        is_foreign_user = fields.get('user_id', self.username) != self.username
        return OutgoingMessage(
            exchange=exchange, message_id=fields['message_id'], body=body, method=method,
            properties=encode_properties(fields),
            is_isolated=is_foreign_user or len(body) >= ISOLATED_SIZE, wants_reply=bool(request.correlation_id),
        )  # fmt: skip

    def _plain_properties(self, content_type: str, message_id: str, cid: str) -> bytes:
        """Return the properties of a message whose call gives none: the connection's, which are encoded once for each
        content type, with what belongs to the message in its place."""
        template = self._templates.get(content_type)
        moment = datetime.now(UTC).isoformat(timespec='microseconds')
        if template is None or len(cid) != len(_SAMPLE_CID) or not cid.isascii():
            headers = {COMPONENT_HEADER: self.component, TIME_HEADER: moment, CID_HEADER: cid}
            fields = {'content_type': content_type, **self._defaults, 'message_id': message_id, 'headers': headers}
            encoded = encode_properties(fields)
            if len(cid) == len(_SAMPLE_CID):
                self._templates[content_type] = _split(encoded, moment, cid, message_id)
            return encoded
        first, second, third, last = template
        return b''.join((first, moment.encode(), second, cid.encode(), third, message_id.encode(), last))

    def _add_headers(self, headers: dict[str, Any], call: IServiceCall) -> None:
        headers.setdefault(COMPONENT_HEADER, self.component)
        headers.setdefault(TIME_HEADER, datetime.now(UTC).isoformat())
        headers.setdefault(CID_HEADER, call.cid)
        if call.trace:
            headers.setdefault(TRACE_HEADER, call.trace)


def _split(encoded: bytes, moment: str, cid: str, message_id: str) -> tuple[bytes, bytes, bytes, bytes]:
    """Return what is before, between and after these three texts, whose lengths are always the same."""
    first, _, rest = encoded.partition(moment.encode())
    second, _, rest = rest.partition(cid.encode())
    third, _, last = rest.rpartition(message_id.encode())
    return first, second, third, last
