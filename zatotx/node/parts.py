"""The parts a node is made of, built by zatotx.tap and handed over whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.threadpool import ThreadPool

from zatotx.exchange.guard import Guard
from zatotx.exchange.pipeline import Pipeline
from zatotx.interfaces.exchange import IExchange
from zatotx.kinds import FoundKind
from zatotx.node.lock import DirectoryLock
from zatotx.node.settings import Settings


@frozen(kw_only=True)
class Parts:
    """Who does the work. Only Node knows the order in which they start and stop."""

    reactor: Any  # IReactorTime
    settings: Settings
    lock: DirectoryLock
    logs: Any  # start(), stop()
    pools: Sequence[ThreadPool]
    offload: Callable[..., Deferred[Any]]
    kinds: Sequence[FoundKind]
    channels: Mapping[str, Any]  # kind -> IChannel
    types: Any  # schema.types.ObjectTypes
    odb: Any  # IConfigStore
    redis: Sequence[Any]  # client and bus: startService(), stopService()
    bus: Any  # IBus
    guard: Guard
    pipeline: Pipeline
    exchange: IExchange
    services: Any  # IServiceStore
    code: Any  # service.deploy's keeper of versions: load(), sync(), verdicts
    pickup: Any  # start(), stop()
    watchdog: Any  # start(), stop()
    render_metrics: Callable[[Any], bytes]
