"""The interfaces and value types of an IBM MQ client library (MQI). `pymqi_driver` implements them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
from attrs import field, frozen

from .reason_codes import sentence
from .wire.descriptor import MessageDescriptor


class MqiError(Exception):
    """An MQI call failed. `call` is the name of the call, such as 'MQGET', and `reason` its reason code."""

    def __init__(self, call: str, reason: int) -> None:
        super().__init__(sentence(reason))
        self.call, self.reason = call, reason


@frozen(kw_only=True)
class ConnectOptions:
    """The options with which a handle connects. `connection_name` is `host(port)`, or a comma-separated list of such
    addresses. `heartbeat` is in seconds."""

    connection_name: str
    channel: str
    queue_manager: str = ''
    user: str = ''
    password: str = field(default='', repr=False)
    cipher_spec: str = ''  # '' = without TLS
    key_repository: str = ''  # path of the key database without its extension
    heartbeat: int = 30
    max_message_size: int = 104_857_600
    caches_queues: bool = True  # whether queues stay open for further messages that are put


class GotMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was received under syncpoint."""

    descriptor: MessageDescriptor
    data: bytes


@frozen(kw_only=True)
class QueueAttributes:
    """The attributes of a queue from which messages are received. A `backout_threshold` of 0 means that the queue has
    no threshold."""

    backout_threshold: int = 0
    backout_queue: str = ''


class InputQueue(Protocol):
    """A queue that is open for receiving messages."""

    attributes: QueueAttributes

    def get(self, wait: float) -> GotMessage | None:
        """Get a message in syncpoint; wait for it at most `wait` seconds. Raises MqiError."""

    def depth(self) -> int | None:
        """Return the number of messages on the queue; None = the user may not ask. Raises MqiError."""


class QueueManagerHandle(Protocol):
    """A connection to a queue manager. All methods block. The connection may be used in any thread, but only in one at
    a time."""

    def open_input(self, queue: str, *, with_properties: bool) -> InputQueue:
        """Open a queue for getting. `with_properties`: whether messages come with their MQRFH2 header; otherwise the
        queue manager leaves it out. Raises MqiError."""

    def put(self, queue: str, descriptor: MessageDescriptor, data: bytes, *, syncpoint: bool,
            queue_manager: str = '') -> bytes:
        """Put a message; return its identifier. Raises MqiError."""

    def commit(self) -> None:
        """Commit the unit of work. Raises MqiError."""

    def back_out(self) -> None:
        """Back the unit of work out. Raises MqiError."""

    def ping(self) -> str:
        """Ask the queue manager for its name. Raises MqiError."""

    def close(self) -> None:
        """Back out what is uncommitted, and disconnect. Never raises."""


Connect = Callable[[ConnectOptions], QueueManagerHandle]
