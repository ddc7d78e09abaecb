"""Builds the authentication policy of a node, with an authenticator factory for each type of security definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from zatotx.connectors.kind_registry import import_part
from zatotx.connectors.security_type_registry import find_security_types, requires_client_certificates
from zatotx.interfaces.admin_sessions import ISessionStore
from zatotx.interfaces.config import IConfig
from zatotx.interfaces.outgoing import IFetcher
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.redis import INonceStore
from zatotx.pipeline.security.admin_sessions import AdminSessions
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.authenticator import AuthenticationDependencies, Authenticator, UnavailableFetcher
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.processes.listeners import Listeners
from zatotx.schema.snapshot import Snapshot, StoredObject


def make_authentication_dependencies(
    reactor: IReactor,
    offload: Callable[..., Deferred[Any]],
    *,
    nonces: INonceStore,
    sessions: ISessionStore,
    fetcher: IFetcher | None,
) -> AuthenticationDependencies:
    """Create the dependencies of a node's authenticators. `fetcher` is None if no installed kind provides a fetcher."""
    comparison = SecretComparison(reactor)
    return AuthenticationDependencies(
        reactor=reactor,
        offload=offload,
        nonces=nonces,
        sessions=sessions,
        fetcher=UnavailableFetcher() if fetcher is None else fetcher,
        comparison=comparison,
        verifier=PasswordVerifier(offload, comparison),
    )


def make_admin_sessions(dependencies: AuthenticationDependencies, config: IConfig) -> AdminSessions:
    """Create the object that logs in the users of the web admin."""
    return AdminSessions(
        snapshot=lambda: config.snapshot,
        verifier=dependencies.verifier,
        sessions=dependencies.sessions,
        clock=dependencies.reactor,
    )


def make_authentication_policy(dependencies: AuthenticationDependencies) -> AuthenticationPolicy:
    """Create the authentication policy of a node. It initially contains no security definitions."""
    types = {key: one for key, one in find_security_types().items() if one.authenticator}
    return AuthenticationPolicy(
        {key: partial(_make_authenticator, one.authenticator, dependencies) for key, one in types.items()},
        {key: one.challenge for key, one in types.items()},
        dependencies.reactor,
    )


def _make_authenticator(path: str, dependencies: AuthenticationDependencies, stored: StoredObject) -> Authenticator:
    authenticator: Authenticator = import_part(path)(stored, dependencies)  # its module is imported on demand
    return authenticator


def make_client_certificate_preparer(listeners: Listeners) -> Callable[[Snapshot], None]:
    """Return a function that prepares a configuration snapshot. When the snapshot is applied, TLS listeners request
    client certificates if an active security definition needs them."""

    def apply(snapshot: Snapshot) -> None:
        listeners.request_client_certificates(requires_client_certificates(snapshot))

    return apply
