"""The message descriptor (MQMD): its fields, its layout in the native byte order, and MQI constants."""

from __future__ import annotations

import struct
from contextlib import suppress
from datetime import date

import msgspec

from .mqrfh2 import NATIVE

ID_LENGTH = 24
NO_ID = bytes(ID_LENGTH)
UNLIMITED = -1  # Expiry
REQUEST, REPLY, REPORT, DATAGRAM = 1, 2, 4, 8  # MsgType
NOT_PERSISTENT, PERSISTENT = 0, 1  # Persistence
PASS_CORREL_ID, PASS_MSG_ID = 0x40, 0x80  # Report
STRING_FORMAT = 'MQSTR'

VERSION = 2
_LAYOUT = struct.Struct('=4siiiiiii8sii24s24si48s48s12s32s32si28s8s8s4s24siiii')
_EPOCH = date(1970, 1, 1).toordinal()


class MessageDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """A message descriptor (MQMD). `expiry` is in tenths of a second, or -1 if the message does not expire. A `ccsid`
    of 0 stands for the CCSID of the queue manager. If `message_id` is NO_ID, the queue manager creates the ID."""

    message_type: int = DATAGRAM
    report: int = 0
    expiry: int = UNLIMITED
    feedback: int = 0
    encoding: int = NATIVE
    ccsid: int = 1208
    format: str = ''
    priority: int = -1  # that of the queue
    persistence: int = PERSISTENT
    message_id: bytes = NO_ID
    correlation_id: bytes = NO_ID
    backout_count: int = 0
    reply_to_queue: str = ''
    reply_to_queue_manager: str = ''
    user: str = ''
    application: str = ''
    application_type: int = 0
    put_date: str = ''
    put_time: str = ''


def pack_descriptor(descriptor: MessageDescriptor) -> bytes:
    """Pack a descriptor into the structure for MQPUT. Fields that the queue manager sets, such as the user, are left
    empty."""
    return _LAYOUT.pack(
        b'MD  ', VERSION, descriptor.report, descriptor.message_type, descriptor.expiry, descriptor.feedback,
        descriptor.encoding, descriptor.ccsid, descriptor.format.ljust(8).encode(), descriptor.priority,
        descriptor.persistence, descriptor.message_id, descriptor.correlation_id, 0, descriptor.reply_to_queue.encode(),
        descriptor.reply_to_queue_manager.encode(), b'', b'', b'', 0, b'', b'', b'', b'', NO_ID, 1, 0, 0, -1,
    )  # fmt: skip


def unpack_descriptor(data: bytes) -> MessageDescriptor:
    """Unpack the descriptor that MQGET returned. Raises struct.error for a structure of another length."""
    (_, _, report, message_type, expiry, feedback, encoding, ccsid, format_, priority, persistence, message_id,
     correlation_id, backout_count, queue, queue_manager, user, _, _, application_type, application, put_date, put_time,
     *_) = _LAYOUT.unpack(data)  # fmt: skip
    return MessageDescriptor(
        message_type=message_type, report=report, expiry=expiry, feedback=feedback, encoding=encoding, ccsid=ccsid,
        format=name_text(format_), priority=priority, persistence=persistence, message_id=message_id,
        correlation_id=correlation_id, backout_count=backout_count, reply_to_queue=name_text(queue),
        reply_to_queue_manager=name_text(queue_manager), user=name_text(user), application=name_text(application),
        application_type=application_type, put_date=name_text(put_date), put_time=name_text(put_time),
    )  # fmt: skip


def name_text(data: bytes) -> str:
    """Return the text of a fixed-length name, without trailing null characters and blanks."""
    return data.partition(b'\0')[0].rstrip(b' ').decode('ascii', 'replace')


def put_milliseconds(descriptor: MessageDescriptor) -> int:
    """Return the time at which a message was put, in milliseconds since the epoch, or 0 if the descriptor does not
    contain the time."""
    day, clock = descriptor.put_date, descriptor.put_time
    with suppress(ValueError):
        days = date(int(day[:4]), int(day[4:6]), int(day[6:8])).toordinal() - _EPOCH
        seconds = days * 86_400 + int(clock[:2]) * 3600 + int(clock[2:4]) * 60 + int(clock[4:6])
        return seconds * 1000 + int(clock[6:8] or '0') * 10
    return 0


def reply_descriptor(request: MessageDescriptor, *, ccsid: int, format: str) -> MessageDescriptor:
    """Return the descriptor for the reply to a request, with the message and correlation identifiers that the report
    options of the request specify."""
    return MessageDescriptor(
        message_type=REPLY, ccsid=ccsid, format=format, priority=request.priority, persistence=request.persistence,
        message_id=request.message_id if request.report & PASS_MSG_ID else NO_ID,
        correlation_id=request.correlation_id if request.report & PASS_CORREL_ID else request.message_id,
    )  # fmt: skip
