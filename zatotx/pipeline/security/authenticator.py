"""The interface of authenticators, and helper classes and functions for them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.admin_sessions import ISessionStore
from zatotx.interfaces.outgoing import FetchedDocument, IFetcher
from zatotx.interfaces.redis import INonceStore
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.rules.security.roles import effective_roles
from zatotx.schema.snapshot import StoredObject
from zatotx.system.thread_pool import IThreadReactor

# Two lookup keys that no request can present, because what a request presents contains no NUL.
ANY_DEFINITION = '\0any'  # the request does not tell which definition of the scheme it is for
NO_DEFINITION = '\0'  # the request carries credentials of the scheme that cannot be valid


class Authenticator(Protocol):
    """Authenticates requests by one security definition. Authentication uses the head of the request or, if
    `needs_body` is set, runs after the body was decoded.

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
    """Create the principal of a security definition, with the roles that the definition grants. An empty `username`
    stands for the user name in the definition."""
    definition = stored.value
    return Principal(
        stored.name,
        username or getattr(definition, 'username', '') or '',
        stored.type,
        claims or {},
        effective_roles(stored.type, stored.name, definition.roles),
    )


@implementer(IFetcher)
class UnavailableFetcher:
    """An implementation of IFetcher whose fetches always fail, for nodes whose installed kinds provide none."""

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        return fail(ServiceUnavailable(None, 'no kind of connections that could fetch them is installed'))


@frozen(kw_only=True)
class AuthenticationDependencies:
    """The objects that authenticators can use, such as the reactor, the session store and the document fetcher."""

    reactor: IThreadReactor
    offload: Callable[..., Deferred[Any]]  # (function, *args): runs it in a thread
    nonces: INonceStore
    sessions: ISessionStore
    fetcher: IFetcher  # fetches documents by their URL, e.g. the keys of JWT issuers
    # One for all authenticators: failed guesses at one definition slow down guesses at all of them.
    comparison: SecretComparison
    verifier: PasswordVerifier


_Key = TypeVar('_Key')


class PrincipalCache(Generic[_Key]):
    """A cache of principals by credentials. Each entry is kept until it expires. At most `most` entries are kept, and
    the oldest entries are dropped."""

    __slots__ = ('_entries', '_max_size')

    def __init__(self, max_size: int) -> None:
        self._entries: OrderedDict[_Key, tuple[float, Principal]] = OrderedDict()
        self._max_size = max_size

    def get(self, key: _Key, now: float) -> Principal | None:
        """Return the principal, unless it is unknown or expired."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now < entry[0] else None

    def store(self, key: _Key, principal: Principal, expires_at: float) -> None:
        """Store a principal until `expires_at`, on the clock of `get`'s `now`."""
        self._entries.pop(key, None)
        self._entries[key] = expires_at, principal
        if len(self._entries) > self._max_size:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
