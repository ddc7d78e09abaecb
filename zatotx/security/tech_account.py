"""Technical accounts, which are Zato's legacy credentials in the header fields X-Zato-User and X-Zato-Password."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Annotated, Any

from zatotx.interfaces.security_type import SecurityType
from zatotx.model.errors import Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security.authenticator import AuthenticationDependencies, make_principal
from zatotx.pipeline.security.secret_comparison import SecretComparison, equal_secrets
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition, control_character_error
from zatotx.schema.snapshot import StoredObject


class TechAccount(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition of a user name and password in the header fields X-Zato-User and X-Zato-Password."""

    username: Annotated[
        str,
        field('User name in X-Zato-User; empty = the name of the account', max_length=1000,
              check=control_character_error),
    ] = ''
    password: Annotated[
        str,
        field('Password in X-Zato-Password; without one all requests are rejected', secret='encrypted',
              check=control_character_error),
    ] = ''


def _deletion_error(account: TechAccount, request: Mapping[str, Any]) -> str:
    """Prevent an account from deleting itself, as in Zato."""
    if request.get('current_tech_account_name') == account.name:
        return f'Technical account {account.name!r} may not delete itself'
    return ''


TECH_ACCOUNT = ObjectType(
    key='tech_account',
    struct=TechAccount,
    section='security',
    tag='tech_account',
    title='Technical account',
    zato=ZatoApi(
        prefix='security.tech-account',
        actions=('create', 'edit', 'delete', 'get-list', 'change-password'),
        sec_type='tech_acc',
        deletion_error=_deletion_error,
    ),
)


CHALLENGE = 'zato-tech-acc'  # Zato's name: HTTP defines no scheme
_USER, _PASSWORD = b'x-zato-user', b'x-zato-password'


class TechAccountAuthenticator:
    """Authenticates callers by one technical account. The user name and the password are compared together, so that the
    check takes the same time for an unknown user and for a wrong password."""

    needs_body = False
    scheme = 'tech_account'
    challenge = CHALLENGE
    __slots__ = ('_attempts', '_digest', '_expected', '_principal', 'lookup_key')

    def __init__(self, comparison: SecretComparison, stored: StoredObject) -> None:
        definition = stored.value
        username = definition.username or definition.name
        self.lookup_key = username.encode('utf-8')
        self._digest = comparison.digest
        self._attempts = comparison.attempts_for(f'{self.scheme} {username}')
        self._principal = make_principal(stored, username)
        password = definition.password.encode('utf-8')
        self._expected = comparison.digest(self.lookup_key, password) if password else b''

    def extract_key(self, message: Message) -> bytes | None:
        """Return the user name."""
        return message.headers.get(_USER)

    def check(self, message: Message) -> Principal | Awaitable[Principal]:
        """Return the principal at once, or an awaitable of it if the caller is throttled. Raises Unauthorized."""
        http = message.http
        if http is not None and http.authenticated_by is self:
            return self._principal
        user, password = message.headers.get(_USER), message.headers.get(_PASSWORD)
        if user is None or password is None:
            raise Unauthorized(message.cid, None, self.challenge)
        attempts, presented = self._attempts, self._digest(user, password)
        if attempts.throttled_networks and (delay := attempts.delay(message)) > 0:
            return attempts.wait(message, delay, partial(self._compare, message, presented))
        return self._compare(message, presented)

    def _compare(self, message: Message, presented: bytes) -> Principal:
        if not equal_secrets(presented, self._expected):
            raise self._attempts.record_failure(message, Unauthorized(message.cid, None, self.challenge))
        self._attempts.record_success(message, self)
        return self._principal


def make_authenticator(stored: StoredObject, dependencies: AuthenticationDependencies) -> TechAccountAuthenticator:
    """Create the authenticator of a technical account."""
    return TechAccountAuthenticator(dependencies.comparison, stored)


security_type = SecurityType(
    object_type=TECH_ACCOUNT,
    authenticator='zatotx.security.tech_account:make_authenticator',
    challenge=lambda _: CHALLENGE,
)
