"""The interface of authenticators of security definitions."""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Mapping
from typing import Any, Protocol

from zatotx.model.message import Message, Principal
from zatotx.rules.security.roles import effective_roles
from zatotx.schema.snapshot import StoredObject

# Two lookup keys that no request can present, because what a request presents contains no NUL.
ANY_DEFINITION = '\0any'  # the request does not tell which definition of the scheme it is for
NO_DEFINITION = '\0'  # the request carries credentials of the scheme that cannot be valid


class Authenticator(Protocol):
    """Authenticates requests by one security definition, from the head or, if `needs_body`, after decoding the body.

    If a channel accepts several definitions, those of one `scheme` (scheme) read the same credentials of a request.
    `extract_key` extracts the lookup key from them; a request whose key equals the `lookup_key` of a definition is
    checked by that definition only.
    """

    @property
    def needs_body(self) -> bool: ...

    @property
    def challenge(self) -> str: ...  # sent to rejected callers in WWW-Authenticate

    @property
    def scheme(self) -> Hashable: ...

    @property
    # a user name, for example; ANY_OF_THEM if requests do not tell which definition they are for
    def lookup_key(self) -> Hashable: ...

    def extract_key(self, message: Message) -> Hashable | None:
        """Return the lookup key of the request's credentials for this scheme, None if it carries none."""

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal, or an awaitable of it. Raises Unauthorized with the challenge, or ServiceUnavailable if
        the decision is impossible now."""


def make_principal(stored: StoredObject, username: str = '', claims: Mapping[str, Any] | None = None) -> Principal:
    """Create the principal of a definition, with the roles it grants. `username` '' = the definition's own."""
    definition = stored.value
    return Principal(
        stored.name,
        username or getattr(definition, 'username', '') or '',
        stored.type,
        claims or {},
        effective_roles(stored.type, stored.name, definition.roles),
    )
