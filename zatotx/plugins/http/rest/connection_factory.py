"""Builds outgoing HTTP connections from their configuration. Components that a connection does not need are omitted."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from sys import maxsize
from typing import Any, TypeVar

from attrs import frozen

from zatotx import __version__
from zatotx.connectors.call_policies import CircuitBreaking, Retrying
from zatotx.interfaces.meters import IOutgoingMeter
from zatotx.interfaces.reactor import IReactor
from zatotx.interfaces.security_type import OutgoingCredentials
from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.http_client import (
    DEFAULT_MAX_REDIRECTS,
    ClientEnvironment,
    ClientSettings,
    HttpClientWithSenders,
    make_client,
)
from zatotx.plugins.http.client.http_messages import HttpResponse, split_url
from zatotx.plugins.http.client.response_processing import ACCEPT_ENCODING
from zatotx.plugins.http.rest.error_mapping import CircuitOpen
from zatotx.plugins.http.rest.outgoing_connection import ConnectionParts, OutgoingConnection
from zatotx.plugins.http.rest.outgoing_sender_chain import (
    Attempt,
    AuthorizingSender,
    DirectSender,
    HttpRetryDecision,
    is_peer_failure,
    is_server_error,
)
from zatotx.plugins.http.rest.request_builder import RequestTemplate
from zatotx.plugins.http.schema.http_outgoing_base import ANY_ORIGIN, HttpOutgoing, RetrySettings, tls_settings
from zatotx.rules.resilience.circuit_breaker import CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import SAFE_METHODS, CallRetryBudget, RetryPolicy
from zatotx.rules.routing.url_template import UrlTemplate
from zatotx.wire.http1.request_writer import HeaderFields

_ACCEPTED = {'json': b'application/json', 'xml': b'application/xml, text/xml'}
_ANYTHING = b'*/*'
F = TypeVar('F', bound=RequestTemplate)
USER_AGENT = (b'User-Agent', f'zatotx/{__version__}'.encode('ascii'))


@frozen(kw_only=True)
class BuildContext:
    """The dependencies that are needed to build outgoing HTTP connections."""

    environment: ClientEnvironment
    component: bytes
    meter: IOutgoingMeter


@frozen(kw_only=True)
class HttpConnectionVariant:
    """The properties in which REST and SOAP connections differ."""

    make_template: Callable[[Any, OutgoingCredentials, BuildContext], RequestTemplate]
    make_connection: Callable[
        [ConnectionParts, Any, Any], OutgoingConnection
    ]  # (parts, reactor, configuration)
    is_failure: Callable[[HttpResponse], bool]  # for the circuit breaker


def build_connection(
    value: HttpOutgoing, title: str, credentials: OutgoingCredentials, context: BuildContext,
    connection_type: HttpConnectionVariant,
) -> OutgoingConnection:
    """Build a connection from its configuration. `title` is its name in messages, such as 'Outgoing connection CRM
    (rest)'. Raises ValueError, with the reason, if the configuration cannot be used on this machine."""
    environment, meter = context.environment, context.meter
    meter.circuit_open = meter.circuit_half_open = False
    client = make_client(_client_settings(value, credentials), environment)
    form = connection_type.make_template(value, credentials, context)
    plain = _plain_attempt(form, client, credentials, title)
    breaker = None
    attempt: Attempt = DirectSender(form, client.send_awaitable).send
    if value.circuit_breaker is not None:
        breaker = CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset)
        attempt = CircuitBreaking(
            attempt, breaker, environment.reactor.seconds, meter,
            is_failed_response=connection_type.is_failure, is_failure=is_peer_failure, rejected=CircuitOpen,
        ).send  # fmt: skip
    if credentials.make_authorizer is not None:
        attempt = AuthorizingSender(attempt, credentials.make_authorizer(), title).send
    if value.retry is not None and value.retry.attempts > 1:
        decision = HttpRetryDecision(_retry_policy(value.retry), environment.reactor.seconds)
        attempt = Retrying(attempt, decision, environment.reactor, meter, CallRetryBudget()).send
    parts = ConnectionParts(
        title=title, request_template=form, client=client, send=attempt, send_once=plain, circuit_breaker=breaker,
        ping_method=value.ping_method, redirect_to_any_origin=value.follow_redirects == ANY_ORIGIN,
        max_in_flight=value.max_in_flight or maxsize, meter=meter,
    )  # fmt: skip
    return connection_type.make_connection(parts, environment.reactor, value)


def _plain_attempt(
    form: RequestTemplate, client: HttpClientWithSenders, credentials: OutgoingCredentials, title: str
) -> Attempt:
    direct = DirectSender(form, client.send_awaitable).send
    return (
        direct
        if credentials.make_authorizer is None
        else AuthorizingSender(direct, credentials.make_authorizer(), title).send
    )


def _client_settings(value: HttpOutgoing, credentials: OutgoingCredentials) -> ClientSettings:
    return ClientSettings(
        pool_limits=PoolLimits(max_connections=value.pool_size),
        tls=tls_settings(value),
        proxy=value.proxy,
        max_redirects=DEFAULT_MAX_REDIRECTS
        if value.follow_redirects and credentials.make_token is None
        else 0,  # token: in the body
        redirect_to_any_origin=value.follow_redirects == ANY_ORIGIN,
        secret_fields=frozenset(name.lower() for name, _ in credentials.fields),
    )


def make_request_template(
    form: type[F], value: HttpOutgoing, credentials: OutgoingCredentials, context: BuildContext, accept: bytes,
    **own: Any,
) -> F:
    """Create a RequestTemplate of class `form` from the configuration of a connection."""
    origin, base = split_url(value.host)
    retried = () if value.retry is None else value.retry.methods
    fields = (
        USER_AGENT,
        (b'Accept', accept),
        ACCEPT_ENCODING,
        (b'X-Zato-Component', context.component),
        *credentials.fields,
    )
    return form(
        origin=origin, method=value.method, url_template=UrlTemplate(_join_paths(base, value.url_path)),
        data_format=value.data_format, content_type=value.content_type.encode('ascii'),
        common_fields=HeaderFields.from_pairs(fields), fixed_query=credentials.query, timeout=value.timeout,
        connect_timeout=inf if value.connect_timeout is None else value.connect_timeout,
        max_response_size=value.max_response_size, offload=context.environment.offload,
        seconds=context.environment.reactor.seconds,
        repeatable_methods=SAFE_METHODS.union(retried), requires_challenge=credentials.requires_challenge, **own,
    )  # fmt: skip


def _rest_form(value: HttpOutgoing, credentials: OutgoingCredentials, context: BuildContext) -> RequestTemplate:
    accept = _ACCEPTED.get(value.data_format, _ANYTHING)
    return make_request_template(RequestTemplate, value, credentials, context, accept)


def _rest_connection(parts: ConnectionParts, reactor: IReactor, value: HttpOutgoing) -> OutgoingConnection:
    return OutgoingConnection(parts, reactor)


def _join_paths(base: bytes, path: str) -> str:
    """Join the path of the host's URL and that of the connection."""
    prefix = base.decode('ascii').rstrip('/')
    return prefix + path if path else prefix or '/'


def _retry_policy(retry: RetrySettings) -> RetryPolicy:
    return RetryPolicy(attempts=retry.attempts, backoff=retry.backoff, methods=SAFE_METHODS.union(retry.methods))


REST = HttpConnectionVariant(make_template=_rest_form, make_connection=_rest_connection, is_failure=is_server_error)
