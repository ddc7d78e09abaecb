"""Services called in memory: an Invoker on a Clock, no channel, no exchange, no thread."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.services import IServiceMap
from zatotx.model.message import ChannelSpec, HTTPView, Message, Principal, ServiceResult
from zatotx.service.invoker import Invoker
from zatotx.service.service_entry import ServiceEntry

CID = '0123456789abcdef01234567'


@implementer(IServiceMap)
class ServiceMap:
    """IServices of a few classes."""

    def __init__(self, *entries: ServiceEntry) -> None:
        self.entries = {entry.name: entry for entry in entries}

    def get(self, name: str) -> ServiceEntry | None:
        return self.entries.get(name)

    def __iter__(self) -> Iterator[ServiceEntry]:
        return iter(self.entries.values())


class Calls:
    """Some services and what is needed to call the first of them."""

    def __init__(self, *services: type | ServiceEntry, reactor: Any = None, pool: Any = None, **known: Any) -> None:
        self.clock = Clock()
        self.entries = [one if isinstance(one, ServiceEntry) else ServiceEntry.for_class(one) for one in services]
        self.services = ServiceMap(*self.entries)
        self.invoker = Invoker(as_reactor(reactor or self.clock), pool, **known)

    def inbound(self, body: bytes = b'', *, deadline: float = 60.0, **channel: Any) -> Message:
        """A message of a channel that is no HTTP one."""
        spec = ChannelSpec(**{'name': 'test', 'kind': 'amqp', 'service': self.entries[0].name, **channel})
        inbound = Message(CID, spec, spec.service, {}, body, self.invoker.reactor.seconds() + deadline)
        inbound.principal = Principal('tester', 'tester', 'basic_auth')
        return inbound

    def http(self, method: str = 'POST', *, query: bytes = b'', params: Mapping[str, str] | None = None,
             headers: Mapping[bytes, bytes] | None = None, body: bytes = b'', **channel: Any) -> Message:
        """A request of a REST channel, JSON unless `data_format` says otherwise."""
        channel = {'kind': 'http-soap', 'data_format': 'json', **channel}
        inbound = self.inbound(body, **channel)
        fields = headers or {}
        inbound.headers = fields
        inbound.http = HTTPView(method, b'/a/b?' + query, '/a/b', query, fields, params or {}, '10.0.0.1')
        return inbound

    def start(self, inbound: Message, payload: Any = '') -> Deferred[ServiceResult]:
        """The first service, called."""
        return Deferred.fromCoroutine(self.invoker.invoke(self.entries[0], self.services, inbound, payload))


def outcome_of(deferred: Deferred[ServiceResult]) -> ServiceResult:
    """What a call gave that had nothing to wait for; raises what it raised."""
    found: list[Any] = []
    deferred.addBoth(found.append)
    if not found:
        raise AssertionError('The call still waits for something')
    if isinstance(found[0], ServiceResult):
        return found[0]
    found[0].raiseException()
    raise AssertionError('unreachable')


def call(service: type, payload: Any = '', /, **request: Any) -> ServiceResult:
    """One JSON request to one service: the payload is what its body says."""
    calls = Calls(service)
    body = b'' if payload in ('', None) else msgspec.json.encode(payload)
    return outcome_of(calls.start(calls.http(body=body, **request), msgspec.json.decode(body) if body else None))
