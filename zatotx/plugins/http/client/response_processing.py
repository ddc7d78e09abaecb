"""Processes responses before they are returned: follows redirects and decodes content codings. Most responses need
neither and cost one check."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Sender
from zatotx.plugins.http.client.content_decoding import Decoder
from zatotx.plugins.http.client.redirects import RedirectFollower


class ResponseProcessor:
    """A Sender that processes responses. Also fails with what `RedirectFollower.follow` and `Decoder.decode` raise."""

    def __init__(
        self,
        sender: Sender,
        seconds: Callable[[], float],
        *,
        redirects: RedirectFollower | None,
        decoder: Decoder | None,
    ) -> None:
        self._sender = sender
        self._seconds = seconds
        self._redirects = redirects
        self._decoder = decoder

    def send(self, request: HttpRequest) -> Deferred[HttpResponse]:
        """See Sender."""
        return self._sender.send(request).addCallback(self._check, request, self._seconds())

    async def send_awaitable(self, request: HttpRequest) -> HttpResponse:
        """Send a request from a coroutine, without the callback that `send` needs."""
        began = self._seconds()
        response = await self._sender.send(request)
        head = response.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return response
        return await self._finish(response, request, began)

    def _check(
        self, response: HttpResponse, outbound: HttpRequest, began: float
    ) -> HttpResponse | Deferred[HttpResponse]:
        head = response.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return response
        return Deferred.fromCoroutine(self._finish(response, outbound, began))

    async def _finish(self, response: HttpResponse, outbound: HttpRequest, began: float) -> HttpResponse:
        if self._redirects is not None:
            by = min(outbound.deadline, began + outbound.timeouts.total_timeout)
            response = await self._redirects.follow(response, outbound, by)
        return response if self._decoder is None else await self._decoder.decode(response, outbound.max_body)
