"""Interface of the Redis functions that a node offers to its services: `self.kvdb`, `self.lock`, `self.cache`,
`self.translate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.interfaces.cache import ICacheStore
from zatotx.interfaces.data_dictionary import IDataDictionaryStore
from zatotx.interfaces.redis import ICommands, ILeaseStore, IPipelinedCommands, ITransactions, RedisError


class CommandRefusedError(RedisError):
    """The command must not be executed by services. It was rejected before it was sent to Redis."""


class IServiceCommands(ICommands, IPipelinedCommands, ITransactions):
    """The Redis commands of services. A command that is not available to services, or that names an internal key of a
    cluster, is not sent, and fails with CommandRefusedError."""

    def execute_fenced(name: str, token: int, commands: Sequence[Sequence[object]]) -> Deferred[list[object]]:
        """Execute commands atomically unless a higher fencing token was seen under this name, and fires with their
        results. Fails with Conflict if one was, and nothing is written."""


class IServiceRedis(Interface):
    """The Redis functions that the services of a node use."""

    commands: IServiceCommands = Attribute('The commands of services')
    leases: ILeaseStore = Attribute('The leases of self.lock')
    cache_store: ICacheStore = Attribute('The entries of self.cache')
    data_dictionary: IDataDictionaryStore = Attribute('The data dictionary of self.translate')
    cache_usage = Attribute('Has note_write(cache, CacheWrite), for metrics and the log')
    cache_flights: dict[tuple[str, str], list[Deferred[tuple[bool, Any]]]] = Attribute(
        'The values that this process loads now: (cache, key) -> calls that wait for them'
    )
