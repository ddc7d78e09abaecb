"""The only place where an exception becomes a reply."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, FirstError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import InternalServerError, ServiceError, Timeout
from zatotx.model.message import Message, Reply


class ErrorReplies:
    """Replies to exceptions. A Fault's own text reaches the caller; of anything else the caller sees the cid and a
    constant sentence, and the log the traceback, once."""

    frames_stay = False  # whether `Reply.error` shows where it was raised
    _log = Logger()

    def reply(self, error: BaseException, inbound: Message, codec: ICodec) -> Reply:
        """The answer that tells the caller of `error`. Never raises."""
        if isinstance(error, ServiceError):
            fault = error
            if fault.status == InternalServerError.status:  # said by a service or about it: the log needs it too
                self._log.error('{cid}: service {service!r}: {why}', why=fault.details, **_names(inbound))
        else:
            fault = self._unexpected(error, inbound)
        details = fault.details if fault.details != inbound.cid else fault.default  # `Forbidden(self.cid)`, as in Zato
        reply: Reply = codec.refuse(fault, details, inbound)
        reply.error = error
        if not self.frames_stay:
            _let_frames_go(error)
        return reply

    def expired(self, inbound: Message, codec: ICodec) -> Reply:
        """The answer where the deadline passed while the service was still running."""
        self._log.warn('{cid}: service {service!r} was still running when its deadline passed', **_names(inbound))
        return self.reply(Timeout(inbound.cid), inbound, codec)

    def _unexpected(self, error: BaseException, inbound: Message) -> ServiceError:
        if isinstance(error, CancelledError):
            self._log.warn('{cid}: service {service!r} gave up: something it waited for was cancelled',
                           **_names(inbound))
        else:
            failure = Failure(error)
            self._log.failure('{cid}: service {service!r} failed: {what}', failure, LogLevel.error,
                              what=f'{type(error).__name__}: {error}', **_names(inbound))
        return InternalServerError(inbound.cid)


def unwrap_first_error(error: BaseException) -> BaseException:
    """What a service failed with: where it waited for several things at once, by gatherResults, what the first of them
    failed with."""
    while isinstance(error, FirstError):
        first = error.subFailure.value
        assert first is not None
        error = first
    return error


def _let_frames_go(error: BaseException) -> None:
    """The frames that an error, and what led to it, were raised in hold the message, and often enough the error: all of
    it would stay until the garbage collector comes by."""
    one: BaseException | None = error
    while one is not None and one.__traceback__ is not None:
        one.__traceback__ = None
        one = one.__context__


def _names(inbound: Message) -> dict[str, str]:
    return {'cid': inbound.cid, 'service': inbound.service, 'channel': inbound.channel.name}
