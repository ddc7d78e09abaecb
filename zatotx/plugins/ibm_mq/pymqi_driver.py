"""The IBM MQ driver, which is based on pymqi. No other module imports pymqi, so that IBM's `ibmmq` could replace it.

Handles and objects are pymqi's; MQGET and MQPUT are called through `pymqi.pymqe`, its C extension, because its Python
structures take half of the time of a message. The extension writes into the bytes that it is given: each call gets
bytes of its own.

pymqi disconnects in whichever thread collects a QueueManager, and MQDISC commits what is uncommitted: `close` backs out
and disconnects before the objects are dropped. Automatic reconnection of the client is off, as ours is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pymqi
from pymqi import CMQC, pymqe

from .mqi_interfaces import ConnectOptions, GotMessage, MqiError, QueueAttributes
from .reason_codes import CONNECTION_BROKEN, NO_MESSAGE, NOT_AUTHORIZED, SELECTOR_NOT_FOR_TYPE, TRUNCATED
from .wire.descriptor import MessageDescriptor, name_text, pack_descriptor, unpack_descriptor

T = TypeVar('T')

BUFFER = 65_536  # bytes of the first MQGET; larger messages take a second call
CACHED_QUEUES = 32  # that one handle keeps open for putting
_CONNECT = CMQC.MQCNO_HANDLE_SHARE_BLOCK | CMQC.MQCNO_RECONNECT_DISABLED
_GET = CMQC.MQGMO_WAIT | CMQC.MQGMO_SYNCPOINT | CMQC.MQGMO_FAIL_IF_QUIESCING
_PUT_SYNCPOINT = pymqi.PMO(Options=CMQC.MQPMO_FAIL_IF_QUIESCING | CMQC.MQPMO_SYNCPOINT).pack()
_PUT_NO_SYNCPOINT = pymqi.PMO(Options=CMQC.MQPMO_FAIL_IF_QUIESCING | CMQC.MQPMO_NO_SYNCPOINT).pack()
_ANY = pack_descriptor(MessageDescriptor())


def connect(options: ConnectOptions) -> PymqiHandle:
    """Open a connection to a queue manager. Blocking. Raises MqiError."""
    definition = pymqi.CD(
        ChannelName=options.channel.encode(), ConnectionName=options.connection_name.encode(),
        ChannelType=CMQC.MQCHT_CLNTCONN, TransportType=CMQC.MQXPT_TCP, HeartbeatInterval=options.heartbeat,
        MaxMsgLength=options.max_message_size,
    )  # fmt: skip
    named: dict[str, Any] = {'cd': definition, 'opts': _CONNECT}
    if options.cipher_spec:
        definition.SSLCipherSpec = options.cipher_spec.encode()
        named['sco'] = pymqi.SCO(KeyRepository=options.key_repository.encode())
    if options.user:
        named.update(user=options.user, password=options.password)
    manager = pymqi.QueueManager(None)
    _call('MQCONNX', manager.connect_with_options, options.queue_manager, **named)
    return PymqiHandle(manager, options)


class PymqiHandle:
    """Implements QueueManagerHandle with pymqi."""

    def __init__(self, manager: Any, options: ConnectOptions) -> None:
        self._manager, self._options = manager, options
        self._is_closed = False
        self._inputs: list[PymqiInputQueue] = []
        self._outputs: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def open_input(self, queue: str, *, with_properties: bool) -> PymqiInputQueue:
        """See QueueManagerHandle."""
        options = CMQC.MQOO_INPUT_AS_Q_DEF | CMQC.MQOO_FAIL_IF_QUIESCING
        try:
            opened = _call('MQOPEN', pymqi.Queue, self._manager, queue, options | CMQC.MQOO_INQUIRE)
            may_inquire = True
        except MqiError as error:
            if error.reason != NOT_AUTHORIZED:
                raise
            opened = _call('MQOPEN', pymqi.Queue, self._manager, queue, options)  # the user may not inquire
            may_inquire = False
        properties = CMQC.MQGMO_PROPERTIES_FORCE_MQRFH2 if with_properties else CMQC.MQGMO_NO_PROPERTIES
        found = PymqiInputQueue(self._handle(), opened, self._options.max_message_size, _GET | properties,
                                may_inquire=may_inquire)  # fmt: skip
        self._inputs.append(found)
        return found

    def put(self, queue: str, descriptor: MessageDescriptor, data: bytes, *, syncpoint: bool,
            queue_manager: str = '') -> bytes:
        """See QueueManagerHandle."""
        key = queue, queue_manager
        output = self._outputs.get(key)
        if output is None:
            output = self._open_output(queue, queue_manager)
        else:
            self._outputs.move_to_end(key)
        options = bytearray(_PUT_SYNCPOINT if syncpoint else _PUT_NO_SYNCPOINT)
        filled, _, completion, reason = pymqe.MQPUT(self._handle(), output.get_handle(), pack_descriptor(descriptor),
                                                    bytes(options), data)  # fmt: skip
        if completion or not self._options.caches_queues:
            self._outputs.pop(key, None)
            _close(output)
        if completion:
            raise MqiError('MQPUT', reason)
        return unpack_descriptor(filled).message_id

    def commit(self) -> None:
        """See QueueManagerHandle."""
        _call('MQCMIT', self._manager.commit)

    def back_out(self) -> None:
        """See QueueManagerHandle."""
        _call('MQBACK', self._manager.backout)

    def ping(self) -> str:
        """See QueueManagerHandle."""
        return name_text(_call('MQINQ', self._manager.inquire, CMQC.MQCA_Q_MGR_NAME))

    def close(self) -> None:
        """See QueueManagerHandle."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(MqiError):
            self.back_out()
        for one in self._inputs:
            _close(one.queue)
        for output in self._outputs.values():
            _close(output)
        self._inputs, self._outputs = [], OrderedDict()
        with suppress(pymqi.Error):
            self._manager.disconnect()

    def _handle(self) -> int:
        handle: int = _call('MQCONNX', self._manager.get_handle)
        return handle

    def _open_output(self, queue: str, queue_manager: str) -> Any:
        descriptor = pymqi.OD(ObjectName=queue.encode(), ObjectQMgrName=queue_manager.encode())
        output = _call('MQOPEN', pymqi.Queue, self._manager, descriptor,
                       CMQC.MQOO_OUTPUT | CMQC.MQOO_FAIL_IF_QUIESCING)  # fmt: skip
        self._outputs[queue, queue_manager] = output
        if len(self._outputs) > CACHED_QUEUES:
            _close(self._outputs.popitem(last=False)[1])
        return output


class PymqiInputQueue:
    """Implements InputQueue with pymqi."""

    def __init__(self, handle: int, queue: Any, max_message_size: int, options: int, *, may_inquire: bool) -> None:
        self.queue, self._max_message_size, self._may_inquire = queue, max_message_size, may_inquire
        self._handles = handle, queue.get_handle()
        self._options = options
        self._packed: tuple[float, bytes] = (-1.0, b'')  # the options of the last wait
        self.attributes = QueueAttributes()
        if may_inquire:
            self.attributes = QueueAttributes(
                backout_threshold=self._inquire(CMQC.MQIA_BACKOUT_THRESHOLD) or 0,
                backout_queue=name_text(self._inquire(CMQC.MQCA_BACKOUT_REQ_Q_NAME) or b''),
            )

    def get(self, wait: float) -> GotMessage | None:
        """See InputQueue."""
        if self._packed[0] != wait:
            self._packed = wait, self._pack_options(wait, CMQC.MQMO_NONE)
        options, wanted, size = self._packed[1], _ANY, BUFFER
        while True:
            data, filled, _, length, completion, reason = pymqe.MQGET(*self._handles, bytes(bytearray(wanted)),
                                                                      bytes(bytearray(options)), size)  # fmt: skip
            if not completion:
                return GotMessage(descriptor=unpack_descriptor(filled), data=data)
            if reason == NO_MESSAGE:
                return None
            if reason != TRUNCATED or size >= self._max_message_size:
                raise MqiError('MQGET', reason)
            size, wanted = min(length, self._max_message_size), filled  # this message again
            options = self._pack_options(0, CMQC.MQMO_MATCH_MSG_ID)

    def _pack_options(self, wait: float, match: int) -> bytes:
        options: bytes = pymqi.GMO(Version=CMQC.MQGMO_VERSION_2, Options=self._options, WaitInterval=int(wait * 1000),
                                   MatchOptions=match).pack()  # fmt: skip
        return options

    def depth(self) -> int | None:
        """See InputQueue."""
        if not self._may_inquire:
            return None
        depth: int | None = self._inquire(CMQC.MQIA_CURRENT_Q_DEPTH)
        return depth

    def _inquire(self, selector: int) -> Any:
        """Return an attribute of the queue; None for one that queues of its type, such as aliases, do not have."""
        try:
            return _call('MQINQ', self.queue.inquire, selector)
        except MqiError as error:
            if error.reason != SELECTOR_NOT_FOR_TYPE:
                raise
            return None


def _call(name: str, function: Callable[..., T], *args: Any, **named: Any) -> T:
    try:
        return function(*args, **named)
    except pymqi.MQMIError as error:
        raise MqiError(name, error.reason) from None
    except pymqi.PYIFError:  # pymqi's own 'not connected'
        raise MqiError(name, CONNECTION_BROKEN) from None


def _close(queue: Any) -> None:
    with suppress(pymqi.Error):
        queue.close()
