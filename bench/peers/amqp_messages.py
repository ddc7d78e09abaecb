"""Consumes or publishes AMQP messages of 1 KB, and prints the rate as one line of JSON.

    python -m bench.peers.amqp_messages WHO consume PORT QUEUE COUNT      # WHO: zatotx, pika
    python -m bench.peers.amqp_messages WHO publish PORT QUEUE COUNT
    python -m bench.peers.amqp_messages zatotx backlog PORT QUEUE COUNT   # prints the growth of memory in MiB

`consume` takes COUNT messages that wait in the queue, and acknowledges each: `zatotx` with an AMQP channel, the
pipeline of a server and a service, without the rest of a node; `pika` with the queue of pika's Twisted adapter.
`publish` sends COUNT persistent messages, IN_FLIGHT of which may be unconfirmed: `zatotx` with `self.out.amqp`, `pika`
with the adapter's `basic_publish`, without headers. `backlog` consumes COUNT of the messages that wait in a queue, with
a service that waits, too, and prints by how much the process grew after the first WARM of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor
from twisted.internet.task import deferLater

PREFETCH, IN_FLIGHT, WARM = 200, 200, 1000
BODY = b'x' * 1024
USER, PASSWORD = 'zatotx', 'rabbitmq-sEcReT'


class Caller:
    """A minimal IServiceCall of a service on the reactor."""

    cid, service, trace = '0123456789abcdef01234567', 'bench', ''

    def __init__(self, reactor: Any) -> None:
        self.deadline = reactor.seconds() + 3600
        self.request = self

    def run(self, begin: Any) -> Any:
        """Return the coroutine, as for an async def service."""
        return begin()

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """The request does not end."""


def stored(port: int) -> Any:
    """The definition of the broker."""
    from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
    from zatotx.schema.snapshot import StoredObject

    value = AmqpDefinition(name='rabbit', host='127.0.0.1', port=port, username=USER, password=PASSWORD)
    return StoredObject(1, 'definition_amqp', value, 1)


def resident() -> float:
    """MiB of memory that this process has."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


class Meter:
    """Measures the rate of messages after the first WARM ones. `done` fires with it after `count` messages. `memory`:
    MiB of the process when WARM messages were processed."""

    def __init__(self, count: int) -> None:
        self.done: Deferred[float] = Deferred()
        self.memory = 0.0
        self._count, self._seen, self._began = count, 0, 0.0

    def add(self) -> None:
        """One more message."""
        self._seen += 1
        if self._seen == WARM:
            self.memory = resident()
            self._began = perf_counter()
        elif self._seen == self._count:
            self.done.callback((self._count - WARM) / (perf_counter() - self._began))


async def start_channel(reactor: Any, port: int, queue: str, service: Any) -> Any:
    """Start a channel with the pipeline of a server and a service."""
    from zatotx.interfaces.connector_kind import ChannelContext
    from zatotx.metrics.meters import MeterRegistry
    from zatotx.pipeline.codecs import CodecRegistry
    from zatotx.pipeline.dispatcher import Dispatcher
    from zatotx.pipeline.error_replies import ErrorReplies
    from zatotx.pipeline.pipeline import Pipeline
    from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
    from zatotx.plugins.amqp.channel import make_channel
    from zatotx.plugins.amqp.schema.channel_amqp import AmqpChannel
    from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET
    from zatotx.schema.snapshot import Snapshot, StoredObject
    from zatotx.service.invoker import Invoker
    from zatotx.service.service_entry import ServiceEntry
    from zatotx.service.service_store import ServiceStore

    meters = MeterRegistry()
    unused: Any = None
    pipeline = Pipeline(
        AuthenticationPolicy({}), ServiceStore([ServiceEntry.for_class(service)], meters.services.get),
        Invoker(reactor, unused), CodecRegistry(DEFAULT_BUDGET), ErrorReplies(), maybeDeferred,
    )  # fmt: skip
    channel = make_channel(ChannelContext(
        reactor=reactor, settings={}, line_sink=unused, work_dir='.', run_in_thread=maybeDeferred,
        channel_meters=meters.channels,
    ))  # fmt: skip
    value = AmqpChannel(name='in', definition='rabbit', queue=queue, service=service.name, prefetch=PREFETCH)
    await channel.apply(Snapshot(1, [stored(port), StoredObject(2, 'channel_amqp', value, 1)]))
    await channel.start(Dispatcher(pipeline, reactor))
    return channel


async def consume_zatotx(reactor: Any, port: int, queue: str, count: int) -> float:
    """With a channel, the pipeline and a service."""
    from zatotx import Service

    meter = Meter(count)

    class Count(Service):
        name = 'bench.count'

        async def handle(self) -> None:
            assert len(self.request.raw_request) == len(BODY)
            meter.add()

    channel = await start_channel(reactor, port, queue, Count)
    rate = await meter.done
    await channel.stop()
    return rate


async def consume_backlog(reactor: Any, port: int, queue: str, count: int) -> float:
    """The growth of memory while messages wait in the queue, and while services wait."""
    from zatotx import Service

    meter = Meter(count)

    class Wait(Service):
        name = 'bench.wait'

        async def handle(self) -> None:
            await deferLater(reactor, 0.02)
            meter.add()

    channel = await start_channel(reactor, port, queue, Wait)
    await meter.done
    growth = resident() - meter.memory
    await channel.stop()
    return growth


async def connect_pika(reactor: Any, port: int) -> Any:
    """A connection of pika's Twisted adapter."""
    from pika import ConnectionParameters, PlainCredentials
    from pika.adapters.twisted_connection import TwistedProtocolConnection
    from twisted.internet.endpoints import TCP4ClientEndpoint
    from twisted.internet.protocol import Factory

    parameters = ConnectionParameters(credentials=PlainCredentials(USER, PASSWORD))
    factory: Any = Factory.forProtocol(lambda: TwistedProtocolConnection(parameters, custom_reactor=reactor))
    connection: Any = await TCP4ClientEndpoint(reactor, '127.0.0.1', port).connect(factory)
    await connection.ready
    return connection


async def consume_pika(reactor: Any, port: int, queue: str, count: int) -> float:
    """With the queue of the adapter."""
    channel = await (await connect_pika(reactor, port)).channel()
    await channel.basic_qos(prefetch_count=PREFETCH)
    messages, _ = await channel.basic_consume(queue)
    meter = Meter(count)
    while not meter.done.called:
        _, method, _, body = await messages.get()
        assert len(body) == len(BODY)
        channel.basic_ack(method.delivery_tag)
        meter.add()
    return await meter.done


async def publish(send: Any, count: int) -> float:
    """Send messages, IN_FLIGHT at a time."""
    left, meter = count + WARM, Meter(count + WARM)

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await send()
            meter.add()

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(IN_FLIGHT)])
    return await meter.done


async def publish_zatotx(reactor: Any, port: int, queue: str, count: int) -> float:
    """With an outgoing connection, as services do."""
    from zatotx.interfaces.connector_kind import OutgoingContext
    from zatotx.plugins.amqp.outgoing import make_outgoing
    from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
    from zatotx.schema.snapshot import Snapshot, StoredObject

    kind: Any = make_outgoing(OutgoingContext(reactor=reactor, settings={}, run_in_thread=maybeDeferred))
    value = AmqpOutgoing(name='out', definition='rabbit', routing_key=queue, timeout=60)
    await kind.apply(Snapshot(1, [stored(port), StoredObject(2, 'outgoing_amqp', value, 1)]))
    out = kind.namespaces['amqp'](Caller(reactor))['out']
    rate = await publish(lambda: out.send(BODY), count)
    await kind.stop()
    return rate


async def publish_pika(reactor: Any, port: int, queue: str, count: int) -> float:
    """With the adapter's own confirmations."""
    from pika import BasicProperties

    channel = await (await connect_pika(reactor, port)).channel()
    await channel.confirm_delivery()
    properties = BasicProperties(delivery_mode=2)
    return await publish(lambda: channel.basic_publish('', queue, BODY, properties, mandatory=True), count)


RUN = {
    ('zatotx', 'consume'): consume_zatotx, ('pika', 'consume'): consume_pika,
    ('zatotx', 'publish'): publish_zatotx, ('pika', 'publish'): publish_pika,
    ('zatotx', 'backlog'): consume_backlog,
}  # fmt: skip


def main(who: str, what: str, port: str, queue: str, count: str) -> None:
    """Run and print."""
    reactor: Any = EPollReactor()
    installReactor(reactor)
    found: list[float] = []

    async def run() -> None:
        try:
            found.append(await RUN[who, what](reactor, int(port), queue, int(count)))
        finally:
            reactor.stop()

    reactor.callWhenRunning(Deferred.fromCoroutine, run())
    reactor.run()
    print(msgspec.json.encode({'growth' if what == 'backlog' else 'rate': found[0]}).decode())


if __name__ == '__main__':
    main(*sys.argv[1:])
