"""Authenticates a request by any one of several security definitions.

If a request carries several credentials, those in the head are tried before those in the body, and within the body by
scheme, in the order of the channel's definitions. The first that succeeds determines the principal. A definition that
rejects the request does not prevent the next one from being tried. The error of one that cannot decide now (its keys
are unavailable, for example) is raised if no other one succeeds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Generator, Hashable, Iterator, Sequence
from inspect import isawaitable, iscoroutine
from typing import Any, Generic, TypeVar

from zatotx.interfaces.pipeline import NEEDS_BODY, NeedsBody
from zatotx.interfaces.security_type import GENERIC_CHALLENGE
from zatotx.model.errors import ServiceError, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_DEFINITION, Authenticator

_T = TypeVar('_T')


class PendingCheck(Generic[_T]):
    """An authentication in progress. The coroutine `going_on` awaits the coroutine `first`. If the authentication is
    discarded before it starts, both must be closed to avoid Python's "never awaited" warning."""

    __slots__ = ('_continuation', '_first')

    def __init__(self, first: Awaitable[Any], continuation: Coroutine[Any, Any, _T]) -> None:
        self._first = first
        self._continuation = continuation

    def __await__(self) -> Generator[Any, Any, _T]:
        return self._continuation.__await__()

    def close(self) -> None:
        """Close both coroutines: this object will not be awaited."""
        self._continuation.close()
        if iscoroutine(self._first) or isinstance(self._first, PendingCheck):
            self._first.close()


MAX_CHALLENGES = 16  # per response: clients limit the size of heads, too


class _Scheme:
    """Definitions that read the same credentials of a request."""

    __slots__ = ('_all', '_by_lookup_key', 'reader')

    def __init__(self, reader: Authenticator) -> None:
        self.reader = reader
        self._all: list[Authenticator] = []
        self._by_lookup_key: dict[Hashable, list[Authenticator]] = {}

    def add(self, authenticator: Authenticator) -> None:
        self._all.append(authenticator)
        self._by_lookup_key.setdefault(authenticator.lookup_key, []).append(authenticator)

    def of(self, lookup_key: Hashable) -> Sequence[Authenticator]:
        """Return the authenticators to try. For an unknown lookup key this is the first one: an unknown key must cost
        as much as a known one."""
        if lookup_key == ANY_DEFINITION:
            return self._all
        return self._by_lookup_key.get(lookup_key) or (self.reader,)


class AnyOfAuthenticator:
    """Tries several authenticators until one succeeds. If there are no authenticators, every request is rejected."""

    __slots__ = ('_body_schemes', '_challenges', '_head_schemes', '_only')

    def __init__(self, authenticators: Sequence[Authenticator], default_challenges: Sequence[str] = ()) -> None:
        """`default_challenges`: the challenges to send if there are no authenticators."""
        schemes: dict[Hashable, _Scheme] = {}
        for authenticator in authenticators:
            schemes.setdefault(authenticator.scheme, _Scheme(authenticator)).add(authenticator)
        self._head_schemes = [scheme for scheme in schemes.values() if not scheme.reader.needs_body]
        self._body_schemes = [scheme for scheme in schemes.values() if scheme.reader.needs_body]
        self._only = authenticators[0] if len(authenticators) == 1 else None
        challenges = (
            [authenticator.challenge for authenticator in authenticators] or default_challenges or (GENERIC_CHALLENGE,)
        )
        self._challenges = tuple(dict.fromkeys(challenges))[:MAX_CHALLENGES]

    def check(self, message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """Authenticate by the head; returns NEEDS_BODY if that fails and the body may contain credentials."""
        only = self._only
        if only is not None:
            return NEEDS_BODY if only.needs_body else only.check(message)
        otherwise = NEEDS_BODY if self._body_schemes else None
        return self._first(_candidates(self._head_schemes, message), message, otherwise)

    def check_body(self, message: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """Authenticate by the body if the head did not succeed; never returns NEEDS_BODY."""
        if self._only is not None:
            return self._only.check(message)
        return self._first(_candidates(self._body_schemes, message), message, None)

    def _first(
        self,
        authenticators: Iterator[Authenticator],
        message: Message,
        otherwise: NeedsBody | None,
        failed: ServiceError | None = None,
    ) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        for authenticator in authenticators:
            try:
                result = authenticator.check(message)
            except Unauthorized:
                continue
            except ServiceError as error:
                failed = failed or error
                continue
            if isinstance(result, Principal):
                return result
            return PendingCheck(result, self._continue(result, authenticators, message, otherwise, failed=failed))
        if otherwise is not None:
            return otherwise
        raise failed or self._refused(message)

    async def _continue(
        self, waiting: Awaitable[Principal], authenticators: Iterator[Authenticator], message: Message,
        otherwise: NeedsBody | None, *, failed: ServiceError | None
    ) -> Principal | NeedsBody:  # fmt: skip
        try:
            return await waiting
        except Unauthorized:
            pass  # the next one may succeed
        except ServiceError as error:
            failed = failed or error
        result = self._first(authenticators, message, otherwise, failed)
        return await result if isawaitable(result) else result

    def _refused(self, message: Message) -> Unauthorized:
        return Unauthorized(message.cid, None, self._challenges[0], more=self._challenges[1:])


def _candidates(schemes: Sequence[_Scheme], message: Message) -> Iterator[Authenticator]:
    """Yield the authenticators for which the request carries credentials."""
    for scheme in schemes:
        lookup_key = scheme.reader.extract_key(message)
        if lookup_key is not None:
            yield from scheme.of(lookup_key)
