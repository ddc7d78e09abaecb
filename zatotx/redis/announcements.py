"""Announcements to the nodes of a cluster, over Redis pub/sub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.redis_client import IBus, ICommands
from zatotx.redis.errors import clause
from zatotx.redis.keys import Keys
from zatotx.redis.reconnecting_connection import ConnectionService, ReconnectingConnection
from zatotx.redis.status_log import ConnectionLog
from zatotx.redis.url import RedisAddress

LONGEST_MESSAGE = 65_536  # characters; what is longer was not announced by a node


@implementer(IBus)
class RedisAnnouncements(ConnectionService):
    """Hears on a connection of its own, speaks through the client's.

    Subscriptions are taken up again after every reconnect; what was announced in between is not heard. A connection
    that fell silent is found by asking it every `timeout` seconds.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, address: RedisAddress, client: ICommands, *, cluster: str, timeout: float = 5.0,
        name: str = '', voice: ConnectionLog | None = None,
    ) -> None:
        """`reactor`: as the client's, whose `voice` should be given too."""
        super().__init__(ReconnectingConnection(
            reactor, address, timeout=timeout, name=name, voice=voice, prepare=self._resubscribe, heard=self._received
        ))
        self._client = client
        self._keys = Keys(cluster)
        self._timeout = timeout
        self._heard: dict[str, list[Callable[[str], None]]] = {}  # channel -> whom to tell
        self._pulse = LoopingCall(self._look)
        self._pulse.clock = reactor

    def startService(self) -> None:
        super().startService()
        self._pulse.start(self._timeout, now=False)

    def stopService(self) -> Deferred[None]:
        if self._pulse.running:
            self._pulse.stop()
        return super().stopService()

    def announce(self, topic: str, message: str) -> Deferred[None]:
        """See IBus."""
        published = self._client.execute('PUBLISH', self._keys.topic(topic), message)
        return published.addCallback(lambda _: None)

    def subscribe(self, topic: str, heard: Callable[[str], None]) -> None:
        """See IBus."""
        channel = self._keys.topic(topic)
        listeners = self._heard.setdefault(channel, [])
        listeners.append(heard)
        if len(listeners) == 1 and self._link.live is not None:
            self._command(self._link.live, 'SUBSCRIBE', channel)

    async def _resubscribe(self, protocol: Any) -> None:
        # One command a channel: each is confirmed by one answer, so that answers and commands stay in step.
        done: set[str] = set()
        while missing := self._heard.keys() - done:  # asked again: a topic may be added while we wait
            for channel in missing:
                await protocol.ask('SUBSCRIBE', channel)
            done |= missing

    def _look(self) -> None:
        if self._link.live is not None:
            self._command(self._link.live, 'PING')

    def _command(self, protocol: Any, *words: str) -> None:
        """Send it; a connection that refuses, or does not answer, is made anew."""

        def failed(failure: Any) -> None:
            if self._link.live is protocol:
                self._link.drop(protocol, f'{words[0]} failed: {clause(failure.value, self._timeout)}')

        protocol.ask(*words).addErrback(failed)

    def _received(self, channel: object, message: object) -> None:
        listeners = self._heard.get(channel, ()) if isinstance(channel, str) else ()
        if not isinstance(message, str) or len(message) > LONGEST_MESSAGE:
            self._log.warn('A message on {channel} is no announcement and is ignored', channel=channel)
            return
        for heard in tuple(listeners):
            try:
                heard(message)
            except Exception:
                self._log.failure('An announcement on {channel} could not be taken', channel=channel)
