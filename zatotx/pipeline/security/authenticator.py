"""What the check of a security definition is, whatever its type."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Mapping
from typing import Any, Protocol

from zatotx.model.message import Message, Principal
from zatotx.rules.security.roles import roles_of
from zatotx.schema.snapshot import Stored

# Two claims that no request can make: what it may claim has no NUL.
ANY_OF_THEM = '\0any'  # nothing of the request says which definition of the sort is meant
NOBODY = '\0'  # it carries something of the sort that can be nobody's


class Authenticator(Protocol):
    """One security definition, ready to check requests: by the head, or, where it `needs_body`, once that was decoded.

    Where a channel accepts several definitions, those of one `sort` read the same thing of a request. What that says
    is the claim: a request that claims what a definition has for `claim` is checked by that one alone.
    """

    @property
    def needs_body(self) -> bool: ...

    @property
    def challenge(self) -> str: ...  # what a refused caller reads in WWW-Authenticate

    @property
    def sort(self) -> Hashable: ...

    @property
    def claim(self) -> Hashable: ...  # a user name, say; ANY_OF_THEM where no request can say which one it means

    def claimed(self, inbound: Message) -> Hashable | None:
        """What the request claims by what checks of this sort read; None where it carries nothing of that."""

    def check(self, inbound: Message) -> Principal | Awaitable[Principal]:
        """The principal, at once where it is known. Raises Unauthorized with the challenge; ServiceUnavailable where
        it cannot be said now."""


def principal_of(stored: Stored, username: str = '', claims: Mapping[str, Any] | None = None) -> Principal:
    """Who is admitted by that definition, with the roles it gives. `username` '' = the definition's own."""
    definition = stored.value
    return Principal(
        stored.name,
        username or getattr(definition, 'username', '') or '',
        stored.type,
        claims or {},
        roles_of(stored.type, stored.name, definition.roles),
    )
