"""Messages of the queue manager: the fields of the message descriptor (MQMD) that it reads and sets."""

from __future__ import annotations

import struct
import time
from typing import Any

EXPIRY, CCSID, FORMAT, PRIORITY, PERSISTENCE = 16, 28, 32, 40, 44  # offsets in MQMD
ENCODING = 24
MSG_ID, CORREL_ID, BACKOUT_COUNT = 48, 72, 96
USER, PUT_APPL_TYPE, PUT_APPL_NAME, PUT_DATE, PUT_TIME = 196, 272, 276, 304, 312
LENGTH_1, LENGTH_2 = 324, 364
ID_LENGTH = 24
NO_ID = bytes(ID_LENGTH)
RFH2 = b'MQHRF2  '
_RFH2_FIXED = 36
_TAIL = NO_ID + struct.pack('=iiii', 1, 0, 0, -1)  # group id, sequence number, offset, flags, original length


class StoredMessage:
    """A message on a queue. `sequence` is its place among those of its priority; `expires_at`: unix time, 0 = never."""

    __slots__ = ('data', 'descriptor', 'expires_at', 'is_persistent', 'priority', 'queue', 'sequence')

    def __init__(self, queue: str, sequence: int, descriptor: bytes, data: bytes, expires_at: float = 0.0) -> None:
        self.queue, self.sequence, self.data, self.expires_at = queue, sequence, data, expires_at
        self.descriptor = bytearray(descriptor)
        self.priority = get_long(descriptor, PRIORITY)
        self.is_persistent = get_long(descriptor, PERSISTENCE) == 1

    def __lt__(self, other: StoredMessage) -> bool:
        return (-self.priority, self.sequence) < (-other.priority, other.sequence)

    @property
    def backout_count(self) -> int:
        """How often it was backed out."""
        return get_long(self.descriptor, BACKOUT_COUNT)

    @backout_count.setter
    def backout_count(self, value: int) -> None:
        set_long(self.descriptor, BACKOUT_COUNT, value)

    def id(self, offset: int) -> bytes:
        """The identifier at MSG_ID or CORREL_ID."""
        return bytes(self.descriptor[offset : offset + ID_LENGTH])


def get_long(data: Any, offset: int) -> int:
    """Return the MQLONG at an offset."""
    value: int = struct.unpack_from('=i', data, offset)[0]
    return value


def set_long(data: bytearray, offset: int, value: int) -> None:
    """Set the MQLONG at an offset."""
    struct.pack_into('=i', data, offset, value)


def padded(text: str, length: int) -> bytes:
    """Return a name as MQI structures hold it."""
    return text.encode('ascii', 'replace')[:length].ljust(length)


def name_of(data: bytes) -> str:
    """Return the text of a name: up to its first null or its trailing blanks."""
    return data.partition(b'\0')[0].decode('ascii', 'replace').rstrip(' ')


def complete(given: bytes, unique: int, *, qmgr: str, user: str, new_msg_id: bool, new_correl_id: bool,
             defaults: dict[str, int]) -> bytearray:
    """Return the descriptor of a message that is put: version 2, with what MQPUT fills in. `unique`: a number that no
    other message has; `defaults`: of the queue."""
    descriptor = bytearray(given[:LENGTH_1] + (given[LENGTH_1:] or _TAIL))
    set_long(descriptor, 4, 2)
    if new_msg_id or descriptor[MSG_ID : MSG_ID + ID_LENGTH] == NO_ID:
        descriptor[MSG_ID : MSG_ID + ID_LENGTH] = b'AMQ ' + padded(qmgr, 12) + struct.pack('>Q', unique)
    if new_correl_id:
        descriptor[CORREL_ID : CORREL_ID + ID_LENGTH] = b'AMQC' + padded(qmgr, 12) + struct.pack('>Q', unique)
    if get_long(descriptor, PRIORITY) < 0:
        set_long(descriptor, PRIORITY, defaults['priority'])
    if get_long(descriptor, PERSISTENCE) == 2:
        set_long(descriptor, PERSISTENCE, defaults['persistence'])
    if get_long(descriptor, CCSID) == 0:
        set_long(descriptor, CCSID, defaults['ccsid'])
    set_long(descriptor, BACKOUT_COUNT, 0)
    now = time.time()
    descriptor[USER : USER + 12] = padded(user, 12)
    set_long(descriptor, PUT_APPL_TYPE, 6)
    descriptor[PUT_APPL_NAME : PUT_APPL_NAME + 28] = padded('mqi_loopback', 28)
    descriptor[PUT_DATE : PUT_DATE + 8] = time.strftime('%Y%m%d', time.gmtime(now)).encode()
    hundredths = int(now * 100) % 100
    descriptor[PUT_TIME : PUT_TIME + 8] = (time.strftime('%H%M%S', time.gmtime(now)) + f'{hundredths:02d}').encode()
    return descriptor


def expiry_time(descriptor: bytes | bytearray) -> float:
    """Return when a message expires, in unix time; 0 = never."""
    expiry = get_long(descriptor, EXPIRY)
    return time.time() + expiry / 10 if expiry > 0 else 0.0


def without_properties(descriptor: bytearray, data: bytes) -> tuple[bytearray, bytes]:
    """Return descriptor and data without the MQRFH2 headers that hold message properties."""
    descriptor = bytearray(descriptor)
    while descriptor[FORMAT : FORMAT + 8] == RFH2 and len(data) >= _RFH2_FIXED:
        order = '>' if get_long(descriptor, ENCODING) & 0xF == 1 else '<'
        length, encoding, ccsid = struct.unpack_from(f'{order}iii', data, 8)
        if not _RFH2_FIXED <= length <= len(data):
            break
        set_long(descriptor, ENCODING, encoding)
        if ccsid > 0:
            set_long(descriptor, CCSID, ccsid)
        descriptor[FORMAT : FORMAT + 8] = data[20:28]
        data = data[length:]
    return descriptor, data
