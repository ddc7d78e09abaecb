"""Finds the current Redis master with Redis Sentinel."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from zatotx.interfaces.reactor import IReactor
from zatotx.redis.connector import send_single_command
from zatotx.redis.error_conversion import UnusableServerError, describe_error
from zatotx.redis.redis_url import RedisAddress, format_host_port

_LOOKUP_INTERVAL = 2.0  # seconds between two lookups


class MasterFinder:
    """Queries the sentinels in turn, starting with the sentinel that last knew the master."""

    def __init__(self, reactor: IReactor, address: RedisAddress, timeout: float) -> None:
        """`address`: one with sentinels. `timeout`: seconds for each sentinel."""
        assert address.sentinels is not None
        self._reactor = reactor
        self._address = address
        self._master = address.sentinels.master
        self._hosts = list(address.sentinels.hosts)
        # A frozen sentinel must not use up the time of the others.
        self._timeout = timeout / min(2, len(self._hosts))

    async def find_master(self) -> RedisAddress:
        """Return the address of the master. Raises UnusableServerError with the reply of each sentinel if none knows
        it."""
        problems = []
        for host, port in tuple(self._hosts):
            try:
                address = await self._query(host, port)
            except CancelledError:
                raise
            except Exception as error:
                problems.append(f'{format_host_port(host, port)}: {describe_error(error, self._timeout)}')
            else:
                self._hosts.remove((host, port))
                self._hosts.insert(0, (host, port))
                return address
        raise UnusableServerError(f'no sentinel names the master {self._master!r}: {"; ".join(problems)}')

    async def _query(self, host: str, port: int) -> RedisAddress:
        words = ('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', self._master)
        reply = await send_single_command(
            self._reactor, self._address.sentinel_address(host, port), *words, timeout=self._timeout
        )
        if not (isinstance(reply, list) and len(reply) == 2):
            raise UnusableServerError('it knows no master of that name')
        return self._address.at_server(str(reply[0]), int(reply[1]))


def watch_failover(
    finder: MasterFinder | None, server_address: RedisAddress, clock: IReactorTime, on_failover: Callable[[], None]
) -> Deferred[None]:
    """Query the sentinels periodically until they report a master other than `server_address`, then call `on_failover`
    once. The caller cancels the Deferred. If `finder` is None, nothing is done."""
    task = Deferred.fromCoroutine(_wait_for_failover(finder, server_address, clock, on_failover))
    return task.addErrback(lambda failure: failure.trap(CancelledError) and None)


async def _wait_for_failover(
    finder: MasterFinder | None, server_address: RedisAddress, clock: IReactorTime, on_failover: Callable[[], None]
) -> None:
    while finder is not None:
        await deferLater(clock, _LOOKUP_INTERVAL)
        try:
            master = await finder.find_master()
        except UnusableServerError:
            continue  # the sentinels may be unavailable while the master is there
        if (master.host, master.port) != (server_address.host, server_address.port):
            on_failover()
            return
