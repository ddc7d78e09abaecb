"""Messages of the work stream, which are asynchronous invocations of services, and the encoding of these messages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from zatotx.model.message import Message, Principal, Reply, ServiceResult

INVOKE_ASYNC, INVOKE_ASYNC_CALLBACK = 'invoke-async', 'invoke-async-callback'  # Zato's channels
VALUE_FORMAT = 'dict'  # data format of messages that carry a Python value, as services pass them to each other

WORK_VERSION = 1  # of the messages that this version of zatotx writes; it leaves alone those of higher ones

DEFAULT_ATTEMPTS = 5
DEFAULT_BACKOFF = 1.0  # seconds before the second attempt
DEFAULT_GROWTH = 3.0
DEFAULT_MAX_DELAY = 18.0  # seconds; five attempts end 31 seconds after the first


class WorkMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One asynchronous invocation of a service. Times are unix times in seconds."""

    id: str  # unique in the cluster; kept by retries, dead letters and replays
    cid: str
    service: str
    payload: Any = ''  # a value of MessagePack; the body in bytes where data_format is not VALUE_FORMAT
    channel: str = INVOKE_ASYNC  # kind of the channel that the service sees
    channel_name: str = ''
    data_format: str = VALUE_FORMAT
    headers: dict[bytes, bytes] = {}
    principal: Principal | None = None  # of the caller
    trace: str = ''  # W3C traceparent
    in_reply_to: str = ''  # callbacks: the cid of the invocation whose result this is
    target: str = ''  # name of the server that runs the message; '' = any
    order_key: str = ''  # messages of one key run one after another, in the order they were added; '' = unordered
    callbacks: tuple[str, ...] = ()  # services that receive the result
    group: str = ''  # the group of results that the result belongs to; '' = none
    part: str = ''  # the name of the result in its group
    source: str = ''  # patterns: the service that asked; callbacks then get a report of the result, of failures too
    context: Any = None  # patterns: a value for the callback
    retries_all: bool = False  # whether errors that say that the message is wrong are retried, too
    created_at: float = 0.0
    expires_at: float = 0.0  # 0 = never
    max_attempts: int = DEFAULT_ATTEMPTS
    backoff: float = DEFAULT_BACKOFF
    max_delay: float = DEFAULT_MAX_DELAY
    growth: float = DEFAULT_GROWTH  # factor between two delays
    max_failures: int = 0  # runs that may fail while their process lives; 0 = max_attempts
    timeout: float = 0.0  # seconds that one run may take; 0 = the default
    is_dead_lettered: bool = True  # whether it becomes a dead letter when it is given up
    attempts: int = 0  # runs so far, all of which failed
    crashes: int = 0  # those of them during which the process died
    first_failed: float = 0.0
    last_failed: float = 0.0
    cause: str = ''  # of the last failure
    version: int = 1  # higher if older versions of zatotx must not run the message


class WorkDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A message that a consumer received from the work stream, with its delivery information."""

    message: WorkMessage
    entry: str  # identifies the delivery to its consumer
    crashes: int = 0  # deliveries whose process died before it settled them
    data: bytes = b''  # the message as it is stored, if its version is higher than WORK_VERSION

    @property
    def is_newer(self) -> bool:
        """Whether only a newer version of zatotx can run the message."""
        return self.message.version > WORK_VERSION


class WorkCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The number of messages of one queue of the work stream."""

    waiting: int = 0  # not received by any consumer yet
    running: int = 0  # received and not settled
    delayed: int = 0  # waiting for another attempt


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(WorkMessage)


class _Version(msgspec.Struct):
    version: int = 1


_version_decoder = msgspec.msgpack.Decoder(_Version)


def encode_work(message: WorkMessage) -> bytes:
    """Encode a message as MessagePack. Raises TypeError for a payload that MessagePack cannot represent."""
    return _encoder.encode(message)


def decode_work(data: bytes, entry: str) -> WorkMessage:
    """Decode a message of the work stream. Invalid data, such as an entry that another program added, is converted to a
    message without a service, so that it becomes a dead letter that contains the data."""
    try:
        return _decoder.decode(data)
    except msgspec.MsgspecError as error:
        if (version := _version_of(data)) > WORK_VERSION:
            return WorkMessage(id=entry, cid=entry, service='', version=version)
        return WorkMessage(id=entry, cid=entry, service='', payload=data, max_attempts=1, attempts=1,
                           cause=f'the message cannot be read: {error}')  # fmt: skip


def make_delivery(data: bytes, entry: str, crashes: int) -> WorkDelivery:
    """Return the delivery of a stored message. `crashes` is the number of crashes during earlier deliveries."""
    message = decode_work(data, entry)
    return WorkDelivery(message=message, entry=entry, crashes=crashes,
                        data=data if message.version > WORK_VERSION else b'')  # fmt: skip


def _version_of(data: bytes) -> int:
    try:
        return _version_decoder.decode(data).version
    except msgspec.MsgspecError:
        return 1


def to_timestamp(seconds: float) -> str:
    """Format unix time as ISO 8601 in UTC without a zone, as in Zato's reports."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


class ValueMessage(Message):
    """A message whose payload is a Python value. The attribute `value` replaces the body."""

    value: Any = None


class ValueReply(Reply):
    """The reply to a ValueMessage, which contains the service's result before it is encoded."""

    result: ServiceResult | None = None


__all__ = [
    'INVOKE_ASYNC',
    'INVOKE_ASYNC_CALLBACK',
    'VALUE_FORMAT',
    'WORK_VERSION',
    'ValueMessage',
    'ValueReply',
    'WorkCounts',
    'WorkDelivery',
    'WorkMessage',
    'decode_work',
    'encode_work',
    'make_delivery',
    'to_timestamp',
]
