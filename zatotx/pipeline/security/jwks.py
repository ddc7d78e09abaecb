"""The keys that an issuer publishes at a URL (RFC 7517), fetched, kept and replaced.

No request waits for them longer than PATIENCE. One fetch is under way at a time, whoever needs it. There are no timers:
keys are fetched when the definition is made, and later by the requests that find them old, beside which that goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.interfaces.fetcher import Fetched, IFetcher
from zatotx.model.errors import ServiceError, ServiceUnavailable
from zatotx.rules.security.jwks_refresh import JwksRefresh, cache_lifetime
from zatotx.rules.security.jwt import select_key
from zatotx.schema.masking import mask_url
from zatotx.wire.malformed import Malformed
from zatotx.wire.security.jwk import VerificationKey, read_key_set

PATIENCE = 2.0  # seconds from the beginning of a fetch for which requests wait for it
TIMEOUT = 10.0  # seconds until a fetch is given up
MOST = 512 * 1024  # bytes of a document
WAITING = 1_000  # requests that may wait for one fetch: each holds a place of the node

_AWAY = 'The keys that tokens are verified with cannot be had now, try again'


@define(eq=False)
class PublishedKeySet:
    """The keys at one URL. `changed` is called when they are others than before."""

    name: str  # of the definition, for the log
    url: str
    fetcher: IFetcher
    clock: IReactorTime
    offload: Callable[..., Deferred[Any]]
    changed: Callable[[], None]
    _keys: Sequence[VerificationKey] = ()
    _upkeep: JwksRefresh = field(factory=JwksRefresh)
    _began: float | None = None  # when the fetch under way did
    _wanted: str | None = None  # the kid that it is for
    _waiting: list[Deferred[None]] = field(factory=list)
    problem: str = ''  # what was last wrong with them

    _log = Logger()

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | Awaitable[VerificationKey | None] | None:
        """The key for a token, at once where the keys are there and know it. Raises ServiceUnavailable, at once or when
        awaited, where there are no keys."""
        now = self.clock.seconds()
        if self._upkeep.must_wait(now):
            return self._find_later(algorithm, kid)
        if self._upkeep.is_due(now):
            self.refresh()
        key = select_key(self._keys, algorithm, kid)
        if key is None and self._is_unknown(kid) and self._may_wait(now):
            return self._find_later(algorithm, kid)
        return key

    @property
    def steady(self) -> float:
        """Seconds for which what was verified by these keys needs no second look."""
        return self._upkeep.steady(self.clock.seconds())

    def refresh(self, wanted: str | None = None) -> None:
        """Begin to fetch the keys, unless that is under way."""
        if self._began is None:
            self._began = self.clock.seconds()
            self._wanted = wanted
            self._upkeep.tried(self._began)
            Deferred.fromCoroutine(self._fetch()).addErrback(self._bug)

    async def _find_later(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """The same, after the keys were fetched, or PATIENCE is over."""
        now = self.clock.seconds()
        if self._may_wait(now):
            self.refresh(kid if self._is_unknown(kid) else None)
            await self._fetched(now)
        if self._upkeep.is_lost(self.clock.seconds()):
            raise ServiceUnavailable(None, _AWAY)
        return select_key(self._keys, algorithm, kid)

    def _is_unknown(self, kid: str | None) -> bool:
        """Whether a kid may be that of a key that came after ours: tokens without one would have us fetch for ever."""
        return kid is not None and all(key.kid != kid for key in self._keys)

    def _may_wait(self, now: float) -> bool:
        """Whether a fetch is under way that may be waited for, or may begin."""
        if self._began is None:
            return self._upkeep.may_fetch(now)
        return now < self._began + PATIENCE and len(self._waiting) < WAITING

    async def _fetched(self, now: float) -> None:
        if self._began is not None:  # it may have been over at once
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            waiting.addTimeout(self._began + PATIENCE - now, self.clock, _given_up)
            await waiting

    async def _fetch(self) -> None:
        try:
            fetched = await self.fetcher.fetch(self.url, timeout=TIMEOUT, most=MOST)
            if fetched.status != 200:
                raise Malformed(f'the answer is {fetched.status}')
            keys, wrong = await self.offload(read_key_set, fetched.body)
        except CancelledError:
            raise
        except (ServiceError, Malformed) as error:
            self._upkeep.failed()
            self._say(str(error))
        else:
            self._take(keys, fetched)
            self._say('; '.join(wrong) if not keys else '')
        finally:
            self._settle()

    def _take(self, keys: Sequence[VerificationKey], fetched: Fetched) -> None:
        fruitful = self._wanted is None or any(key.kid == self._wanted for key in keys)
        self._upkeep.succeeded(self.clock.seconds(), cache_lifetime(fetched.headers), fruitful=fruitful)
        before, self._keys = self._keys, keys
        if keys != before:
            self.changed()

    def _settle(self) -> None:
        self._began = self._wanted = None
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.called:  # else its request was cancelled, or did not want to wait any longer
                each.callback(None)

    def _say(self, wrong: str) -> None:
        """Log what is wrong once, and that it is over."""
        said, self.problem = self.problem, wrong
        if wrong == said:
            return
        names = {'name': self.name, 'url': mask_url(self.url), 'wrong': wrong}
        if wrong:
            self._log.warn('The keys of JWT definition {name!r} at {url}: {wrong}', **names)
        else:
            self._log.info('The keys of JWT definition {name!r} at {url} are there again', **names)

    def _bug(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._upkeep.failed()
            self._log.failure('The keys of JWT definition {name!r} were not fetched', failure, name=self.name)


def _given_up(result: object, seconds: float) -> None:
    """A request does not wait any longer: it makes do with what there is."""


