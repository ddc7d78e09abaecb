"""Puts together who may use a channel: a check for each type of security definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from zatotx.interfaces.fetcher import Fetched, IFetcher
from zatotx.interfaces.nonces import INonces
from zatotx.model.errors import ServiceUnavailable
from zatotx.node.listeners import Listeners
from zatotx.pipeline.security.apikey import ApiKeyAuthenticator
from zatotx.pipeline.security.basic_auth import BasicAuthAuthenticator
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.policy import AuthenticationPolicy
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.pipeline.security.tech_account import TechAccountAuthenticator
from zatotx.schema.snapshot import Snapshot, Stored


@frozen(kw_only=True)
class AuthenticationDependencies:
    """What checks need beside a definition."""

    reactor: Any
    offload: Callable[..., Any]
    nonces: INonces
    fetcher: IFetcher | None  # for the keys of an issuer; None = there is no kind that has one


def make_authentication_policy(means: AuthenticationDependencies) -> AuthenticationPolicy:
    """The guard of a node, without definitions yet."""
    guesses = SecretComparison(means.reactor)  # whoever guesses at one definition is slow at all of them
    verifier = PasswordVerifier(means.offload, guesses)
    return AuthenticationPolicy({
        'apikey': partial(ApiKeyAuthenticator, guesses),
        'basic_auth': partial(BasicAuthAuthenticator, verifier),
        'jwt': partial(_jwt_check, means),
        'mtls': _mtls_check,
        'tech_account': partial(TechAccountAuthenticator, guesses),
        'wss': partial(_wss_check, means, guesses),
        'xpath': partial(_xpath_check, means, guesses),
    })  # fmt: skip


def requests_client_certificates(listeners: Listeners) -> Callable[[Snapshot], None]:
    """Applies a snapshot: clients are asked for certificates while there is a definition that looks at them."""

    def apply(snapshot: Snapshot) -> None:
        listeners.ask_clients(any(stored.value.is_active for stored in snapshot.of('mtls')))

    return apply


def _jwt_check(means: AuthenticationDependencies, stored: Stored) -> Any:
    from zatotx.pipeline.security.jwt import (
        make_jwt_authenticator,  # PyJWT takes its time, and few have such definitions
    )

    return make_jwt_authenticator(
        stored, fetcher=means.fetcher or _NoFetcher(), clock=means.reactor, offload=means.offload
    )


def _mtls_check(stored: Stored) -> Any:
    from zatotx.pipeline.security.mtls import MtlsAuthenticator  # likewise

    return MtlsAuthenticator(stored)


def _wss_check(means: AuthenticationDependencies, guesses: SecretComparison, stored: Stored) -> Any:
    from zatotx.pipeline.security.wss import WssAuthenticator, WssDependencies  # lxml likewise

    return WssAuthenticator(WssDependencies(guesses, means.nonces), stored)


def _xpath_check(means: AuthenticationDependencies, guesses: SecretComparison, stored: Stored) -> Any:
    from zatotx.pipeline.security.xpath import XPathAuthenticator

    return XPathAuthenticator(guesses, means.offload, stored)


@implementer(IFetcher)
class _NoFetcher:
    """There is no kind that fetches."""

    def fetch(self, url: str, *, timeout: float, most: int) -> Deferred[Fetched]:
        return fail(ServiceUnavailable(None, 'no kind of connections that could fetch them is installed'))
