"""ZeroMQ sockets that are integrated with the reactor. This is the only module that imports txZMQ and pyzmq.

txZMQ's connection reads until its socket is empty, which can take seconds, does not notice that a socket takes messages
again, and uses the global reactor. ReactorSocket replaces these parts: it reads for a few milliseconds and lets the
reactor continue, can be paused, tells when it is writable, and has a monitor that knows its peers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import zmq
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from txzmq import ZmqConnection, ZmqFactory

from zatotx.connectors.failure_log import FailureLog
from zatotx.plugins.zmq.addresses import decode_key
from zatotx.plugins.zmq.peer_state import MonitorEvent, PeerState
from zatotx.plugins.zmq.schema import CurveKeys

READ_BUDGET = 0.005  # seconds that a socket is read before other work of the reactor has its turn
MAX_FRAMES = 1000  # of one message
ERROR_PAUSE = 1.0  # seconds after an error of a socket that nobody expects
RECONNECT, MAX_RECONNECT = 0.1, 1.0  # seconds between attempts to connect: the first pause, and the longest
HANDSHAKE_TIMEOUT = 10.0  # seconds
LAST_LINGER = 1.0  # seconds for which ZeroMQ still sends what it has taken when a socket is closed
END_TIMEOUT = LAST_LINGER + 4.0  # seconds that the end of a context may take
ZAP_ADDRESS = 'inproc://zeromq.zap.01'  # ZeroMQ RFC 27
_KEEPALIVE = (60, 10, 3)  # seconds of silence, seconds between probes, probes

# What a channel of ours is called, and the socket type that implements it: a DEALER can have many requests under way,
# and a ROUTER can process many at once, where REQ and REP have one at a time. They are the same on the wire.
_IMPLEMENTATIONS = {'REQ': zmq.DEALER, 'REP': zmq.ROUTER}

Receive = Callable[[list[bytes]], None]


def _ignore(frames: list[bytes]) -> None:
    """For sockets that only send."""


class SocketError(Exception):
    """A socket cannot be opened. The message gives the reason, for users."""


@frozen(kw_only=True)
class SocketSpec:
    """The parameters with which a socket is opened. Two configuration objects with equal parameters can use the same
    socket."""

    socket_type: str
    is_bound: bool  # whether it listens on its addresses
    addresses: tuple[str, ...]
    prefixes: tuple[bytes, ...] = ()  # that SUB subscribes to
    send_hwm: int = 100
    receive_hwm: int = 100
    max_message_size: int
    heartbeat: float = 0.0  # seconds; 0 = none
    is_immediate: bool = False  # whether messages wait until a peer is connected (ZMQ_IMMEDIATE)
    server_key: str = ''
    secret_key: str = ''
    client_keys: tuple[str, ...] = ()
    accepts_any_client: bool = False

    def __repr__(self) -> str:
        return f'SocketSpec({self.socket_type}, {", ".join(self.addresses)})'


def curve_of(value: CurveKeys) -> dict[str, Any]:
    """Return the CURVE arguments of SocketSpec for the keys of a configuration object."""
    return {'server_key': value.curve_server_key, 'secret_key': value.curve_secret_key,
            'client_keys': tuple(value.curve_client_keys), 'accepts_any_client': value.curve_any_client}  # fmt: skip


class SocketFactory(ZmqFactory):  # type: ignore[misc]  # txZMQ has no types
    """The ZeroMQ context of a process, with its I/O thread and the ZAP handler that authenticates CURVE clients."""

    lingerPeriod = 0
    _log = Logger()

    def __init__(self, reactor: Any, run_in_thread: Callable[..., Deferred[Any]]) -> None:
        super().__init__()
        self.reactor = reactor
        self.numbers = count()
        self._run_in_thread = run_in_thread
        self._zap: ZapHandler | None = None
        self.is_ended = False

    @property
    def zap(self) -> ZapHandler:
        """The ZAP handler, which is there from the first use on."""
        if self._zap is None:
            self._zap = ZapHandler(self)
        return self._zap

    def end(self) -> Deferred[None]:
        """Close all sockets. Fires when ZeroMQ has sent what sockets that linger had left, or gave it up, at the latest
        after END_TIMEOUT."""
        for connection in tuple(self.connections):
            connection.shutdown()
        if self.is_ended:
            return succeed(None)
        self.is_ended = True
        ended: Deferred[None] = self._run_in_thread(self.context.term)
        return ended.addTimeout(END_TIMEOUT, self.reactor, self._end_overdue)

    def _end_overdue(self, result: Any, seconds: float) -> None:
        self._log.error('ZeroMQ has not closed its sockets within {seconds} s: the process ends without waiting for it',
                        seconds=seconds)  # fmt: skip


class ReactorSocket(ZmqConnection):  # type: ignore[misc]  # txZMQ has no types
    """A ZeroMQ socket in the reactor. `received` is called with each message; `writable`, if given, is called when the
    socket can send again after `try_send` returned False. Raises SocketError."""

    _log = Logger()

    def __init__(self, factory: SocketFactory, socket_type: int, received: Receive | None, *, send_hwm: int = 1000,
                 receive_hwm: int = 1000, max_message_size: int = -1,
                 writable: Callable[[], None] | None = None) -> None:  # fmt: skip
        self.socketType = socket_type
        self.reconnectInterval = int(RECONNECT * 1000)
        self.reconnectIntervalMax = int(MAX_RECONNECT * 1000)
        self.is_paused = received is None  # ZeroMQ rejects reading from PUSH and PUB
        self.oversized = 0  # messages that were dropped because of their size
        self._received = received or _ignore
        self._writable = writable
        self._is_blocked = False  # the socket did not take a message
        self._turn: IDelayedCall | None = None
        self._max_message_size = max_message_size
        if factory.is_ended:  # a socket that nobody closes would keep the context from ending
            raise SocketError('it is being closed')
        try:
            super().__init__(factory)
        except zmq.ZMQError as error:
            raise SocketError(f'ZeroMQ gives no further socket: {error.strerror}') from None
        self.socket.set(zmq.SNDHWM, send_hwm)
        self.socket.set(zmq.RCVHWM, receive_hwm)
        if max_message_size > 0:
            self.socket.set(zmq.MAXMSGSIZE, max_message_size)

    def pause(self) -> None:
        """Read no further messages."""
        self.is_paused = True

    def resume(self) -> None:
        """Read messages again."""
        if self.is_paused:
            self.is_paused = False
            self.schedule()

    def read_message(self) -> list[bytes] | None:
        """Return a message that ZeroMQ has received, or None where there is none."""
        while True:
            try:
                frames = self._read()
            except zmq.Again:
                return None
            if frames is not None:
                return frames

    def try_send(self, frames: Sequence[bytes]) -> bool:
        """Give a message to the socket. Returns False where it takes none now. Raises OSError where the peer that the
        message is for is gone (ROUTER)."""
        sent = 0
        last = len(frames) - 1
        try:
            for frame in frames:
                self.socket.send(frame, zmq.NOBLOCK | (zmq.SNDMORE if sent < last else 0))
                sent += 1
        except zmq.Again:
            self._is_blocked = True
            if sent:  # the peer went away between two frames: ZeroMQ drops the rest of such a message
                self._finish_dropped(frames[sent + 1 :])
            return False
        except zmq.ZMQError as error:
            raise OSError(error.errno, error.strerror) from None
        finally:
            self.schedule()  # sending may have consumed the signal that there is something to read
        return True

    def doRead(self) -> None:
        """See IReadDescriptor. Called when the socket has events, and by `schedule`. The reactor would give up a
        descriptor whose method raises."""
        try:
            self._read_messages()
        except Exception:
            self._log.failure('A ZeroMQ socket cannot be read now')
            if self._turn is None and self.factory is not None:
                self._turn = self.factory.reactor.callLater(ERROR_PAUSE, self.doRead)

    def _read_messages(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn.active():
            turn.cancel()
        if self.factory is None:
            return
        seconds = self.factory.reactor.seconds
        end = seconds() + READ_BUDGET
        while not self.is_paused:
            try:
                frames = self._read()
            except zmq.Again:
                break
            if frames is not None:
                try:
                    self._received(frames)
                except Exception:
                    self._log.failure('A message of ZeroMQ could not be handled')
            if self.factory is None:  # `received` closed the socket
                return
            if seconds() >= end:
                self.schedule()
                return
        self._handle_events()

    def shutdown(self, linger: float = 0.0) -> None:
        """Close the socket. `linger`: seconds for which ZeroMQ still sends what it has taken."""
        if self.socket is None:
            return
        if self._turn is not None and self._turn.active():
            self._turn.cancel()
        self._turn = None
        self.socket.set(zmq.LINGER, int(linger * 1000))
        super().shutdown()

    def _read(self) -> list[bytes] | None:
        """Return the next message, or None for one that is too large. Raises Again where there is none."""
        socket = self.socket
        frames = [socket.recv(zmq.NOBLOCK)]
        if not socket.get(zmq.RCVMORE):
            return frames
        size = len(frames[0])
        while socket.get(zmq.RCVMORE):
            frame = socket.recv(zmq.NOBLOCK)
            size += len(frame)
            if len(frames) < MAX_FRAMES:
                frames.append(frame)
            else:
                size = max(size, self._max_message_size + 1)
            if 0 < self._max_message_size < size:
                frames = frames[:1]
        if 0 < self._max_message_size < size:
            self.oversized += 1
            return None
        return frames

    def _handle_events(self) -> None:
        """Process the commands of ZeroMQ's threads, which also resets the descriptor."""
        events = self.socket.get(zmq.EVENTS)
        if events & zmq.POLLIN and not self.is_paused:
            self.schedule()
        if self._is_blocked and events & zmq.POLLOUT:
            self._is_blocked = False
            if self._writable is not None:
                self._writable()

    def schedule(self) -> None:
        """Look for events in the next turn of the reactor."""
        if self._turn is None and self.factory is not None:
            self._turn = self.factory.reactor.callLater(0, self.doRead)

    def _finish_dropped(self, rest: Sequence[bytes]) -> None:
        for index, frame in enumerate(rest):
            with suppress(zmq.ZMQError):
                self.socket.send(frame, zmq.NOBLOCK | (zmq.SNDMORE if index < len(rest) - 1 else 0))


class MonitoredSocket(ReactorSocket):
    """A socket of a channel or connection whose peers are monitored. It is opened with its SocketSpec. When peers
    cannot connect, the reason is logged once per change; `title` names the object in log messages. The function
    `changed`, if given, is called when `peers` has changed. Raises SocketError."""

    def __init__(
        self, factory: SocketFactory, title: str, spec: SocketSpec, received: Receive | None, *,
        changed: Callable[[], None] | None = None, writable: Callable[[], None] | None = None,
    ) -> None:
        self.spec = spec
        self.is_bound_now = spec.is_bound
        self._zap_domain = b''
        self._monitor: ReactorSocket | None = None
        self._reconnecting: IDelayedCall | None = None
        self._changed = changed
        self._peer_log = FailureLog(title, factory.reactor.seconds)
        self.peers = PeerState(factory.reactor.seconds, self._peers_changed)
        super().__init__(
            factory, _IMPLEMENTATIONS.get(spec.socket_type) or getattr(zmq, spec.socket_type), received,
            send_hwm=spec.send_hwm, receive_hwm=spec.receive_hwm, max_message_size=spec.max_message_size,
            writable=writable,
        )  # fmt: skip
        try:
            self._set_options()
            self._monitor = self._start_monitor()
            for address in spec.addresses:
                self._open(address)
            self.schedule()
        except BaseException:
            self.shutdown()
            raise

    def unbind(self) -> None:
        """Stop listening, so that another socket can use the addresses. ZeroMQ disconnects the peers that came by them;
        what it has received from them can still be read."""
        if self.is_bound_now and self.socket is not None:
            self.is_bound_now = False
            for address in self.spec.addresses:
                with suppress(zmq.ZMQError):
                    self.socket.unbind(address)
            self.schedule()

    def shutdown(self, linger: float = 0.0) -> None:
        """See ReactorSocket."""
        if self.socket is None:
            return
        if self._reconnecting is not None and self._reconnecting.active():
            self._reconnecting.cancel()
        if self._zap_domain:
            self.factory.zap.forget(self._zap_domain)
        monitor, self._monitor = self._monitor, None
        if monitor is not None:
            self.socket.disable_monitor()
            monitor.shutdown()
        super().shutdown(linger)

    def _set_options(self) -> None:
        spec, socket = self.spec, self.socket
        idle, interval, probes = _KEEPALIVE
        has_ipv6 = any('[' in address for address in spec.addresses)  # otherwise names are resolved to IPv4 addresses
        for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, idle),
                              (zmq.TCP_KEEPALIVE_INTVL, interval), (zmq.TCP_KEEPALIVE_CNT, probes),
                              (zmq.HANDSHAKE_IVL, int(HANDSHAKE_TIMEOUT * 1000)),
                              (zmq.IMMEDIATE, int(spec.is_immediate)), (zmq.IPV6, int(has_ipv6)),
                              (zmq.LINGER, int(LAST_LINGER * 1000))):  # fmt: skip
            socket.set(option, value)
        if spec.heartbeat:
            socket.set(zmq.HEARTBEAT_IVL, int(spec.heartbeat * 1000))
            socket.set(zmq.HEARTBEAT_TIMEOUT, int(spec.heartbeat * 1000))
        if self.socketType == zmq.ROUTER:
            socket.set(zmq.ROUTER_MANDATORY, 1)
        for prefix in spec.prefixes:
            socket.set(zmq.SUBSCRIBE, prefix)
        if spec.secret_key:
            self._set_curve()

    def _set_curve(self) -> None:
        spec, socket = self.spec, self.socket
        secret = spec.secret_key.encode('ascii')
        socket.set(zmq.CURVE_SECRETKEY, secret)
        if spec.server_key:
            socket.set(zmq.CURVE_PUBLICKEY, zmq.curve_public(secret))
            socket.set(zmq.CURVE_SERVERKEY, spec.server_key.encode('ascii'))
            return
        socket.set(zmq.CURVE_SERVER, 1)
        self._zap_domain = b'zatotx-%d' % next(self.factory.numbers)
        socket.set(zmq.ZAP_DOMAIN, self._zap_domain)
        keys = None if spec.accepts_any_client else frozenset(map(decode_key, spec.client_keys))
        self.factory.zap.allow(self._zap_domain, keys)

    def _start_monitor(self) -> ReactorSocket:
        address = f'inproc://zatotx-monitor-{next(self.factory.numbers)}'
        self.socket.monitor(address, sum(MonitorEvent))
        monitor = ReactorSocket(self.factory, zmq.PAIR, self.peers.handle)
        monitor.socket.connect(address)
        monitor.schedule()
        return monitor

    def _open(self, address: str) -> None:
        try:
            if self.spec.is_bound:
                self.socket.bind(address)
            else:
                self.socket.connect(address)
        except zmq.ZMQError as error:
            reason = 'the address is in use' if error.errno == zmq.EADDRINUSE else error.strerror
            verb = 'listen on' if self.spec.is_bound else 'connect to'
            raise SocketError(f'it cannot {verb} {address}: {reason}') from None

    def _peers_changed(self) -> None:
        if self.peers.ended and not self.spec.is_bound and self._reconnecting is None:
            self._reconnecting = self.factory.reactor.callLater(MAX_RECONNECT, self._reconnect)
        failure, log = self.peers.failure, self._peer_log
        if failure and failure != log.cause:
            log.failed(failure)
        elif log.cause and not failure:
            log.recovered()
        if self._changed is not None:
            self._changed()

    def _reconnect(self) -> None:
        """Connect again to the addresses that ZeroMQ has given up, as it does for peers of another type."""
        self._reconnecting = None
        ended, self.peers.ended = self.peers.ended, set()
        for address in ended.intersection(self.spec.addresses):
            with suppress(zmq.ZMQError):  # it is disconnected
                self.socket.disconnect(address)
            with suppress(zmq.ZMQError):
                self.socket.connect(address)
        self.schedule()


class ZapHandler:
    """Authenticates the CURVE clients of a context's sockets (ZeroMQ RFC 27). If no handler is installed, ZeroMQ
    accepts every CURVE client."""

    def __init__(self, factory: SocketFactory) -> None:
        self._allowed: dict[bytes, frozenset[bytes] | None] = {}  # by domain; None = clients with any key
        self._socket = ReactorSocket(factory, zmq.ROUTER, self._handle)
        self._socket.socket.bind(ZAP_ADDRESS)
        self._socket.schedule()

    def allow(self, domain: bytes, keys: frozenset[bytes] | None) -> None:
        """Accept clients with these public keys in the domain, which is that of one socket. None = with any."""
        self._allowed[domain] = keys

    def forget(self, domain: bytes) -> None:
        """Accept nobody in the domain."""
        self._allowed.pop(domain, None)

    def _handle(self, frames: list[bytes]) -> None:
        if len(frames) < 8:
            return
        identity, _, version, request_id, domain, _, _, mechanism, *credentials = frames
        allowed = self._allowed.get(domain, frozenset())
        is_accepted = mechanism == b'CURVE' and (allowed is None or credentials[0] in allowed)
        status = (b'200', b'OK') if is_accepted else (b'400', b'Unknown key')
        with suppress(OSError):  # the client is gone
            self._socket.try_send([identity, b'', version, request_id, *status, b'', b''])


def make_key_pair() -> tuple[str, str]:
    """Generate a CURVE key pair. Returns the public key and the secret key, encoded in Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode('ascii'), secret.decode('ascii')


