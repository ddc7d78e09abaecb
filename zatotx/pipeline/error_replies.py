"""Converts exceptions to error replies. No other module creates error replies from exceptions."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, FirstError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from zatotx.interfaces.pipeline import ICodec
from zatotx.model.errors import InternalServerError, ServiceError, Timeout
from zatotx.model.message import Message, Reply


class ErrorReplies:
    """Creates the reply for an exception. The message of a ServiceError is sent to the caller. For any other exception,
    the caller receives the correlation ID and a constant sentence, and the traceback is logged once."""

    keep_tracebacks = False  # whether `Reply.error` keeps its traceback
    _log = Logger()

    def reply(self, error: BaseException, message: Message, codec: ICodec) -> Reply:
        """Return the reply that reports `error` to the caller. Never raises."""
        if isinstance(error, ServiceError):
            service_error = error
            if service_error.status == InternalServerError.status:  # raised by a service or because of it: log it, too
                self._log.error('{cid}: service {service!r}: {why}', why=service_error.details, **_log_fields(message))
        else:
            service_error = self._unexpected(error, message)
        # Zato's services write `Forbidden(self.cid)`.
        details = service_error.details if service_error.details != message.cid else service_error.default_message
        reply: Reply = codec.encode_error(service_error, details, message)
        reply.error = error
        if not self.keep_tracebacks:
            _clear_tracebacks(error)
        return reply

    def timeout_reply(self, message: Message, codec: ICodec) -> Reply:
        """Return the reply for a deadline that passed while the service was still running."""
        self._log.warn('{cid}: service {service!r} was still running when its deadline passed', **_log_fields(message))
        return self.reply(Timeout(message.cid), message, codec)

    def _unexpected(self, error: BaseException, message: Message) -> ServiceError:
        if isinstance(error, CancelledError):
            self._log.warn('{cid}: service {service!r} failed: an operation it was waiting for was cancelled',
                           **_log_fields(message))
        else:
            failure = Failure(error)
            self._log.failure('{cid}: service {service!r} failed: {what}', failure, LogLevel.error,
                              what=f'{type(error).__name__}: {error}', **_log_fields(message))
        return InternalServerError(message.cid)


def unwrap_first_error(error: BaseException) -> BaseException:
    """Return the error with which a service failed. If gatherResults combined several awaitables, the function returns
    the error of the first awaitable that failed."""
    while isinstance(error, FirstError):
        first = error.subFailure.value
        assert first is not None
        error = first
    return error


def _clear_tracebacks(error: BaseException) -> None:
    """Clear the tracebacks of an error and its causes. Their frames refer to the message and often to the error itself,
    a cycle that would keep all of it until the garbage collector runs."""
    current: BaseException | None = error
    while current is not None and current.__traceback__ is not None:
        current.__traceback__ = None
        current = current.__context__


def _log_fields(message: Message) -> dict[str, str]:
    return {'cid': message.cid, 'service': message.service, 'channel': message.channel.name}
