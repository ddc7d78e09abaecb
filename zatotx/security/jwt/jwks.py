"""Fetches, caches and refreshes the JSON Web Key Set that an issuer publishes at a URL (RFC 7517).

No request waits longer than PATIENCE for a fetch, and at most one fetch runs at a time. There are no timers: keys are
fetched when the definition is created, and refreshed in the background by requests that find them stale.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.interfaces.outgoing import FetchedDocument, IFetcher
from zatotx.model.errors import ServiceError, ServiceUnavailable
from zatotx.rules.security.jwt_validation import JwksRefreshState, response_freshness_lifetime, select_verification_key
from zatotx.wire.jwk_and_jws import VerificationKey, parse_key_set
from zatotx.wire.malformed import Malformed
from zatotx.wire.url_masking import mask_urls

MAX_WAIT = 2.0  # seconds from the start of a fetch for which requests wait for it
FETCH_TIMEOUT = 10.0  # seconds until a fetch times out
MAX_DOCUMENT_SIZE = 512 * 1024  # bytes of a document
MAX_WAITING = 1_000  # requests that may wait for one fetch: each counts against the limit of the node

_UNAVAILABLE = 'The keys that verify tokens are unavailable, try again later'


@define(eq=False)
class PublishedKeySet:
    """The keys that are published at one URL. The function `on_change` is called when the keys change."""

    name: str  # name of the definition, for the log
    url: str
    fetcher: IFetcher
    clock: IReactorTime
    offload: Callable[..., Deferred[Any]]
    on_change: Callable[[], None]
    _keys: Sequence[VerificationKey] = ()
    _refresh_policy: JwksRefreshState = field(factory=JwksRefreshState)
    _fetch_started: float | None = None  # when the current fetch started
    _fetch_for_kid: str | None = None  # the kid that the current fetch is for
    _waiting: list[Deferred[None]] = field(factory=list)
    problem: str = ''  # the last problem with the keys, '' = none

    _log = Logger()

    def find(self, algorithm: str, kid: str | None) -> VerificationKey | Awaitable[VerificationKey | None] | None:
        """Return the key for a token, at once if the keys are present and contain it. Raises ServiceUnavailable, at
        once or when awaited, if there are no keys."""
        now = self.clock.seconds()
        if self._refresh_policy.must_wait(now):
            return self._find_later(algorithm, kid)
        if self._refresh_policy.is_due(now):
            self.refresh()
        key = select_verification_key(self._keys, algorithm, kid)
        if key is None and self._is_unknown(kid) and self._may_wait(now):
            return self._find_later(algorithm, kid)
        return key

    @property
    def trust_time(self) -> float:
        """Seconds for which a token verified with these keys needs no second verification."""
        return self._refresh_policy.cache_time(self.clock.seconds())

    def refresh(self, kid: str | None = None) -> None:
        """Start to fetch the keys, unless a fetch is running."""
        if self._fetch_started is None:
            self._fetch_started = self.clock.seconds()
            self._fetch_for_kid = kid
            self._refresh_policy.record_fetch(self._fetch_started)
            Deferred.fromCoroutine(self._fetch()).addErrback(self._log_failure)

    async def _find_later(self, algorithm: str, kid: str | None) -> VerificationKey | None:
        """Find the key after the keys were fetched or PATIENCE has passed."""
        now = self.clock.seconds()
        if self._may_wait(now):
            self.refresh(kid if self._is_unknown(kid) else None)
            await self._wait_for_fetch(now)
        if self._refresh_policy.has_no_usable_keys(self.clock.seconds()):
            raise ServiceUnavailable(None, _UNAVAILABLE)
        return select_verification_key(self._keys, algorithm, kid)

    def _is_unknown(self, kid: str | None) -> bool:
        """Return whether a kid may belong to a key published after the last fetch. Tokens without a kid are excluded,
        since they would cause endless fetches."""
        return kid is not None and all(key.kid != kid for key in self._keys)

    def _may_wait(self, now: float) -> bool:
        """Return whether a fetch is running that may be waited for, or may be started."""
        if self._fetch_started is None:
            return self._refresh_policy.may_fetch(now)
        return now < self._fetch_started + MAX_WAIT and len(self._waiting) < MAX_WAITING

    async def _wait_for_fetch(self, now: float) -> None:
        if self._fetch_started is not None:  # it may have completed at once
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            waiting.addTimeout(self._fetch_started + MAX_WAIT - now, self.clock, _ignore_timeout)
            await waiting

    async def _fetch(self) -> None:
        try:
            fetched = await self.fetcher.fetch(self.url, timeout=FETCH_TIMEOUT, max_body=MAX_DOCUMENT_SIZE)
            if fetched.status != 200:
                raise Malformed(f'the response has status {fetched.status}')
            keys, problems = await self.offload(parse_key_set, fetched.body)
        except CancelledError:
            raise
        except (ServiceError, Malformed) as error:
            self._refresh_policy.record_failure()
            self._report_problem(str(error))
        else:
            self._store(keys, fetched)
            self._report_problem('; '.join(problems) if not keys else '')
        finally:
            self._finish_fetch()

    def _store(self, keys: Sequence[VerificationKey], fetched: FetchedDocument) -> None:
        is_useful = self._fetch_for_kid is None or any(key.kid == self._fetch_for_kid for key in keys)
        self._refresh_policy.record_success(
            self.clock.seconds(), response_freshness_lifetime(fetched.headers), has_requested_key=is_useful
        )
        previous, self._keys = self._keys, keys
        if keys != previous:
            self.on_change()

    def _finish_fetch(self) -> None:
        self._fetch_started = self._fetch_for_kid = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:  # otherwise its request was cancelled or timed out
                waiter.callback(None)

    def _report_problem(self, problem: str) -> None:
        """Log a problem once, and log when it is over."""
        previous, self.problem = self.problem, problem
        if problem == previous:
            return
        names = {'name': self.name, 'url': mask_urls(self.url), 'wrong': problem}
        if problem:
            self._log.warn('The keys of JWT definition {name!r} at {url}: {wrong}', **names)
        else:
            self._log.info('The keys of JWT definition {name!r} at {url} are available again', **names)

    def _log_failure(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._refresh_policy.record_failure()
            self._log.failure('The keys of JWT definition {name!r} were not fetched', failure, name=self.name)


def _ignore_timeout(result: object, seconds: float) -> None:
    """Do nothing: the request continues with the keys that there are."""


