"""Who may use a channel: the security definitions in force, one check object each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from zatotx.interfaces.exchange import NEEDS_BODY, IGuard, NeedsBody
from zatotx.model.faults import Unauthorized
from zatotx.model.message import ANONYMOUS, Inbound, Principal
from zatotx.schema.snapshot import Snapshot, Stored


class Check(Protocol):
    """One security definition, ready to check requests: by the head, or, where it `needs_body`, once that was decoded.
    Raises Unauthorized with the challenge of its kind."""

    needs_body: bool

    def check(self, inbound: Inbound) -> Principal | Awaitable[Principal]: ...


@implementer(IGuard)
class Guard:
    """Keeps a check for every security definition, and drops it, with all it remembers, when the definition changes.

    `makers`: type of definition ('basic_auth') -> what makes its check.
    """

    def __init__(self, makers: Mapping[str, Callable[[Stored], Check]]) -> None:
        self._makers = makers
        self._checks: dict[str, tuple[Stored, Check]] = {}

    def check(self, inbound: Inbound) -> Principal | Awaitable[Principal] | NeedsBody:
        name = inbound.channel.security
        if name is None:
            return ANONYMOUS
        check = self._check_of(name, inbound)
        return NEEDS_BODY if check.needs_body else check.check(inbound)

    def check_body(self, inbound: Inbound) -> Principal | Awaitable[Principal]:
        name = inbound.channel.security
        return ANONYMOUS if name is None else self._check_of(name, inbound).check(inbound)

    def _check_of(self, name: str, inbound: Inbound) -> Check:
        known = self._checks.get(name)
        if known is None:  # the definition is gone or switched off: nobody gets in
            raise Unauthorized(inbound.cid)
        return known[1]

    def apply(self, snapshot: Snapshot) -> None:
        """Take over the definitions of a snapshot: unchanged ones keep what they know of verified credentials."""
        before = self._checks
        checks = {}
        for stored in snapshot.of(*self._makers):
            known = before.get(stored.name)
            if known is not None and known[0] == stored:
                checks[stored.name] = known
            elif stored.value.is_active:
                checks[stored.name] = (stored, self._makers[stored.type](stored))
        self._checks = checks

    def applied(self, snapshot: Snapshot) -> Deferred[None]:
        """The same, as one of a node's appliers."""
        self.apply(snapshot)
        return succeed(None)
