"""Encodes and decodes JMS messages in the format of IBM MQ: the message descriptor, an MQRFH2 header with the folders
mcd, jms and usr, and the body.

`decode_message` gives what a service sees; `encode_message` makes the descriptor and the bytes of a message to send.
Both follow IBM's "Mapping JMS messages onto IBM MQ messages".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

import msgspec
from attrs import field, frozen

from .ccsid import UTF_8, InvalidText, decode_text, encode_text
from .descriptor import (
    DATAGRAM,
    ID_LENGTH,
    NO_ID,
    NOT_PERSISTENT,
    PERSISTENT,
    REQUEST,
    STRING_FORMAT,
    UNLIMITED,
    MessageDescriptor,
    put_milliseconds,
)
from .mqrfh2 import FORMAT as RFH2_FORMAT
from .mqrfh2 import Folder, Header, InvalidHeader, PropertyValue, decode_header, encode_header

NONPERSISTENT_DELIVERY, PERSISTENT_DELIVERY = 1, 2  # JMSDeliveryMode
MAX_HEADERS = 8  # MQRFH2 headers of one message
_NO_FOLDERS: Mapping[str, Mapping[str, PropertyValue]] = {}
_ID = re.compile(r'ID:([0-9a-fA-F]{48})\Z')
_QUEUE_URI = re.compile(r'queue://([^/?]*)/([^?]*)')


class InvalidMessage(ValueError):  # noqa: N818 - it completes a sentence
    """A message cannot be decoded or sent. The text of the exception is a verb phrase whose subject is the message."""


class DecodedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded message, as a service receives it. Text is always UTF-8. `format` is the format of the body, and
    `folders` are those of the MQRFH2 headers."""

    body: bytes
    is_text: bool
    descriptor: MessageDescriptor
    format: str = ''
    folders: Mapping[str, Mapping[str, PropertyValue]] = {}

    @property
    def headers(self) -> dict[str, str]:
        """JMS headers and properties by name."""
        return describe(self.descriptor, self.format, self.folders)


class JmsHeaders(Mapping[bytes, bytes]):
    """The JMS headers of a message, by lower-case name. The headers are converted only when they are accessed, because
    few services use them."""

    __slots__ = ('_fields', '_message')

    def __init__(self, message: DecodedMessage) -> None:
        self._message = message
        self._fields: dict[bytes, bytes] | None = None

    def __getitem__(self, name: bytes) -> bytes:
        return self._made()[name]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())

    def _made(self) -> dict[bytes, bytes]:
        if self._fields is None:
            headers = self._message.headers
            self._fields = {name.lower().encode(): text.encode() for name, text in headers.items()}
        return self._fields


@frozen(kw_only=True)
class MessageToSend:
    """A message that a service sends. `expiration` is in milliseconds, or 0 for none; `priority` is 0-9, or None for
    the priority of the queue."""

    body: str | bytes
    queue: str
    delivery_mode: int = PERSISTENT_DELIVERY
    priority: int | None = None
    expiration: int = 0
    reply_to: str = ''  # a queue, or queue://QUEUE_MANAGER/QUEUE
    correlation_id: str = ''  # 'ID:' and 48 hexadecimal digits, or any text
    properties: Mapping[str, PropertyValue] = field(factory=dict)
    ccsid: int = UTF_8


def decode_message(descriptor: MessageDescriptor, data: bytes, *, use_jms: bool) -> DecodedMessage:
    """Decode a message. `use_jms` says whether MQRFH2 headers are parsed; otherwise they are part of the data. Raises
    InvalidMessage."""
    ccsid, encoding, format_ = descriptor.ccsid, descriptor.encoding, descriptor.format.strip()
    headers: list[Header] = []
    while use_jms and format_ == RFH2_FORMAT:
        if len(headers) == MAX_HEADERS:
            raise InvalidMessage(f'has more than {MAX_HEADERS} MQRFH2 headers')
        try:
            header, data = decode_header(data, encoding, ccsid)
        except InvalidHeader as error:
            raise InvalidMessage(str(error)) from None
        headers.append(header)
        ccsid, encoding = header.ccsid if header.ccsid > 0 else ccsid, header.encoding
        format_ = header.format
    folders = {name: {key: value for header in headers for key, value in header.folder(name).items()}
               for name in ('mcd', 'jms', 'usr')} if headers else _NO_FOLDERS  # fmt: skip
    is_text = _is_text(format_, folders.get('mcd', {}))
    if is_text:
        try:
            text = decode_text(data, ccsid, encoding)
            data = data if ccsid == UTF_8 else text.encode()
        except InvalidText as error:
            raise InvalidMessage(str(error)) from None
        except UnicodeEncodeError:
            raise InvalidMessage(f'is no text of CCSID {ccsid}: it has lone surrogates') from None
    return DecodedMessage(body=data, is_text=is_text, descriptor=descriptor, format=format_, folders=folders)


def describe(
    descriptor: MessageDescriptor, format_: str, folders: Mapping[str, Mapping[str, PropertyValue]]
) -> dict[str, str]:
    """Return the JMS headers and properties of a message by name. Headers without a value are omitted."""
    jms, mcd = folders.get('jms', {}), folders.get('mcd', {})
    found = {name: value_text(value) for name, value in folders.get('usr', {}).items()}
    found['JMSMessageID'] = id_text(descriptor.message_id)
    found['JMSDeliveryMode'] = '1' if descriptor.persistence == NOT_PERSISTENT else '2'
    found['JMSPriority'] = str(max(descriptor.priority, 0))
    found['JMSTimestamp'] = value_text(jms.get('Tms') or put_milliseconds(descriptor))
    found['JMSExpiration'] = value_text(jms.get('Exp') or 0)
    found['JMSRedelivered'] = 'true' if descriptor.backout_count else 'false'
    found['JMSXDeliveryCount'] = str(descriptor.backout_count + 1)
    found['JMS_IBM_Format'] = format_
    found['JMS_IBM_Encoding'] = str(descriptor.encoding)
    found['JMS_IBM_Character_Set'] = str(descriptor.ccsid)
    found['JMS_IBM_MsgType'] = str(descriptor.message_type)
    found['JMS_IBM_Feedback'] = str(descriptor.feedback)
    found['JMS_IBM_PutApplType'] = str(descriptor.application_type)
    for name, value in (
        ('JMSCorrelationID', jms.get('Cid') or _correlation_text(descriptor.correlation_id)),
        ('JMSDestination', jms.get('Dst')),
        ('JMSReplyTo', jms.get('Rto') or _queue_uri(descriptor.reply_to_queue, descriptor.reply_to_queue_manager)),
        ('JMSType', mcd.get('Type')),
        ('JMSXUserID', descriptor.user),
        ('JMSXAppID', descriptor.application),
        ('JMSXGroupID', jms.get('Gid')),
        ('JMSXGroupSeq', jms.get('Seq')),
    ):
        if value:
            found[name] = value_text(value)
    return found


def encode_message(message: MessageToSend, *, use_jms: bool, needs_mcd: bool, now: int
                   ) -> tuple[MessageDescriptor, bytes]:
    """Encode a message, and return its descriptor and data. `now` is in milliseconds since the epoch. Raises
    InvalidMessage."""
    is_text = isinstance(message.body, str)
    ccsid = message.ccsid if is_text else UTF_8
    format_ = STRING_FORMAT if is_text else ''
    reply_queue, reply_manager = parse_queue(message.reply_to)
    descriptor = MessageDescriptor(
        message_type=REQUEST if reply_queue else DATAGRAM,
        expiry=UNLIMITED if not message.expiration else max(1, message.expiration // 100),
        ccsid=UTF_8 if use_jms else ccsid,
        format=RFH2_FORMAT if use_jms else format_,
        priority=-1 if message.priority is None else message.priority,
        persistence=PERSISTENT if message.delivery_mode == PERSISTENT_DELIVERY else NOT_PERSISTENT,
        correlation_id=_correlation_bytes(message.correlation_id),
        reply_to_queue=reply_queue, reply_to_queue_manager=reply_manager,
    )  # fmt: skip
    try:
        data = encode_text(message.body, ccsid, descriptor.encoding) if isinstance(message.body, str) else message.body
        if not use_jms:
            if message.properties:
                raise InvalidMessage('cannot have properties, as use_jms of its connection is false')
            return descriptor, data
        folders = _folders(message, descriptor, needs_mcd=needs_mcd, is_text=is_text, now=now)
        header = Header(folders=folders, encoding=descriptor.encoding, ccsid=ccsid, format=format_)
        return descriptor, encode_header(header, descriptor.encoding, UTF_8) + data
    except (InvalidText, InvalidHeader) as error:
        raise InvalidMessage(str(error)) from None


def id_text(identifier: bytes) -> str:
    """Format an identifier in JMS notation. Returns '' for the empty identifier."""
    return '' if identifier == NO_ID else f'ID:{identifier.hex()}'


def value_text(value: PropertyValue) -> str:
    """Convert a value to the text of a header field."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    return '' if value is None else str(value)


def parse_queue(text: str) -> tuple[str, str]:
    """Parse a queue name or `queue://QUEUE_MANAGER/QUEUE`, and return the names of the queue and the queue manager.
    Raises InvalidMessage."""
    if '://' not in text:
        queue, manager = text, ''
    else:
        match = _QUEUE_URI.match(text)
        if match is None:
            raise InvalidMessage(f'names a destination that is no queue: {text!r}')
        manager, queue = unquote(match[1]), unquote(match[2])
    for name in (queue, manager):
        if len(name) > 48 or not name.isascii() or (name and not name.isprintable()):
            raise InvalidMessage(f'names a queue that cannot exist: {name!r}')
    return queue, manager


def _folders(message: MessageToSend, descriptor: MessageDescriptor, *, needs_mcd: bool, is_text: bool, now: int
             ) -> list[Folder]:
    jms: dict[str, PropertyValue] = {'Dst': _queue_uri(*parse_queue(message.queue))}
    if descriptor.reply_to_queue:
        jms['Rto'] = _queue_uri(descriptor.reply_to_queue, descriptor.reply_to_queue_manager)
    jms['Tms'] = str(now)
    if message.expiration:
        jms['Exp'] = str(now + message.expiration)
    if message.correlation_id and not _ID.match(message.correlation_id):
        jms['Cid'] = message.correlation_id
    if message.priority is not None:
        jms['Pri'] = str(message.priority)
    jms['Dlv'] = str(message.delivery_mode)
    folders = [Folder(name='jms', values=jms)]
    if needs_mcd:
        folders.insert(0, Folder(name='mcd', values={'Msd': 'jms_text' if is_text else 'jms_bytes'}))
    if message.properties:
        folders.append(Folder(name='usr', values=message.properties))
    return folders


def _is_text(format_: str, mcd: Mapping[str, PropertyValue]) -> bool:
    type_ = mcd.get('Msd')
    return type_ == 'jms_text' if type_ in ('jms_text', 'jms_bytes') else format_ == STRING_FORMAT


def _queue_uri(queue: str, manager: str) -> str:
    return f'queue://{manager}/{queue}' if queue else ''


def _correlation_bytes(text: str) -> bytes:
    match = _ID.match(text)
    if match is not None:
        return bytes.fromhex(match[1])
    return text.encode()[:ID_LENGTH].ljust(ID_LENGTH, b'\0') if text else NO_ID


def _correlation_text(identifier: bytes) -> str:
    if identifier == NO_ID:
        return ''
    text = identifier.rstrip(b'\0')
    if len(text) < ID_LENGTH and text.isascii() and text.decode('ascii').isprintable():
        return text.decode('ascii')
    return id_text(identifier)
