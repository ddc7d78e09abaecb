"""The queue manager of mqi_loopback: a process that serves the requests of its client library, `mqi.c`.

`python qmgr.py --name QM1 --directory DIR --port 1414 --store FILE` listens on `DIR/1414.sock` for clients and on
`DIR/1414.control` for tests (see control.py). All numbers are in the byte order of the machine.

A request is its length (of what follows), one byte that says which call it is, and the arguments; a reply is its
length, the completion code, the reason code, and the results. A call or an option that this queue manager does not have
is refused with a reason code; it is never ignored.
"""

from __future__ import annotations

import argparse
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __package__ in (None, ''):  # run as a program
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from trial_tests.peers.mqi_loopback import messages as md
from trial_tests.peers.mqi_loopback.control import ControlServer, Faults
from trial_tests.peers.mqi_loopback.messages import StoredMessage, get_long, name_of, padded
from trial_tests.peers.mqi_loopback.queues import Queue, Queues, UnitOfWork, make_match
from trial_tests.peers.mqi_loopback.store import Store

OK, WARNING, FAILED = 0, 1, 2
CALLS = ('', 'MQCONNX', 'MQDISC', 'MQOPEN', 'MQCLOSE', 'MQPUT', 'MQPUT1', 'MQGET', 'MQCMIT', 'MQBACK', 'MQINQ', 'MQSET')
BACKED_OUT, CONNECTION_BROKEN, GET_INHIBITED, HOBJ_ERROR, SYNCPOINT_LIMIT = 2003, 2009, 2016, 2019, 2024
MSG_TOO_BIG, NO_MSG, NOT_AUTHORIZED, NOT_OPEN_FOR_INPUT, NOT_OPEN_FOR_OUTPUT = 2030, 2033, 2035, 2037, 2039
OBJECT_IN_USE, OBJECT_TYPE_ERROR, OPTIONS_ERROR, PUT_INHIBITED, Q_FULL = 2042, 2043, 2046, 2051, 2053
Q_MGR_NAME_ERROR, Q_MGR_NOT_AVAILABLE, SELECTOR_ERROR = 2058, 2059, 2067
TRUNCATED_ACCEPTED, TRUNCATED_FAILED, UNKNOWN_OBJECT = 2079, 2080, 2085
SSL_INITIALIZATION, UNKNOWN_CHANNEL = 2393, 2540

_OO_INPUT, _OO_EXCLUSIVE, _OO_OUTPUT, _OO_FAIL_QUIESCING = 0x7, 0x4, 0x10, 0x2000
_OO_KNOWN = 0x7 | 0x10 | 0x20 | 0x40 | 0x2000 | 0x4000 | 0x8000 | 0x80000
_PMO_SYNCPOINT, _PMO_NEW_MSG, _PMO_NEW_CORREL = 0x2, 0x40, 0x80
_PMO_KNOWN = 0x2 | 0x4 | 0x20 | 0x40 | 0x80 | 0x2000 | 0x4000 | 0x20000
_GMO_WAIT, _GMO_SYNCPOINT, _GMO_ACCEPT_TRUNCATED, _GMO_SYNCPOINT_IF_PERSISTENT = 0x1, 0x2, 0x40, 0x1000
_GMO_NO_PROPERTIES = 0x04000000
_GMO_KNOWN = 0x1 | 0x2 | 0x4 | 0x40 | 0x1000 | 0x2000 | 0x02000000 | _GMO_NO_PROPERTIES | 0x10000000
_FAIL_QUIESCING = 0x2000
_INTEGERS = {3: 'depth', 9: 'inhibit_get', 10: 'inhibit_put', 13: 'max_message_length', 15: 'max_depth', 17: 'inputs',
             18: 'outputs', 22: 'backout_threshold'}  # fmt: skip
_TEXTS = {2016: ('name', 48), 2019: ('backout_queue', 48)}


class CallFailed(Exception):  # noqa: N818 - it becomes a reply
    """The call fails with a reason code. `results`: what the reply holds nevertheless."""

    def __init__(self, reason: int, completion: int = FAILED, results: bytes = b'') -> None:
        super().__init__(reason)
        self.reason, self.completion, self.results = reason, completion, results


class ConnectionBroken(Exception):  # noqa: N818 - it ends a connection
    """The connection is to be closed without a reply."""


class Client:
    """One connection: its open objects and its unit of work."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.received = bytearray()
        self.user, self.is_connected = '', False
        self.objects: dict[int, tuple[Queue | None, int]] = {}  # handle -> queue (None = queue manager), options
        self.unit = UnitOfWork()
        self.pending_get: PendingGet | None = None


class PendingGet:
    """An MQGET that waits for a message."""

    def __init__(self, client: Client, queue: Queue, body: bytes, until: float, options: int) -> None:
        self.client, self.queue, self.body, self.until, self.options = client, queue, body, until, options


class QueueManager:
    """The calls, and the sockets that they come from."""

    def __init__(self, name: str, store: Store) -> None:
        self.name = name
        self.users: dict[str, str] = {}  # user -> password; {} = anybody
        self.channels: dict[str, str] = {}  # channel -> its cipher spec; {} = any channel without TLS
        self.max_uncommitted = 10_000
        self.quiescing = 0  # the reason code that calls get then
        self.is_available = True
        self.faults = Faults()
        self.clients: dict[socket.socket, Client] = {}
        self._pending_gets: dict[str, deque[PendingGet]] = {}
        self._delayed: list[tuple[float, Client, bytes]] = []
        self._next_object = 1
        self.forget: Callable[[socket.socket], object] = _ignore  # called with each socket before it is closed
        self.queues = Queues(store, self._serve_waiters)

    @property
    def delayed(self) -> int:
        """Calls that a test has delayed, and that have not been carried out."""
        return len(self._delayed)

    # -- connections

    def opened(self, connection: socket.socket) -> Client:
        """A client has connected."""
        client = self.clients[connection] = Client(connection)
        return client

    def closed(self, client: Client) -> None:
        """A connection is gone, without MQDISC or after it: what is left of its unit of work is backed out."""
        if self.clients.pop(client.socket, None) is None:
            return
        self._end_get(client)
        for handle in tuple(client.objects):
            self._close(client, handle)
        self.queues.back_out(client.unit)
        self.forget(client.socket)
        client.socket.close()

    def break_connections(self) -> None:
        """Close all connections, as an operator who stops a channel does."""
        for client in tuple(self.clients.values()):
            self.closed(client)

    def quiesce(self, reason: int) -> None:
        """Begin to end in good order (0 = no longer): calls that ask for it fail, waiting ones at once."""
        self.quiescing = reason
        for pending in self._pending_gets.values():
            for get in [one for one in pending if one.options & _FAIL_QUIESCING and reason]:
                self._end_get(get.client)
                self._reply(get.client, FAILED, reason, b'')

    # -- requests

    def received(self, client: Client, data: bytes) -> None:
        """Handle what a client has sent. Raises ConnectionBroken."""
        client.received += data
        while len(client.received) >= 4:
            (length,) = struct.unpack_from('=i', client.received)
            if length < 1 or len(client.received) < 4 + length:
                return
            request = bytes(client.received[4 : 4 + length])
            del client.received[: 4 + length]
            self._request(client, request)

    def run_timers(self, now: float) -> float | None:
        """End waits that are over; return the seconds until the next one ends."""
        for until, client, request in [one for one in self._delayed if one[0] <= now]:
            self._delayed.remove((until, client, request))
            if client.socket in self.clients:
                try:
                    self._handle(client, request)
                except ConnectionBroken:
                    self.closed(client)
        gets = [one for pending in self._pending_gets.values() for one in pending]
        for get in [one for one in gets if one.until <= now]:
            self._end_get(get.client)
            self._reply(get.client, FAILED, NO_MSG, b'')
        ends = [one.until for one in gets if one.until > now] + [one[0] for one in self._delayed]
        return max(0.0, min(ends) - now) if ends else None

    def _request(self, client: Client, request: bytes) -> None:
        delay = self.faults.delay(CALLS[request[0]])
        if delay:
            self._delayed.append((time.monotonic() + delay, client, request))
        else:
            self._handle(client, request)

    def _handle(self, client: Client, request: bytes) -> None:
        operation, body = request[0], request[1:]
        fault = self.faults.take(CALLS[operation])
        if fault is not None and not fault.after:
            if fault.reason == CONNECTION_BROKEN:
                raise ConnectionBroken
            if fault.reason == BACKED_OUT:
                self.queues.back_out(client.unit)
            completion = WARNING if fault.reason == BACKED_OUT and CALLS[operation] == 'MQCMIT' else FAILED
            self._reply(client, completion, fault.reason, b'')
            return
        try:
            results = getattr(self, '_' + CALLS[operation].lower())(client, body)
        except CallFailed as failed:
            self._reply(client, failed.completion, failed.reason, failed.results)
            return
        if fault is not None:
            raise ConnectionBroken
        if results is not None:  # else the call waits
            self._reply(client, OK, 0, results)

    def _reply(self, client: Client, completion: int, reason: int, results: bytes) -> None:
        reply = struct.pack('=iii', 8 + len(results), completion, reason) + results
        try:
            client.socket.sendall(reply)
        except OSError:
            self.closed(client)

    def _refuse_when_quiescing(self, options: int) -> None:
        if self.quiescing and options & _FAIL_QUIESCING:
            raise CallFailed(self.quiescing)

    # -- calls

    def _mqconnx(self, client: Client, body: bytes) -> bytes:
        name, channel = name_of(body[:48]), name_of(body[52:72])
        cipher = name_of(body[72:104])
        (size,) = struct.unpack_from('=i', body, 104)
        user = body[108 : 108 + size].decode('utf-8', 'replace')
        password = body[112 + size :].decode('utf-8', 'replace')
        if not self.is_available:
            raise CallFailed(Q_MGR_NOT_AVAILABLE)
        if name not in ('', '*', self.name):
            raise CallFailed(Q_MGR_NAME_ERROR)
        if self.channels and channel not in self.channels:
            raise CallFailed(UNKNOWN_CHANNEL)
        if self.channels.get(channel, '') != cipher:
            raise CallFailed(SSL_INITIALIZATION)
        if self.users and self.users.get(user) != password:
            raise CallFailed(NOT_AUTHORIZED)
        if self.quiescing:
            raise CallFailed(self.quiescing)
        client.user, client.is_connected = user, True
        return b''

    def _mqdisc(self, client: Client, body: bytes) -> bytes:
        self.queues.commit(client.unit)  # as the published interface says
        return b''

    def _mqopen(self, client: Client, body: bytes) -> bytes:
        (options,) = struct.unpack_from('=i', body)
        descriptor = bytearray(body[4:])
        self._refuse_when_quiescing(options)
        if options & ~_OO_KNOWN:
            raise CallFailed(OPTIONS_ERROR)
        queue = self._find(descriptor, client)
        if queue is not None:
            self._begin_input(client, queue, options)
            queue.outputs += bool(options & _OO_OUTPUT)
        handle, self._next_object = self._next_object, self._next_object + 1
        client.objects[handle] = queue, options
        return struct.pack('=i', handle) + bytes(descriptor)

    def _find(self, descriptor: bytearray, client: Client) -> Queue | None:
        type_ = get_long(descriptor, 8)
        if type_ == 5:  # the queue manager itself
            return None
        if type_ != 1:
            raise CallFailed(OBJECT_TYPE_ERROR)
        queue = self.queues.by_name.get(name_of(bytes(descriptor[12:60])))
        if queue is None or name_of(bytes(descriptor[60:108])) not in ('', self.name):
            raise CallFailed(UNKNOWN_OBJECT)
        if client.user in queue.attributes['denied_users']:
            raise CallFailed(NOT_AUTHORIZED)
        return queue

    @staticmethod
    def _begin_input(client: Client, queue: Queue, options: int) -> None:
        if not options & _OO_INPUT:
            return
        exclusive = bool(options & _OO_EXCLUSIVE) or (bool(options & 1) and bool(queue.attributes['exclusive']))
        if queue.exclusive_owner is not None or (exclusive and queue.inputs):
            raise CallFailed(OBJECT_IN_USE)
        if exclusive:
            queue.exclusive_owner = client
        queue.inputs += 1

    def _mqclose(self, client: Client, body: bytes) -> bytes:
        (handle,) = struct.unpack_from('=i', body)
        if handle not in client.objects:
            raise CallFailed(HOBJ_ERROR)
        self._close(client, handle)
        return b''

    @staticmethod
    def _close(client: Client, handle: int) -> None:
        queue, options = client.objects.pop(handle)
        if queue is None:
            return
        queue.outputs -= bool(options & _OO_OUTPUT)
        if options & _OO_INPUT:
            queue.inputs -= 1
            if queue.exclusive_owner is client:
                queue.exclusive_owner = None

    def _mqput(self, client: Client, body: bytes) -> bytes:
        (handle,) = struct.unpack_from('=i', body)
        queue, options = client.objects.get(handle, (None, 0))
        if queue is None:
            raise CallFailed(HOBJ_ERROR)
        if not options & _OO_OUTPUT:
            raise CallFailed(NOT_OPEN_FOR_OUTPUT)
        return self._put(client, queue, body[4:])

    def _mqput1(self, client: Client, body: bytes) -> bytes:
        queue = self._find(bytearray(body[:168]), client)
        if queue is None:
            raise CallFailed(OBJECT_TYPE_ERROR)
        return self._put(client, queue, body[168:])

    def _put(self, client: Client, queue: Queue, body: bytes) -> bytes:
        (size,) = struct.unpack_from('=i', body)
        given = body[4 : 4 + size]
        options = bytearray(body[4 + size : 132 + size])
        data = body[136 + size :]
        flags, attributes = get_long(options, 8), queue.attributes
        self._refuse_when_quiescing(flags)
        if flags & ~_PMO_KNOWN:
            raise CallFailed(OPTIONS_ERROR)
        if attributes['inhibit_put']:
            raise CallFailed(PUT_INHIBITED)
        if len(data) > attributes['max_message_length']:
            raise CallFailed(MSG_TOO_BIG)
        if queue.depth >= attributes['max_depth']:
            raise CallFailed(Q_FULL)
        unit = client.unit if flags & _PMO_SYNCPOINT else None
        if unit is not None and len(unit) >= self.max_uncommitted:
            raise CallFailed(SYNCPOINT_LIMIT)
        sequence = self.queues.next_sequence()
        defaults = {'priority': attributes['priority'], 'persistence': attributes['persistence'], 'ccsid': 1208}
        descriptor = md.complete(given, sequence, qmgr=self.name, user=client.user, defaults=defaults,
                                 new_msg_id=bool(flags & _PMO_NEW_MSG), new_correl_id=bool(flags & _PMO_NEW_CORREL))
        message = StoredMessage(queue.name, sequence, bytes(descriptor), data, md.expiry_time(descriptor))
        self.queues.put(queue, message, unit)
        options[32:80] = padded(queue.name, 48)
        options[80:128] = padded(self.name, 48)
        return bytes(descriptor[:size]) + bytes(options)

    def _mqget(self, client: Client, body: bytes) -> bytes | None:
        (handle,) = struct.unpack_from('=i', body)
        queue, opened = client.objects.get(handle, (None, 0))
        if queue is None:
            raise CallFailed(HOBJ_ERROR)
        if not opened & _OO_INPUT:
            raise CallFailed(NOT_OPEN_FOR_INPUT)
        (size,) = struct.unpack_from('=i', body, 8)
        options = body[16 + size :]
        flags, wait = struct.unpack_from('=ii', options, 8)
        self._refuse_when_quiescing(flags)
        if flags & ~_GMO_KNOWN:
            raise CallFailed(OPTIONS_ERROR)
        result = self._try_get(client, queue, body)
        if result is None:
            if not flags & _GMO_WAIT:
                raise CallFailed(NO_MSG)
            until = time.monotonic() + wait / 1000 if wait >= 0 else float('inf')
            client.pending_get = PendingGet(client, queue, body, until, flags)
            self._pending_gets.setdefault(queue.name, deque()).append(client.pending_get)
        return result

    def _try_get(self, client: Client, queue: Queue, body: bytes) -> bytes | None:
        """The results of MQGET; None = there is no message."""
        capacity, size = struct.unpack_from('=ii', body, 4)
        given = body[12 : 12 + size]
        options = bytearray(body[16 + size :])
        flags = get_long(options, 8)
        if queue.attributes['inhibit_get']:
            raise CallFailed(GET_INHIBITED)
        message = queue.take(_match_of(given, options), time.time())
        if message is None:
            return None
        unit = client.unit if flags & _GMO_SYNCPOINT or (
            flags & _GMO_SYNCPOINT_IF_PERSISTENT and message.is_persistent) else None  # fmt: skip
        descriptor, data = message.descriptor, message.data
        if flags & _GMO_NO_PROPERTIES:
            descriptor, data = md.without_properties(descriptor, data)
        options[24:72] = padded(queue.name, 48)
        head = bytes(descriptor[:size]) + bytes(options) + struct.pack('=i', len(data))
        results = head + data[:capacity]
        if len(data) > capacity and not flags & _GMO_ACCEPT_TRUNCATED:
            queue.add(message)
            raise CallFailed(TRUNCATED_FAILED, WARNING, results)
        if unit is not None and len(unit) >= self.max_uncommitted:
            queue.add(message)
            raise CallFailed(SYNCPOINT_LIMIT)
        self.queues.got(queue, message, unit)
        if len(data) > capacity:
            raise CallFailed(TRUNCATED_ACCEPTED, WARNING, results)
        return results

    def _serve_waiters(self, queue: Queue) -> None:
        """A queue has changed: messages may have come, or MQGET may be inhibited."""
        for get in tuple(self._pending_gets.get(queue.name, ())):
            client = get.client
            try:
                results = self._try_get(client, queue, get.body)
            except CallFailed as failed:
                self._end_get(client)
                self._reply(client, failed.completion, failed.reason, failed.results)
                continue
            if results is not None:
                self._end_get(client)
                self._reply(client, OK, 0, results)

    def _end_get(self, client: Client) -> None:
        get, client.pending_get = client.pending_get, None
        if get is not None:
            self._pending_gets[get.queue.name].remove(get)

    def _mqcmit(self, client: Client, body: bytes) -> bytes:
        self.queues.commit(client.unit)
        return b''

    def _mqback(self, client: Client, body: bytes) -> bytes:
        self.queues.back_out(client.unit)
        return b''

    def _mqinq(self, client: Client, body: bytes) -> bytes:
        handle, integers, text_length, size = struct.unpack_from('=iiii', body)
        if handle not in client.objects:
            raise CallFailed(HOBJ_ERROR)
        queue = client.objects[handle][0]
        found_integers, found_text = b'', b''
        for selector in struct.unpack_from(f'={size // 4}i', body, 16):
            value = self._attribute(queue, selector)
            if isinstance(value, int):
                found_integers += struct.pack('=i', value)
            else:
                found_text += value
        if len(found_integers) != 4 * integers:
            raise CallFailed(SELECTOR_ERROR)
        return found_integers + found_text[:text_length].ljust(text_length, b'\0')

    def _attribute(self, queue: Queue | None, selector: int) -> int | bytes:
        if queue is None:
            values: dict[int, int | bytes] = {2: 1208, 31: 920, 32: 3, 2015: padded(self.name, 48)}
            if selector not in values:
                raise CallFailed(SELECTOR_ERROR)
            return values[selector]
        if selector in _TEXTS:
            name, length = _TEXTS[selector]
            return padded(str(queue.attributes.get(name, getattr(queue, name, ''))), length)
        if selector not in _INTEGERS:
            raise CallFailed(SELECTOR_ERROR)
        name = _INTEGERS[selector]
        value: int = queue.attributes[name] if name in queue.attributes else getattr(queue, name)
        return value

    def _mqset(self, client: Client, body: bytes) -> bytes:
        handle, size = struct.unpack_from('=ii', body)
        queue = client.objects.get(handle, (None, 0))[0]
        if queue is None:
            raise CallFailed(HOBJ_ERROR)
        selectors = struct.unpack_from(f'={size // 4}i', body, 8)
        values = struct.unpack_from(f'={len(selectors)}i', body, 12 + size) if len(body) >= 12 + 2 * size else ()
        if len(values) != len(selectors) or any(selector not in (9, 10) for selector in selectors):
            raise CallFailed(SELECTOR_ERROR)
        self.queues.define(queue.name, {_INTEGERS[selector]: value
                                        for selector, value in zip(selectors, values, strict=True)})
        return b''


def _ignore(connection: socket.socket) -> None:
    """Nobody watches the socket."""


def _match_of(given: bytes, options: bytearray) -> Any:
    matched = get_long(options, 72) if get_long(options, 4) >= 2 else 3
    msg_id = given[md.MSG_ID : md.MSG_ID + md.ID_LENGTH] if matched & 1 else md.NO_ID
    correl_id = given[md.CORREL_ID : md.CORREL_ID + md.ID_LENGTH] if matched & 2 else md.NO_ID
    return make_match(b'' if msg_id == md.NO_ID else msg_id, b'' if correl_id == md.NO_ID else correl_id)


def serve(qmgr: QueueManager, directory: Path, port: int) -> None:
    """Serve clients and tests, until the process is killed."""
    selector = selectors.DefaultSelector()
    control = ControlServer(qmgr)
    qmgr.forget = selector.unregister
    for suffix, opened in (('sock', qmgr.opened), ('control', control.opened)):
        path = directory / f'{port}.{suffix}'
        path.unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(0o777)
        listening.listen(128)
        selector.register(listening, selectors.EVENT_READ, opened)
    while True:
        for key, _ in selector.select(qmgr.run_timers(time.monotonic())):
            source: Any = key.fileobj
            if callable(key.data):
                connection, _ = source.accept()
                selector.register(connection, selectors.EVENT_READ, key.data(connection))
                continue
            _read(qmgr, control, selector, key)


def _read(qmgr: QueueManager, control: ControlServer, selector: selectors.BaseSelector, key: Any) -> None:
    source, client = key.fileobj, key.data
    if source.fileno() < 0:  # closed by a request before this one
        return
    owner: Any = qmgr if isinstance(client, Client) else control
    try:
        data = source.recv(1 << 20)
        if data:
            owner.received(client, data)
            return
    except (OSError, ConnectionBroken):
        pass
    if owner is control:
        selector.unregister(source)
    owner.closed(client)


def main() -> None:
    """Run one queue manager."""
    parser = argparse.ArgumentParser(description='A queue manager for tests.')
    parser.add_argument('--name', required=True)
    parser.add_argument('--directory', type=Path, required=True)
    parser.add_argument('--port', type=int, required=True)
    parser.add_argument('--store', required=True)
    given = parser.parse_args()
    os.umask(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(QueueManager(given.name, Store(given.store)), given.directory, given.port)


if __name__ == '__main__':
    main()
