"""The fields of the message descriptor (MQMD) that the kind uses, and their constants from the published interface."""

from __future__ import annotations

from calendar import timegm
from contextlib import suppress
from time import strptime

from attrs import frozen

from .mqrfh2 import NATIVE

ID_LENGTH = 24
NO_ID = bytes(ID_LENGTH)
UNLIMITED = -1  # Expiry
REQUEST, REPLY, REPORT, DATAGRAM = 1, 2, 4, 8  # MsgType
NOT_PERSISTENT, PERSISTENT = 0, 1  # Persistence
PASS_CORREL_ID, PASS_MSG_ID = 0x40, 0x80  # Report
STRING_FORMAT = 'MQSTR'


@frozen(kw_only=True)
class MessageDescriptor:
    """An MQMD. `expiry`: tenths of a second, -1 = never; `ccsid` 0 = the queue manager's; `message_id` NO_ID = the
    queue manager makes one."""

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


def put_milliseconds(descriptor: MessageDescriptor) -> int:
    """Return when a message was put, in milliseconds since the epoch; 0 = the descriptor does not say."""
    date, hundredths = descriptor.put_date.strip(), descriptor.put_time.strip()
    with suppress(ValueError):
        seconds = timegm(strptime(date + hundredths[:6], '%Y%m%d%H%M%S'))
        return seconds * 1000 + int(hundredths[6:8] or '0') * 10
    return 0


def reply_descriptor(request: MessageDescriptor, *, ccsid: int, format: str) -> MessageDescriptor:
    """Return the descriptor of the reply to a request, with the identifiers that its report options ask for."""
    return MessageDescriptor(
        message_type=REPLY, ccsid=ccsid, format=format, priority=request.priority, persistence=request.persistence,
        message_id=request.message_id if request.report & PASS_MSG_ID else NO_ID,
        correlation_id=request.correlation_id if request.report & PASS_CORREL_ID else request.message_id,
    )  # fmt: skip
