"""Announcements to the nodes of a cluster, which are published over Redis pub/sub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import ICommands, IPubSub
from zatotx.redis.error_conversion import describe_error
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.reconnecting_connection import ConnectionLog, ReconnectingConnection, ReconnectingServiceBase
from zatotx.redis.redis_url import RedisAddress

MAX_MESSAGE_LENGTH = 65_536  # characters; nodes announce nothing longer
MESSAGE_VERSION = 1  # of the announcements that this version of zatotx understands; it ignores those of higher ones
_VERSION_MARK = '\x02'  # begins announcements of higher versions: the mark, the version, the mark, the text


def announcement_version(message: str) -> int:
    """Return the version of an announcement, which is the version at its beginning, or 1 by default. A change that
    older nodes would misunderstand needs a higher version. Older nodes learn from the ODB's revision that the
    configuration has changed."""
    if not message.startswith(_VERSION_MARK):
        return 1
    number, found, _ = message[1:].partition(_VERSION_MARK)
    return int(number) if found and number.isascii() and number.isdigit() else MESSAGE_VERSION + 1


@implementer(IPubSub)
class RedisPubSub(ReconnectingServiceBase):
    """Implements IPubSub. Announcements are received on a dedicated connection, and published over the client's
    connection.

    Subscriptions are renewed after every reconnect; messages published in between are lost. A PING every `timeout`
    seconds detects a connection that no longer responds.
    """

    _log = Logger()

    def __init__(
        self, reactor: IReactor, address: RedisAddress, client: ICommands, *, cluster: str, timeout: float = 5.0,
        name: str = '', connection_log: ConnectionLog | None = None,
    ) -> None:
        """`reactor`: as for the client, whose `connection_log` should be passed, too."""
        super().__init__(
            ReconnectingConnection(
                reactor,
                address,
                timeout=timeout,
                name=name,
                connection_log=connection_log,
                prepare=self._resubscribe,
                on_message=self._received,
            )
        )
        self._client = client
        self._keys = RedisKeys(cluster)
        self._timeout = timeout
        self._listeners: dict[str, list[Callable[[str], None]]] = {}  # channel -> its listeners
        self._ping_loop = LoopingCall(self._ping)
        self._ping_loop.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._ping_loop.start(self._timeout, now=False)

    def stopService(self) -> Deferred[None]:
        if self._ping_loop.running:
            self._ping_loop.stop()
        return super().stopService()

    def publish(self, topic: str, message: str) -> Deferred[None]:
        """See IBus."""
        published = self._client.execute('PUBLISH', self._keys.channel(topic), message)
        return published.addCallback(lambda _: None)

    def subscribe(self, topic: str, callback: Callable[[str], None]) -> None:
        """See IBus."""
        channel = self._keys.channel(topic)
        listeners = self._listeners.setdefault(channel, [])
        listeners.append(callback)
        if len(listeners) == 1 and self._connection.protocol is not None:
            self._send(self._connection.protocol, 'SUBSCRIBE', channel)

    async def _resubscribe(self, protocol: Any) -> None:
        # One command per channel: each is confirmed by one reply, so that replies match commands.
        subscribed: set[str] = set()
        while missing := self._listeners.keys() - subscribed:  # repeated, because a topic may be added during the wait
            for channel in missing:
                await protocol.send_command('SUBSCRIBE', channel)
            subscribed |= missing

    def _ping(self) -> None:
        if self._connection.protocol is not None:
            self._send(self._connection.protocol, 'PING')

    def _send(self, protocol: Any, *words: str) -> None:
        """Send a command, and replace the connection if it fails."""

        def failed(failure: Any) -> None:
            if self._connection.protocol is protocol:
                self._connection.drop_connection(
                    protocol, f'{words[0]} failed: {describe_error(failure.value, self._timeout)}'
                )

        protocol.send_command(*words).addErrback(failed)

    def _received(self, channel: object, message: object) -> None:
        listeners = self._listeners.get(channel, ()) if isinstance(channel, str) else ()
        if not isinstance(message, str) or len(message) > MAX_MESSAGE_LENGTH:
            self._log.warn('A message on {channel} is not an announcement and is ignored', channel=channel)
            return
        if announcement_version(message) > MESSAGE_VERSION:
            self._log.debug('An announcement on {channel} is of a newer version and is left to others', channel=channel)
            return
        for listener in tuple(listeners):
            try:
                listener(message)
            except Exception:
                self._log.failure('An announcement on {channel} could not be processed', channel=channel)
