"""What is done with an answer before its caller has it: redirections are followed, codings taken off. Most answers are
neither, and pay for one look.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Sender
from zatotx.plugins.http.client.content_decoding import Decoder
from zatotx.plugins.http.client.redirects import RedirectFollower


class ResponseProcessor:
    """A Sender of finished answers. Fails with what `RedirectFollower.follow` and `Decoder.decode` raise, too."""

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

    def send(self, outbound: HttpRequest) -> Deferred[HttpResponse]:
        """As a Sender."""
        return self._sender.send(outbound).addCallback(self._look, outbound, self._seconds())

    async def ask(self, outbound: HttpRequest) -> HttpResponse:
        """The same for who awaits it anyway, without a callback that would look at an answer in vain."""
        began = self._seconds()
        answer = await self._sender.send(outbound)
        head = answer.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return answer
        return await self._finish(answer, outbound, began)

    def _look(self, answer: HttpResponse, outbound: HttpRequest, began: float) -> HttpResponse | Deferred[HttpResponse]:
        head = answer.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return answer
        return Deferred.fromCoroutine(self._finish(answer, outbound, began))

    async def _finish(self, answer: HttpResponse, outbound: HttpRequest, began: float) -> HttpResponse:
        if self._redirects is not None:
            by = min(outbound.deadline, began + outbound.timeouts.total)
            answer = await self._redirects.follow(answer, outbound, by)
        return answer if self._decoder is None else await self._decoder.decode(answer, outbound.most)
