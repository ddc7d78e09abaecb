"""Exceptions that a service or the broker raises to report why a request cannot be processed.

Names and argument order are Zato's: `BadRequest(cid, text)`. The caller receives the text of these errors, but never
the text of any other exception.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zatotx.model.cid import is_generated_cid


class ZatoException(Exception):
    """The base class of Zato's exceptions. Each has an optional correlation ID and a message, and is reported with
    status 500."""

    def __init__(self, cid: str | None = None, msg: str | None = None) -> None:
        if msg is None and not is_generated_cid(cid):  # a single argument is a message, or a generated cid as in Zato
            cid, msg = None, cid
        super().__init__(msg or '')
        self.cid = cid
        self.msg = msg or ''


class ServiceError(ZatoException):
    """An error with its own HTTP status and a message that is safe to send to the caller."""

    status = 500
    default_message = 'The request cannot be served'

    def __init__(self, cid: str | None = None, msg: str | None = None) -> None:
        super().__init__(cid, msg)
        self.msg = self.msg or self.default_message

    @property
    def details(self) -> str:
        """The message that the caller receives."""
        return self.msg

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Header fields that the response must carry in addition to the body."""
        return ()


class BadRequest(ServiceError):
    status = 400
    default_message = 'Bad request'


class BadInput(BadRequest):
    """All validation errors of one input. Each error is a pair (path, description)."""

    def __init__(self, errors: Sequence[tuple[str, str]], cid: str | None = None) -> None:
        self.errors = tuple(errors)
        super().__init__(cid, '; '.join(f'{path}: {description}' for path, description in self.errors))


class Unauthorized(ServiceError):
    status = 401
    default_message = 'You are not authorized to access this resource'

    def __init__(self, cid: str | None = None, msg: str | None = None, challenge: str = 'Basic realm="zatotx"', *,
                 more: Sequence[str] = ()) -> None:  # fmt: skip
        super().__init__(cid, msg)
        self.challenge = challenge
        self.additional_challenges = tuple(more)  # challenges of the other accepted schemes

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple(
            (b'WWW-Authenticate', challenge.encode('utf-8'))
            for challenge in (self.challenge, *self.additional_challenges)
        )


class Forbidden(ServiceError):
    status = 403
    default_message = 'You are not allowed to access this resource'


class NotFound(ServiceError):
    status = 404
    default_message = 'Not found'


class MethodNotAllowed(ServiceError):
    status = 405
    default_message = 'Method not allowed'

    def __init__(self, cid: str | None = None, msg: str | None = None, allow: Sequence[str] = ()) -> None:
        super().__init__(cid, msg)
        self.allow = tuple(sorted(allow))

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b'Allow', ', '.join(self.allow).encode('ascii')),)


class Conflict(ServiceError):
    status = 409
    default_message = 'The state of the resource does not allow this'


class ContentTooLarge(ServiceError):
    status = 413
    default_message = 'The body is too large'


class UnsupportedMediaType(ServiceError):
    status = 415
    default_message = 'The body is in a coding or format that is not accepted here'


class _TemporaryError(ServiceError):
    """A temporary error: the response carries Retry-After (seconds)."""

    def __init__(self, cid: str | None = None, msg: str | None = None, retry_after: int = 1) -> None:
        super().__init__(cid, msg)
        self.retry_after = retry_after

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b'Retry-After', b'%d' % max(1, self.retry_after)),)


class TooManyRequests(_TemporaryError):
    status = 429
    default_message = 'Too many requests'


class InternalServerError(ServiceError):
    status = 500
    default_message = 'An error has occurred'


class BadGateway(ServiceError):
    """Another system, on which the request depends, returned an unusable response."""

    status = 502
    default_message = 'Another system gave no usable answer'


class BadStatus(BadGateway):
    """Another system returned an error status. `response` contains the response, and `status_code` the status code."""

    def __init__(self, cid: str | None = None, msg: str | None = None, response: Any = None) -> None:
        super().__init__(cid, msg)
        self.response = response
        self.status_code: int = getattr(response, 'status_code', 0)


class RemoteFileError(BadGateway):
    """A file server rejected an operation. `path` is the path of the file or directory on which the operation was
    performed."""

    def __init__(self, cid: str | None = None, msg: str | None = None, path: str = '') -> None:
        super().__init__(cid, msg)
        self.path = path


class RemoteFileNotFound(RemoteFileError):
    """The file server reports that the file or directory does not exist."""


class RemoteStorageFull(RemoteFileError):
    """The file server has no space left, or the account has used up its quota."""


class ServiceUnavailable(_TemporaryError):
    status = 503
    default_message = 'The service is not available now'


class Overloaded(ServiceUnavailable):
    """The limit of concurrent requests is reached, so this request was rejected before any processing."""


class TransactionAborted(ServiceUnavailable):
    """A database rolled the transaction back in favor of another one, for example after a deadlock. Repeating the
    transaction may succeed."""


class Timeout(ServiceError):
    status = 504
    default_message = 'The deadline of the request has passed'


class NotSent(Exception):
    """Mixin for errors of messages that were certainly not sent, so that sending them again cannot create
    duplicates."""


class MessageNotSent(NotSent, Timeout):
    """A message could not be sent within its timeout."""


class BrokerUnavailable(NotSent, ServiceUnavailable):
    """The connection to the message broker is not open."""


class MessageRefused(NotSent, BadGateway):
    """The message broker rejected the message."""


class MessageUnroutable(NotSent, BadGateway):
    """The message broker could not route the message to any queue."""


class DeliveryUnknown(Timeout):
    """A message was sent, but the broker did not confirm it, so it is unknown whether the broker received it."""


class ReplyTimeout(Timeout):
    """A request was sent to a message broker, and no reply arrived within the timeout."""


class MessagesNotSent(BadGateway):
    """Some of several messages were not sent, or it is unknown whether they were sent. `errors` maps the index of each
    such message, starting at 0, to its error.
    """

    def __init__(self, cid: str | None = None, msg: str | None = None, errors: Mapping[int, Exception] | None = None,
                 ) -> None:  # fmt: skip
        super().__init__(cid, msg)
        self.errors = dict(errors or {})


class Inactive(NotFound):
    """The object exists but is not active. The message is worded as in Zato: `[name] is inactive`."""

    def __init__(self, name: str, cid: str | None = None) -> None:
        super().__init__(cid, f'[{name}] is inactive')
        self.name = name


class NoSuchService(NotFound):
    """The service to which a message is addressed does not exist. It may be deployed later."""


class InactiveService(Inactive, NoSuchService):
    """The service to which a message is addressed is not active."""


# The name of the same base class that Zato's services import.
HTTPException = ServiceError


class StartError(Exception):
    """A component cannot start. The message is one sentence for the operator, which says what failed, where, and what
    to do."""
