"""Receives messages by a PULL socket of ZeroMQ, and prints what came of it as one line of JSON: messages a second.

    python -m bench.peers.zmq_pull WHO ADDRESS COUNT   # WHO: zatotx, txzmq, push

`zatotx` gives each message to a service, by a channel and the pipeline of a server; `txzmq` counts the messages of a
ZmqPullConnection. `push` is their peer: it sends COUNT messages of 1 KB, and WARM before, as fast as it can.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

WARM = 3000  # messages before the first that is measured
SIZE = 1024


class Rate:
    """Counts messages, and fires `done` with the rate after the last one."""

    def __init__(self, count: int) -> None:
        self.done: Deferred[dict[str, float]] = Deferred()
        self._count, self._left, self._began = count, count + WARM, 0.0

    def add(self) -> None:
        """A message was processed."""
        self._left -= 1
        if self._left == self._count:
            self._began = perf_counter()
        elif not self._left:
            self.done.callback({'rate': self._count / (perf_counter() - self._began)})


def push(address: str, count: int) -> None:
    """Send all messages. Returns when they are received."""
    import zmq

    context = zmq.Context()
    socket = context.socket(zmq.PUSH)
    socket.bind(address)
    body = bytes(SIZE)
    for _ in range(count + WARM):
        socket.send(body)
    socket.close()
    context.term()


async def of_txzmq(reactor: Any, address: str, count: int) -> dict[str, float]:
    """Receive by txZMQ."""
    from txzmq import ZmqEndpoint, ZmqFactory, ZmqPullConnection

    rate = Rate(count)

    class Pull(ZmqPullConnection):  # type: ignore[misc]  # txZMQ has no types
        def onPull(self, message: list[bytes]) -> None:
            rate.add()

    Pull(ZmqFactory(), ZmqEndpoint('connect', address))
    return await rate.done


async def of_zatotx(reactor: Any, address: str, count: int) -> dict[str, float]:
    """Receive by a channel."""
    from zatotx import Service
    from zatotx.interfaces.connector_kind import ChannelContext
    from zatotx.metrics.meters import MeterRegistry
    from zatotx.node.gc_tuning import tune_gc
    from zatotx.pipeline.codecs import CodecRegistry
    from zatotx.pipeline.dispatcher import Dispatcher
    from zatotx.pipeline.error_replies import ErrorReplies
    from zatotx.pipeline.pipeline import Pipeline
    from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
    from zatotx.plugins.zmq import kind
    from zatotx.plugins.zmq.channels import make_channel
    from zatotx.plugins.zmq.schema import ZmqChannel
    from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET
    from zatotx.schema.snapshot import Snapshot, StoredObject
    from zatotx.service.invoker import Invoker
    from zatotx.service.outgoing import ConnectionNamespaces
    from zatotx.service.service_entry import ServiceEntry
    from zatotx.service.service_store import ServiceStore

    rate = Rate(count)

    class Count(Service):
        name = 'bench.count'

        async def handle(self) -> None:
            rate.add()

    class Node:
        outgoing = ConnectionNamespaces({})

    tune_gc()
    meters = MeterRegistry()
    store = ServiceStore([ServiceEntry.for_class(Count)], meters.services.get)
    invoker = Invoker(reactor, cast('Any', None), node=Node())
    pipeline = Pipeline(AuthenticationPolicy({}), store, invoker, CodecRegistry(DEFAULT_BUDGET, {}), ErrorReplies(),
                        maybeDeferred)  # fmt: skip
    channel: Any = make_channel(ChannelContext(
        reactor=reactor, settings={}, line_sink=cast('Any', None), work_dir='.', run_in_thread=maybeDeferred,
        channel_meters=meters.channels, declaration=kind,
    ))  # fmt: skip
    await channel.start(Dispatcher(pipeline, reactor))
    value = ZmqChannel(name='bench', address=address, service=Count.name)
    await channel.apply(Snapshot(1, [StoredObject(1, 'channel_zmq', value, 1)]))
    return await rate.done


def main(who: str, address: str, count: int) -> None:
    """Receive all messages and print the result, or send them."""
    if who == 'push':
        push(address, count)
        return
    reactor = EPollReactor()
    installReactor(reactor)

    def over(result: Any) -> None:
        text = msgspec.json.encode(result).decode() if isinstance(result, dict) else result.getTraceback()
        print(text, file=sys.stdout if isinstance(result, dict) else sys.stderr)
        reactor.stop()

    run = {'zatotx': of_zatotx, 'txzmq': of_txzmq}[who]
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run(reactor, address, count)).addBoth(over))
    reactor.run()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
