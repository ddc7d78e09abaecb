"""A connection made of its configuration: whatever it does not ask for is not there."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from sys import maxsize
from typing import Any

from attrs import frozen

from zatotx import __version__
from zatotx.connectors.call_policies import CircuitBreaking, Retrying
from zatotx.plugins.http.client.call import HttpResponse
from zatotx.plugins.http.client.content_decoding import ACCEPT
from zatotx.plugins.http.client.factory import FOLLOWED, BuiltClient, ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.rest.attempts import (
    Attempt,
    Authorizing,
    DirectSender,
    HttpRetryDecision,
    is_failure,
    is_peer_failure,
)
from zatotx.plugins.http.rest.connection import ConnectionParts, OutgoingConnection
from zatotx.plugins.http.rest.credentials import OutgoingCredentials
from zatotx.plugins.http.rest.error_mapping import CircuitOpen
from zatotx.plugins.http.rest.request_builder import RequestForm
from zatotx.plugins.http.rest.urls import split_url
from zatotx.plugins.http.schema.outgoing import ANY_ORIGIN, HttpOutgoing, Retry, tls_settings
from zatotx.rules.resilience.circuit_breaker import CircuitBreaker
from zatotx.rules.resilience.retry import SAFE, RetryBudget, RetryPolicy
from zatotx.rules.routing.url_template import UrlTemplate
from zatotx.wire.http1.request_writer import NamedFields

_ACCEPTED = {'json': b'application/json', 'xml': b'application/xml, text/xml'}
_ANYTHING = b'*/*'
AGENT = (b'User-Agent', f'zatotx/{__version__}'.encode('ascii'))


@frozen(kw_only=True)
class BuildContext:
    """What connections are made with."""

    reach: ClientEnvironment
    component: bytes
    meter: Any  # the IOutgoingMeter of the connection


@frozen(kw_only=True)
class HttpConnectionType:
    """What tells one type of connections from another."""

    form: Callable[[Any, OutgoingCredentials, BuildContext], RequestForm]
    connection: Callable[
        [ConnectionParts, Any, Any], OutgoingConnection
    ]  # of its parts, the reactor and the configuration
    is_failure: Callable[[HttpResponse], bool]  # for the circuit breaker


def build(
    value: HttpOutgoing, title: str, identity: OutgoingCredentials, workshop: BuildContext, craft: HttpConnectionType
) -> OutgoingConnection:
    """The connection that is configured so. `title`: 'Outgoing connection CRM (rest)'. Raises ValueError, saying why,
    for a configuration that this machine cannot use."""
    reach, meter = workshop.reach, workshop.meter
    meter.circuit_open = meter.circuit_half_open = False
    client = make_client(_client_settings(value, identity), reach)
    form = craft.form(value, identity, workshop)
    plain = _plain(form, client, identity, title)
    breaker = None
    attempt: Attempt = DirectSender(form, client.ask).send
    if value.circuit_breaker is not None:
        breaker = CircuitBreaker(value.circuit_breaker.failures, value.circuit_breaker.reset)
        attempt = CircuitBreaking(
            attempt, breaker, reach.reactor.seconds, meter,
            is_failed_response=craft.is_failure, is_failure=is_peer_failure, rejected=CircuitOpen,
        ).send  # fmt: skip
    if identity.authorizer is not None:
        attempt = Authorizing(attempt, identity.authorizer(), title).send
    if value.retry is not None and value.retry.attempts > 1:
        decision = HttpRetryDecision(_repeats(value.retry), reach.reactor.seconds)
        attempt = Retrying(attempt, decision, reach.reactor, meter, RetryBudget()).send
    parts = ConnectionParts(
        title=title, form=form, client=client, attempt=attempt, plain=plain, breaker=breaker,
        ping_method=value.ping_method, any_origin=value.follow_redirects == ANY_ORIGIN,
        max_in_flight=value.max_in_flight or maxsize, meter=meter,
    )  # fmt: skip
    return craft.connection(parts, reach.reactor, value)


def _plain(form: RequestForm, client: BuiltClient, identity: OutgoingCredentials, title: str) -> Attempt:
    direct = DirectSender(form, client.ask).send
    return direct if identity.authorizer is None else Authorizing(direct, identity.authorizer(), title).send


def _client_settings(value: HttpOutgoing, identity: OutgoingCredentials) -> ClientSettings:
    return ClientSettings(
        bounds=PoolLimits(connections=value.pool_size),
        tls=tls_settings(value),
        proxy=value.proxy,
        follow_redirects=FOLLOWED if value.follow_redirects and identity.token is None else 0,  # it is in the body
        any_origin=value.follow_redirects == ANY_ORIGIN,
        secret_fields=frozenset(name.lower() for name, _ in identity.fields),
    )


def form_fields(
    value: HttpOutgoing, identity: OutgoingCredentials, workshop: BuildContext, accepted: bytes
) -> dict[str, Any]:
    """What a Form of any type has."""
    origin, base = split_url(value.host)
    retried = () if value.retry is None else value.retry.methods
    fields = (AGENT, (b'Accept', accepted), ACCEPT, (b'X-Zato-Component', workshop.component), *identity.fields)
    return {
        'origin': origin, 'method': value.method, 'template': UrlTemplate(_joined(base, value.url_path)),
        'data_format': value.data_format, 'content_type': value.content_type.encode('ascii'),
        'common': NamedFields.of(fields),
        'query': identity.query, 'timeout': value.timeout,
        'connect_timeout': inf if value.connect_timeout is None else value.connect_timeout,
        'most': value.max_response_size, 'offload': workshop.reach.offload, 'seconds': workshop.reach.reactor.seconds,
        'repeated': SAFE.union(retried), 'asks_first': identity.asks_first,
    }  # fmt: skip


def _rest_form(value: HttpOutgoing, identity: OutgoingCredentials, workshop: BuildContext) -> RequestForm:
    if identity.token is not None:
        raise ValueError('its security definition is of type wss, which is for outgoing_soap only')
    return RequestForm(**form_fields(value, identity, workshop, _ACCEPTED.get(value.data_format, _ANYTHING)))


def _rest_connection(parts: ConnectionParts, reactor: Any, value: HttpOutgoing) -> OutgoingConnection:
    return OutgoingConnection(parts, reactor)


def _joined(base: bytes, path: str) -> str:
    """The path of the host's URL, where it has one, before that of the connection."""
    before = base.decode('ascii').rstrip('/')
    return before + path if path else before or '/'


def _repeats(retry: Retry) -> RetryPolicy:
    return RetryPolicy(attempts=retry.attempts, backoff=retry.backoff, methods=SAFE.union(retry.methods))


REST = HttpConnectionType(form=_rest_form, connection=_rest_connection, is_failure=is_failure)
