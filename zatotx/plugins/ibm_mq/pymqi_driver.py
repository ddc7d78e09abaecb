"""The driver: the only module that imports pymqi. IBM's own `ibmmq` can replace it here.

pymqi disconnects in whichever thread collects a QueueManager, and MQDISC commits what is uncommitted: `close` backs out
and disconnects before the objects are dropped. Automatic reconnection of the client is off, as ours is used.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pymqi
from pymqi import CMQC

from .mqi import ConnectOptions, GotMessage, MqiError, QueueAttributes
from .reason_codes import CONNECTION_BROKEN, NO_MESSAGE, NOT_AUTHORIZED, TRUNCATED
from .wire.descriptor import MessageDescriptor

T = TypeVar('T')

BUFFER = 65_536  # bytes of the first MQGET; larger messages take a second call
CACHED_QUEUES = 32  # that one handle keeps open for putting
_CONNECT = CMQC.MQCNO_HANDLE_SHARE_BLOCK | CMQC.MQCNO_RECONNECT_DISABLED
_GET = CMQC.MQGMO_WAIT | CMQC.MQGMO_SYNCPOINT | CMQC.MQGMO_FAIL_IF_QUIESCING
_PUT = CMQC.MQPMO_FAIL_IF_QUIESCING


def connect(options: ConnectOptions) -> PymqiHandle:
    """Connect a new handle. Blocks. Raises MqiError."""
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
    """QueueManagerHandle."""

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
        found = PymqiInputQueue(opened, self._options.max_message_size, _GET | properties, may_inquire=may_inquire)
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
        fields = _to_md(descriptor)
        options = pymqi.PMO(Options=_PUT | (CMQC.MQPMO_SYNCPOINT if syncpoint else CMQC.MQPMO_NO_SYNCPOINT))
        try:
            _call('MQPUT', output.put, data, fields, options)
        except MqiError:
            self._outputs.pop(key, None)
            _close(output)
            raise
        message_id: bytes = fields.MsgId
        return message_id

    def commit(self) -> None:
        """See QueueManagerHandle."""
        _call('MQCMIT', self._manager.commit)

    def back_out(self) -> None:
        """See QueueManagerHandle."""
        _call('MQBACK', self._manager.backout)

    def ping(self) -> str:
        """See QueueManagerHandle."""
        return _text(_call('MQINQ', self._manager.inquire, CMQC.MQCA_Q_MGR_NAME))

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

    def _open_output(self, queue: str, queue_manager: str) -> Any:
        descriptor = pymqi.OD(ObjectName=queue.encode(), ObjectQMgrName=queue_manager.encode())
        output = _call('MQOPEN', pymqi.Queue, self._manager, descriptor,
                       CMQC.MQOO_OUTPUT | CMQC.MQOO_FAIL_IF_QUIESCING)  # fmt: skip
        self._outputs[queue, queue_manager] = output
        if len(self._outputs) > CACHED_QUEUES:
            _close(self._outputs.popitem(last=False)[1])
        return output


class PymqiInputQueue:
    """InputQueue."""

    def __init__(self, queue: Any, max_message_size: int, options: int, *, may_inquire: bool) -> None:
        self.queue, self._max_message_size, self._may_inquire = queue, max_message_size, may_inquire
        self._fields = pymqi.MD(Version=CMQC.MQMD_VERSION_2)
        self._options = pymqi.GMO(Version=CMQC.MQGMO_VERSION_2, Options=options)
        self.attributes = QueueAttributes()
        if may_inquire:
            self.attributes = QueueAttributes(
                backout_threshold=_call('MQINQ', queue.inquire, CMQC.MQIA_BACKOUT_THRESHOLD),
                backout_queue=_text(_call('MQINQ', queue.inquire, CMQC.MQCA_BACKOUT_REQ_Q_NAME)),
            )

    def get(self, wait: float) -> GotMessage | None:
        """See InputQueue."""
        self._options.MatchOptions = CMQC.MQMO_NONE
        self._options.WaitInterval = int(wait * 1000)
        size = BUFFER
        while True:
            try:
                data = self.queue.get(size, self._fields, self._options)
            except pymqi.MQMIError as error:
                if error.reason == NO_MESSAGE:
                    return None
                if error.reason != TRUNCATED or size >= self._max_message_size:
                    raise MqiError('MQGET', error.reason) from None
                size = min(error.original_length, self._max_message_size)
                self._options.MatchOptions = CMQC.MQMO_MATCH_MSG_ID
                self._options.WaitInterval = 0
            except pymqi.PYIFError:
                raise MqiError('MQGET', CONNECTION_BROKEN) from None
            else:
                return GotMessage(descriptor=_from_md(self._fields), data=data)

    def depth(self) -> int | None:
        """See InputQueue."""
        if not self._may_inquire:
            return None
        depth: int = _call('MQINQ', self.queue.inquire, CMQC.MQIA_CURRENT_Q_DEPTH)
        return depth


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


def _from_md(fields: Any) -> MessageDescriptor:
    return MessageDescriptor(
        message_type=fields.MsgType, report=fields.Report, expiry=fields.Expiry, feedback=fields.Feedback,
        encoding=fields.Encoding, ccsid=fields.CodedCharSetId, format=_text(fields.Format), priority=fields.Priority,
        persistence=fields.Persistence, message_id=fields.MsgId, correlation_id=fields.CorrelId,
        backout_count=fields.BackoutCount, reply_to_queue=_text(fields.ReplyToQ),
        reply_to_queue_manager=_text(fields.ReplyToQMgr), user=_text(fields.UserIdentifier),
        application=_text(fields.PutApplName), application_type=fields.PutApplType, put_date=_text(fields.PutDate),
        put_time=_text(fields.PutTime),
    )  # fmt: skip


def _to_md(descriptor: MessageDescriptor) -> Any:
    return pymqi.MD(
        Version=CMQC.MQMD_VERSION_2, MsgType=descriptor.message_type, Report=descriptor.report,
        Expiry=descriptor.expiry, Feedback=descriptor.feedback, Encoding=descriptor.encoding,
        CodedCharSetId=descriptor.ccsid, Format=descriptor.format.ljust(8).encode(), Priority=descriptor.priority,
        Persistence=descriptor.persistence, MsgId=descriptor.message_id, CorrelId=descriptor.correlation_id,
        ReplyToQ=descriptor.reply_to_queue.encode(), ReplyToQMgr=descriptor.reply_to_queue_manager.encode(),
    )  # fmt: skip


def _text(data: bytes) -> str:
    return data.partition(b'\0')[0].decode('ascii', 'replace').rstrip(' ')
