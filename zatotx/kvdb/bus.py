"""Announcements to the nodes of a cluster, over Redis pub/sub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.bus import IBus, IKeyValue
from zatotx.kvdb.address import RedisAddress
from zatotx.kvdb.link import Link, State
from zatotx.kvdb.protocol import subscriber_protocol

LONGEST_MESSAGE = 65_536  # characters; what is longer was not announced by a node


@implementer(IBus)
class RedisBus(Service):
    """Hears on a connection of its own, speaks through the client's.

    Topics are channels `zatotx:<cluster>:<topic>`. Subscriptions are taken up again after every reconnect; what was
    announced in between is not heard. A connection that fell silent is found by asking it every `timeout` seconds.
    """

    _log = Logger()

    def __init__(
        self, reactor: Any, address: RedisAddress, client: IKeyValue, *, cluster: str, timeout: float = 5.0
    ) -> None:
        self._reactor = reactor
        self._client = client
        self._prefix = f'zatotx:{cluster}:'
        self._timeout = timeout
        self._heard: dict[str, list[Callable[[str], None]]] = {}  # channel -> whom to tell
        self._link = Link(reactor, address, make=self._make, prepare=self._resubscribe, timeout=timeout)
        self._pulse = LoopingCall(self._ask)
        self._pulse.clock = reactor

    @property
    def state(self) -> State:
        """Where the connection stands."""
        return self._link.state

    @property
    def problem(self) -> str:
        """Why there is no connection now, for people; '' when there is."""
        return self._link.problem

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._link.start()
        self._pulse.start(self._timeout, now=False)

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._pulse.running:
            self._pulse.stop()
        return self._link.stop()

    def up(self) -> Deferred[None]:
        """Fires when the bus hears. Fails with ServiceUnavailable where it is stopped first."""
        return self._link.up()

    def announce(self, topic: str, message: str) -> Deferred[None]:
        """See IBus."""
        published = self._client.execute('PUBLISH', self._prefix + topic, message)
        return published.addCallback(lambda _: None)

    def subscribe(self, topic: str, heard: Callable[[str], None]) -> None:
        """See IBus."""
        channel = self._prefix + topic
        listeners = self._heard.setdefault(channel, [])
        listeners.append(heard)
        if len(listeners) == 1 and self._link.live is not None:
            self._command(self._link.live, 'SUBSCRIBE', channel)

    def _make(self) -> Any:
        return subscriber_protocol(self._reactor, self._received)

    async def _resubscribe(self, protocol: Any) -> None:
        # One command a channel: each is confirmed by one answer, so that answers and commands stay in step.
        done: set[str] = set()
        while missing := self._heard.keys() - done:  # asked again: a topic may be added while we wait
            for channel in missing:
                await protocol.execute_command('SUBSCRIBE', channel, apply_timeout=False)
            done |= missing

    def _ask(self) -> None:
        if self._link.live is not None:
            self._command(self._link.live, 'PING')

    def _command(self, protocol: Any, *words: str) -> None:
        """Send it; a connection that does not answer in time, or refuses, is made anew."""

        def failed(failure: Any) -> None:
            if self._link.live is protocol:
                self._link.drop(protocol, f'it gave no good answer to {words[0]} within {self._timeout:g} s')

        protocol.execute_command(*words).addTimeout(self._timeout, self._reactor).addErrback(failed)

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
