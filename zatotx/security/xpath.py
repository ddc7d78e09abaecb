"""XPath definitions, which authenticate callers by a user name and a password in an XML body."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Annotated, Any

from twisted.internet.defer import Deferred

from zatotx.interfaces.security_type import SecurityType
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import ANY_DEFINITION, AuthenticationDependencies, make_principal
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition
from zatotx.schema.snapshot import StoredObject
from zatotx.wire.xml.parser import THREAD_THRESHOLD, is_element

_MAX_LENGTH = 4096


class XPath(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition with XPath expressions that select the user name and the password in the body of XML and
    SOAP messages."""

    username: Annotated[str, field('Required user name in the body', min_length=1, max_length=1000)]
    username_expr: Annotated[
        str, field('XPath 1.0 expression of the user name; must select exactly one text',
                   min_length=1, max_length=_MAX_LENGTH)
    ]
    password_expr: Annotated[
        str, field('XPath 1.0 expression of the password; must select exactly one text',
                   min_length=1, max_length=_MAX_LENGTH)
    ]
    namespaces: Annotated[
        dict[str, str], field('Namespace prefixes in the expressions, in addition to soap, soap12, wsse, wsu and xsi:'
                              ' {crm: "urn:crm"}')
    ] = {}
    password: Annotated[
        str, field('Required password in the body; without one all requests are rejected', secret='encrypted')
    ] = ''


def _validate(value: XPath) -> list[tuple[str, str]]:
    return list(_expression_errors(value))


def _expression_errors(value: XPath) -> Iterator[tuple[str, str]]:
    # imported on demand: lxml is slow, and few definitions need it
    from zatotx.wire.xml.xpath import Malformed, XPathTextExpression

    for name in ('username_expr', 'password_expr'):
        try:
            XPathTextExpression(getattr(value, name), value.namespaces)
        except Malformed as error:
            yield name, str(error)


XPATH = ObjectType(
    key='xpath',
    struct=XPath,
    section='security',
    tag='xpath',
    title='XPath definition',
    zato=ZatoApi(
        prefix='security.xpath',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        sec_type='xpath_sec',
    ),
    validate=_validate,
)


CHALLENGE = 'zato-xpath'  # Zato's name: HTTP defines no scheme
Offload = Callable[..., Deferred[Any]]


class XPathAuthenticator:
    """Authenticates callers of XML channels by one XPath definition."""

    needs_body = True
    scheme = 'xpath'
    lookup_key = ANY_DEFINITION
    challenge = CHALLENGE
    __slots__ = ('_attempts', '_digest', '_expected', '_offload', '_password', '_principal', '_username')

    def __init__(self, comparison: SecretComparison, offload: Offload, stored: StoredObject) -> None:
        from zatotx.wire.xml.xpath import (
            XPathTextExpression,  # imported on demand: lxml is slow, and few definitions need it
        )

        definition = stored.value
        self._digest = comparison.digest
        self._attempts = comparison.attempts_for(self.scheme)
        self._offload = offload
        self._principal = make_principal(stored)
        self._username = XPathTextExpression(definition.username_expr, definition.namespaces)
        self._password = XPathTextExpression(definition.password_expr, definition.namespaces)
        password = definition.password.encode('utf-8')
        self._expected = self._digest(definition.username.encode('utf-8'), password) if password else b''

    def extract_key(self, message: Message) -> str | None:
        """Return ANY_OF_THEM if the body is XML."""
        return ANY_DEFINITION if is_element(message.parsed) else None

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal, at once unless the document is large or the caller is throttled. Raises
        Unauthorized."""
        if self.extract_key(message) is None:
            raise self._unauthorized(message)
        attempts = self._attempts
        if attempts.throttled_networks and (delay := attempts.delay(message)) > 0:
            return attempts.wait(message, delay, partial(self._search, message))
        return self._search(message)

    def _search(self, message: Message) -> Principal | Awaitable[Principal]:
        if isinstance(message.body, bytes) and len(message.body) > THREAD_THRESHOLD:
            return self._search_in_thread(message)
        return self._compare(message, self._extract_digest(message.parsed))

    async def _search_in_thread(self, message: Message) -> Principal:
        return self._compare(message, await self._offload(self._extract_digest, message.parsed))

    def _extract_digest(self, root: Any) -> bytes:
        """Return the digest of the user name and password in the body; b'' if one of them is missing."""
        username, password = self._username.find(root), self._password.find(root)
        if username is None or password is None:
            return b''
        return self._digest(username.encode('utf-8'), password.encode('utf-8'))

    def _compare(self, message: Message, digest: bytes) -> Principal:
        if not digest:
            raise self._unauthorized(message)
        if not equal_secrets(digest, self._expected):
            raise self._attempts.record_failure(message, self._unauthorized(message))
        self._attempts.record_success(message)
        return self._principal

    def _unauthorized(self, message: Message) -> Unauthorized:
        return Unauthorized(message.cid, None, self.challenge)


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> XPathAuthenticator:
    """Create the authenticator of an XPath definition."""
    return XPathAuthenticator(dependencies.comparison, dependencies.offload, stored)


security_type = SecurityType(
    object_type=XPATH,
    authenticator='zatotx.security.xpath:make_authenticator',
    challenge=lambda _: CHALLENGE,
)
