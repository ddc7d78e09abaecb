"""Fetches documents over HTTP for other components of the node, such as the keys of a JWT issuer."""

from __future__ import annotations

from math import inf

from twisted.internet.defer import Deferred, fail

from zatotx.interfaces.outgoing import FetchedDocument
from zatotx.model.errors import ServiceUnavailable
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, make_client
from zatotx.plugins.http.client.http_messages import HttpRequest, Timeouts, split_url
from zatotx.plugins.http.client.response_processing import ACCEPT_ENCODING
from zatotx.plugins.http.rest.connection_factory import USER_AGENT
from zatotx.plugins.http.rest.error_mapping import map_client_error

_FIELDS = (USER_AGENT, (b'Accept', b'*/*'), ACCEPT_ENCODING)


class DocumentFetcher:
    """Implements IFetcher with an HTTP client that is independent of the configured connections."""

    def __init__(self, environment: ClientEnvironment) -> None:
        self._client = make_client(ClientSettings(max_redirects=0), environment)

    def fetch(self, url: str, *, timeout: float, max_body: int) -> Deferred[FetchedDocument]:
        """See IFetcher."""
        try:
            origin, target = split_url(url)
        except ValueError as error:
            return fail(ServiceUnavailable(None, f'There is no document to be had: its URL {error}'))
        timeouts = Timeouts(
            queue_timeout=inf, connect_timeout=inf, first_byte_timeout=inf, read_timeout=inf, total_timeout=timeout
        )
        outbound = HttpRequest('GET', origin, target, _FIELDS, timeouts=timeouts, max_body=max_body)
        return Deferred.fromCoroutine(self._fetch(outbound, timeout))

    async def _fetch(self, outbound: HttpRequest, timeout: float) -> FetchedDocument:
        try:
            response = await self._client.send(outbound)
        except CallFailed as failure:
            error = map_client_error(failure, f'The server {outbound.origin.host}', '', timeout)
            if isinstance(error, ServiceUnavailable):
                raise error from failure
            raise ServiceUnavailable(None, str(error)) from failure
        assert isinstance(response.body, bytes)
        return FetchedDocument(status=response.status, headers=response.headers, body=response.body)

    def close(self) -> Deferred[None]:
        """Close its connections."""
        return self._client.close()
