"""Builds the authentication policy of a node: an authenticator for each type of security definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.outgoing import FetchedDocument, IFetcher
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import INonceStore
from zatotx.model.errors import ServiceUnavailable
from zatotx.node.listeners import Listeners
from zatotx.pipeline.security.apikey import ApiKeyAuthenticator
from zatotx.pipeline.security.basic_auth import BasicAuthAuthenticator
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.policy import AuthenticationPolicy
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.pipeline.security.tech_account import TechAccountAuthenticator
from zatotx.schema.snapshot import Snapshot, StoredObject


@frozen(kw_only=True)
class AuthenticationDependencies:
    """The collaborators that authenticators need besides their definition."""

    reactor: IReactor
    offload: Callable[..., Any]
    nonces: INonceStore
    fetcher: IFetcher | None  # fetches the keys of JWT issuers; None = no installed kind provides one


def make_authentication_policy(dependencies: AuthenticationDependencies) -> AuthenticationPolicy:
    """Return the authentication policy of a node, without any definitions yet."""
    # One for all authenticators: failed guesses at one definition slow down guesses at all of them.
    secret_comparison = SecretComparison(dependencies.reactor)
    verifier = PasswordVerifier(dependencies.offload, secret_comparison)
    return AuthenticationPolicy({
        'apikey': partial(ApiKeyAuthenticator, secret_comparison),
        'basic_auth': partial(BasicAuthAuthenticator, verifier),
        'jwt': partial(_make_jwt_authenticator, dependencies),
        'mtls': _make_mtls_authenticator,
        'tech_account': partial(TechAccountAuthenticator, secret_comparison),
        'wss': partial(_make_wss_authenticator, dependencies, secret_comparison),
        'xpath': partial(_make_xpath_authenticator, dependencies, secret_comparison),
    })  # fmt: skip


def make_client_certificate_preparer(listeners: Listeners) -> Callable[[Snapshot], None]:
    """Return a function that applies a snapshot: TLS listeners request client certificates while any mTLS definition is
    active."""

    def apply(snapshot: Snapshot) -> None:
        listeners.request_client_certificates(
            any(stored.value.is_active for stored in snapshot.objects_of_types('mtls'))
        )

    return apply


def _make_jwt_authenticator(dependencies: AuthenticationDependencies, stored: StoredObject) -> Any:
    from zatotx.pipeline.security.jwt import (
        make_jwt_authenticator,  # PyJWT is slow to import, and few installations use JWT
    )

    return make_jwt_authenticator(
        stored, fetcher=dependencies.fetcher or _NoFetcher(), clock=dependencies.reactor, offload=dependencies.offload
    )


def _make_mtls_authenticator(stored: StoredObject) -> Any:
    from zatotx.pipeline.security.mtls import MtlsAuthenticator  # imported on demand, too

    return MtlsAuthenticator(stored)


def _make_wss_authenticator(
    dependencies: AuthenticationDependencies, secret_comparison: SecretComparison, stored: StoredObject
) -> Any:
    from zatotx.pipeline.security.wss import WssAuthenticator, WssDependencies  # lxml is imported on demand, too

    return WssAuthenticator(WssDependencies(secret_comparison, dependencies.nonces), stored)


def _make_xpath_authenticator(
    dependencies: AuthenticationDependencies, secret_comparison: SecretComparison, stored: StoredObject
) -> Any:
    from zatotx.pipeline.security.xpath import XPathAuthenticator

    return XPathAuthenticator(secret_comparison, dependencies.offload, stored)


@implementer(IFetcher)
class _NoFetcher:
    """The IFetcher that is used if no installed kind provides one: every fetch fails."""

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        return fail(ServiceUnavailable(None, 'no kind of connections that could fetch them is installed'))
