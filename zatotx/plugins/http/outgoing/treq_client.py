"""treq's API on the sockets of a connection: `self.out.rest['CRM'].treq`. Import it where it is used: it loads
twisted.web.
"""

from __future__ import annotations

from math import inf
from typing import Any
from urllib.parse import urljoin

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from zatotx.plugins.http.client.agent import Agent
from zatotx.plugins.http.client.call import Timeouts
from zatotx.plugins.http.outgoing.addresses import split_url
from zatotx.plugins.http.outgoing.connection import Connection


class TreqClient(HTTPClient):
    """treq's HTTPClient, for which a URL without a host is one of the connection's."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(_Agent(connection))
        origin = connection.form.origin
        self._base = f'{origin.scheme}://{origin.authority.decode("ascii")}/'

    def request(self, method: str, url: Any, **options: Any) -> Deferred[Any]:
        """See treq."""
        answering: Deferred[Any] = super().request(method, urljoin(self._base, str(url)), **options)
        return answering


@implementer(IAgent)
class _Agent:
    """Requests to the connection's own host say who we are, as far as that is always the same: Basic Auth, API keys in
    a field."""

    def __init__(self, connection: Connection) -> None:
        form = connection.form
        timeouts = Timeouts(queue=inf, connect=form.connect_timeout, first_byte=inf, silence=inf, total=form.timeout)
        self._agent = Agent(connection.parts.client.bare, timeouts)
        self._origin = form.origin
        self._common = form.common

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """See IAgent."""
        given = Headers() if headers is None else headers.copy()
        if split_url(uri.decode('ascii'))[0] == self._origin:
            for name, value in self._common:
                if not given.hasHeader(name):
                    given.addRawHeader(name, value)
        return self._agent.request(method, uri, given, bodyProducer)
