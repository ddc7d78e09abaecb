"""Sentinels: who is the master now."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from zatotx.redis.errors import UnfitError, clause
from zatotx.redis.one_shot_command import send_command
from zatotx.redis.url import RedisAddress, with_hosts

_EVERY = 2.0  # seconds between questions whether the master moved


class MasterFinder:
    """Asks the sentinels in turn, the one that knew last time first."""

    def __init__(self, reactor: Any, address: RedisAddress, timeout: float) -> None:
        """`address`: one with sentinels. `timeout`: seconds for each of them."""
        assert address.sentinels is not None
        self._reactor = reactor
        self._address = address
        self._master = address.sentinels.master
        self._hosts = list(address.sentinels.hosts)
        # One that is frozen must not use up the time of those that know.
        self._timeout = timeout / min(2, len(self._hosts))

    async def find(self) -> RedisAddress:
        """Where the master is. Raises UnfitError with what each sentinel said, where none knows."""
        said = []
        for host, port in tuple(self._hosts):
            try:
                found = await self._ask(host, port)
            except CancelledError:
                raise
            except Exception as error:
                said.append(f'{with_hosts(host, port)}: {clause(error, self._timeout)}')
            else:
                self._hosts.remove((host, port))
                self._hosts.insert(0, (host, port))
                return found
        raise UnfitError(f'no sentinel names the master {self._master!r}: {"; ".join(said)}')

    async def _ask(self, host: str, port: int) -> RedisAddress:
        words = ('SENTINEL', 'GET-MASTER-ADDR-BY-NAME', self._master)
        answer = await send_command(self._reactor, self._address.sentinel(host, port), *words, timeout=self._timeout)
        if not (isinstance(answer, list) and len(answer) == 2):
            raise UnfitError('it knows no master of that name')
        return self._address.at(str(answer[0]), int(answer[1]))


def follow_failover(
    finder: MasterFinder | None, place: RedisAddress, clock: Any, moved: Callable[[], None]
) -> Deferred[None]:
    """Ask again and again until the sentinels name another master than that at `place`, and call `moved` once. To be
    cancelled by whoever does not care any more. Without a finder there is nothing to ask."""
    following = Deferred.fromCoroutine(_until_it_moved(finder, place, clock, moved))
    return following.addErrback(lambda failure: failure.trap(CancelledError) and None)


async def _until_it_moved(
    finder: MasterFinder | None, place: RedisAddress, clock: Any, moved: Callable[[], None]
) -> None:
    while finder is not None:
        await deferLater(clock, _EVERY)
        try:
            found = await finder.find()
        except UnfitError:
            continue  # the sentinels may be away as long as the master is there
        if (found.host, found.port) != (place.host, place.port):
            moved()
            return
