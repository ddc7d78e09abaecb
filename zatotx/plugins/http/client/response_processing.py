"""What is done with an answer before its caller has it: redirections are followed, codings taken off. Most answers are
neither, and pay for one look.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import Answer, Outbound, Sender
from zatotx.plugins.http.client.content_decoding import Decoder
from zatotx.plugins.http.client.redirects import Redirects


class Finishing:
    """A Sender of finished answers. Fails with what `Redirects.follow` and `Decoder.decode` raise, too."""

    def __init__(
        self, sender: Sender, seconds: Callable[[], float], *, redirects: Redirects | None, decoder: Decoder | None
    ) -> None:
        self._sender = sender
        self._seconds = seconds
        self._redirects = redirects
        self._decoder = decoder

    def send(self, outbound: Outbound) -> Deferred[Answer]:
        """As a Sender."""
        return self._sender.send(outbound).addCallback(self._look, outbound, self._seconds())

    async def ask(self, outbound: Outbound) -> Answer:
        """The same for who awaits it anyway, without a callback that would look at an answer in vain."""
        began = self._seconds()
        answer = await self._sender.send(outbound)
        head = answer.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return answer
        return await self._finish(answer, outbound, began)

    def _look(self, answer: Answer, outbound: Outbound, began: float) -> Answer | Deferred[Answer]:
        head = answer.head
        if head.status < 300 and b'content-encoding' not in head.headers:
            return answer
        return Deferred.fromCoroutine(self._finish(answer, outbound, began))

    async def _finish(self, answer: Answer, outbound: Outbound, began: float) -> Answer:
        if self._redirects is not None:
            by = min(outbound.deadline, began + outbound.timeouts.total)
            answer = await self._redirects.follow(answer, outbound, by)
        return answer if self._decoder is None else await self._decoder.decode(answer, outbound.most)
