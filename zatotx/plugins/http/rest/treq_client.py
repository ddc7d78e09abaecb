"""Provides treq's API for an outgoing connection: `self.out.rest['CRM'].treq`. This module loads twisted.web, so import
it only where it is used.
"""

from __future__ import annotations

from math import inf
from typing import Any
from urllib.parse import urljoin

from treq.client import HTTPClient
from twisted.internet.defer import Deferred, fail
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from zatotx.plugins.http.client.agent_adapter import Agent
from zatotx.plugins.http.client.http_messages import Origin, Timeouts, split_url
from zatotx.plugins.http.client.response_processing import other_origin_error
from zatotx.plugins.http.rest.outgoing_connection import OutgoingConnection


class TreqClient(HTTPClient):
    """An HTTPClient of treq that sends its requests on one connection. URLs without a host are relative to the
    connection's URL."""

    def __init__(self, connection: OutgoingConnection) -> None:
        super().__init__(_Agent(connection, connection.request_template.origin))
        self._connection = connection
        origin = connection.request_template.origin
        self._base = f'{origin.scheme}://{origin.authority.decode("ascii")}/'

    def request(self, method: str, url: Any, **options: Any) -> Deferred[Any]:
        """See treq."""
        url = urljoin(self._base, str(url))
        client = HTTPClient(_Agent(self._connection, split_url(url)[0]), self._cookiejar, self._data_to_body_producer)
        response: Deferred[Any] = client.request(method, url, **options)
        return response


@implementer(IAgent)
class _Agent:
    """The agent of one call. Requests to the connection's own host get its static credentials: Basic Auth, or an API
    key in a field. treq follows redirects itself, so this class recognizes them by their origin, and rejects them or
    checks their address as the connection's follow_redirects requires."""

    def __init__(self, connection: OutgoingConnection, called: Origin) -> None:
        form = connection.request_template
        timeouts = Timeouts(
            queue_timeout=inf,
            connect_timeout=form.connect_timeout,
            first_byte_timeout=inf,
            read_timeout=inf,
            total_timeout=form.timeout,
        )
        bare = connection.parts.client.raw_sender
        self._agent = Agent(bare, timeouts)
        self._redirect_agent = (
            Agent(bare, timeouts, redirected=True) if connection.parts.redirect_to_any_origin else None
        )
        self._call_origin = called
        self._own_origin = form.origin
        self._common = form.common_fields

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent."""
        request_headers = Headers() if headers is None else headers.copy()
        origin = split_url(uri.decode('ascii'))[0]
        if origin == self._own_origin == self._call_origin:
            for name, value in self._common:
                if not request_headers.hasHeader(name):
                    request_headers.addRawHeader(name, value)
        if origin == self._call_origin:
            return self._agent.request(method, uri, request_headers, bodyProducer)
        if self._redirect_agent is None:
            return fail(other_origin_error(f'a redirection by {self._call_origin.host}', origin))
        return self._redirect_agent.request(method, uri, request_headers, bodyProducer)
