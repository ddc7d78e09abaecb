"""The request's side of a connection: what of a call is out, what is not, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

from zatotx.plugins.http.client.client_writer import ClientWriter, client_writer_for
from zatotx.plugins.http.client.errors import BodyFailed
from zatotx.plugins.http.client.pending_call import ASKED, EXPECTING, CallEnvironment, PendingCall
from zatotx.plugins.http.client.request_body import BodyUpload


class RequestWriter:
    """Writes one request after the other. `failed` is told when a body could not be made. `holds(data)`: whether the
    data that a call begins with is all here still, so that the peer cannot have seen it."""

    __slots__ = ('_call', '_failed', '_out', '_shared', '_upload', '_withheld', 'holds')

    def __init__(self, shared: CallEnvironment, transport: Any, failed: Callable[[BodyFailed], None]) -> None:
        self._shared = shared
        self._failed = failed
        self._out: ClientWriter = client_writer_for(transport, self._drained, shared.seconds, shared.burst)
        self.holds = self._out.holds
        self._call: PendingCall | None = None  # whose body is made or waits for the peer's consent
        self._upload: BodyUpload | None = None
        self._withheld = False

    @property
    def withheld(self) -> bool:
        """Whether the body waits for the peer's consent."""
        return self._withheld

    @property
    def unfinished(self) -> bool:
        """Whether some of the request did not go out yet."""
        return self._call is not None or self._out.behind

    def start(self, call: PendingCall, now: float) -> None:
        """Send the request."""
        outbound = call.outbound
        self._out.write(call.data)
        if call.body is None:
            call.stand(ASKED, now, outbound.timeouts.first_byte)
            return
        self._call = call
        if outbound.expect:
            self._withheld = True
            call.stand(EXPECTING, now, outbound.expect)
        else:
            self.send_body(now)

    def send_body(self, now: float) -> None:
        """Send the body, now that the peer agrees or has had time enough to object."""
        call = self._call
        assert call is not None
        self._withheld = False
        call.stand(ASKED, now, call.outbound.timeouts.first_byte)
        body = call.body
        if isinstance(body, bytes):
            self._call = None
            self._out.write(body)
        elif body is not None:
            call.begun = True
            try:
                upload = self._upload = BodyUpload(body, self._out, self._shared.reactor, self._uploaded)
            except Exception:  # the source gives no pieces at all
                self._uploaded(Failure())
            else:
                upload.start()

    def progress(self, now: float) -> float:
        """When the request last got on, in seconds of the reactor's clock."""
        if self._upload is not None and not self._out.behind:
            return now  # its body is being made
        return self._out.moved

    def leave(self) -> None:
        """Close the connection in good order."""
        self._out.lose()

    def stop(self) -> None:
        """The rest of the body is not wanted. It stays unfinished."""
        if self._upload is not None:
            self._upload.cancel()

    def abandon(self) -> None:
        """Nothing more is sent, of what was written either."""
        self.stop()
        self._out.discard()

    def gone(self) -> bool:
        """Whether the connection, idle, is seen to be of no use, before the reactor has told so."""
        return self._out.gone()

    def _drained(self) -> None:
        if self._upload is not None:
            self._upload.drained()

    def _uploaded(self, failure: Failure | None) -> None:
        call, self._call = self._call, None
        self._upload = None
        assert call is not None
        if failure is not None:
            error = BodyFailed(f'the body of the request could not be made: {failure.getErrorMessage()}')
            error.__cause__ = failure.value
            self._failed(error)
        elif call.stage == ASKED:
            call.stand(ASKED, self._shared.seconds(), call.outbound.timeouts.first_byte)
