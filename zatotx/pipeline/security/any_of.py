"""Several security definitions, any of which admits.

The order, where a request carries more than one thing that could admit it: what stands in the head before what stands
in the body; there, sorts of definitions in the order in which the channel came to them. The first that admits is the
principal. A definition that refuses does not keep the next one from being asked; one that cannot say now (its keys are
away …) is told of where nobody else admits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Iterator, Sequence
from inspect import isawaitable

from zatotx.interfaces.pipeline import NEEDS_BODY, NeedsBody
from zatotx.model.errors import ServiceError, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_OF_THEM, Authenticator
from zatotx.pipeline.security.challenges import GENERIC
from zatotx.pipeline.security.pending_check import PendingCheck

MOST_CHALLENGES = 16  # in one answer: clients have limits for heads too


class _Sort:
    """Definitions that read the same thing of a request."""

    __slots__ = ('_all', '_by_claim', 'reader')

    def __init__(self, reader: Authenticator) -> None:
        self.reader = reader
        self._all: list[Authenticator] = []
        self._by_claim: dict[Hashable, list[Authenticator]] = {}

    def add(self, check: Authenticator) -> None:
        self._all.append(check)
        self._by_claim.setdefault(check.claim, []).append(check)

    def of(self, claim: Hashable) -> Sequence[Authenticator]:
        """Whom to ask. For what nobody has it is the first one: a claim that is unknown must cost what a known one
        costs."""
        if claim == ANY_OF_THEM:
            return self._all
        return self._by_claim.get(claim) or (self.reader,)


class AnyOf:
    """Checks requests against definitions until one admits. There may be none: then nobody is admitted."""

    __slots__ = ('_challenges', '_of_body', '_of_head', '_only')

    def __init__(self, checks: Sequence[Authenticator], otherwise: Sequence[str] = ()) -> None:
        """`otherwise`: the challenges to give where there are no checks."""
        sorts: dict[Hashable, _Sort] = {}
        for check in checks:
            sorts.setdefault(check.sort, _Sort(check)).add(check)
        self._of_head = [sort for sort in sorts.values() if not sort.reader.needs_body]
        self._of_body = [sort for sort in sorts.values() if sort.reader.needs_body]
        self._only = checks[0] if len(checks) == 1 else None
        challenges = [check.challenge for check in checks] or otherwise or (GENERIC,)
        self._challenges = tuple(dict.fromkeys(challenges))[:MOST_CHALLENGES]

    def check(self, inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """By the head; NEEDS_BODY where that admits nobody and the body may."""
        only = self._only
        if only is not None:
            return NEEDS_BODY if only.needs_body else only.check(inbound)
        otherwise = NEEDS_BODY if self._of_body else None
        return self._first(_asked(self._of_head, inbound), inbound, otherwise)

    def check_body(self, inbound: Message) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        """By the body, for whom the head did not admit; never NEEDS_BODY."""
        if self._only is not None:
            return self._only.check(inbound)
        return self._first(_asked(self._of_body, inbound), inbound, None)

    def _first(
        self,
        checks: Iterator[Authenticator],
        inbound: Message,
        otherwise: NeedsBody | None,
        failed: ServiceError | None = None,
    ) -> Principal | Awaitable[Principal | NeedsBody] | NeedsBody:
        for check in checks:
            try:
                found = check.check(inbound)
            except Unauthorized:
                continue
            except ServiceError as fault:
                failed = failed or fault
                continue
            if isinstance(found, Principal):
                return found
            return PendingCheck(found, self._going_on(found, checks, inbound, otherwise, failed=failed))
        if otherwise is not None:
            return otherwise
        raise failed or self._refused(inbound)

    async def _going_on(
        self, waiting: Awaitable[Principal], checks: Iterator[Authenticator], inbound: Message,
        otherwise: NeedsBody | None, *, failed: ServiceError | None
    ) -> Principal | NeedsBody:  # fmt: skip
        try:
            return await waiting
        except Unauthorized:
            pass  # the next one may admit
        except ServiceError as fault:
            failed = failed or fault
        found = self._first(checks, inbound, otherwise, failed)
        return await found if isawaitable(found) else found

    def _refused(self, inbound: Message) -> Unauthorized:
        return Unauthorized(inbound.cid, None, self._challenges[0], more=self._challenges[1:])


def _asked(sorts: Sequence[_Sort], inbound: Message) -> Iterator[Authenticator]:
    """The checks that the request gives something to."""
    for sort in sorts:
        claim = sort.reader.claimed(inbound)
        if claim is not None:
            yield from sort.of(claim)
