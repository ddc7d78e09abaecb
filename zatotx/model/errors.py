"""Faults: what a service or the broker raises to say why a request cannot be served.

Names and argument order are Zato's: `BadRequest(cid, text)`. The text of a fault reaches the caller; the text of any
other exception never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zatotx.model.cid import is_new_cid


class ZatoException(Exception):
    """The root of Zato's exceptions: an optional cid and a message. Raised as such it is a 500."""

    def __init__(self, cid: str | None = None, msg: str | None = None) -> None:
        if msg is None and not is_new_cid(cid):  # one argument is the message, as people write it, or a cid, as Zato's
            cid, msg = None, cid
        super().__init__(msg or '')
        self.cid = cid
        self.msg = msg or ''


class ServiceError(ZatoException):
    """A fault with a status of its own, whose message the caller may read."""

    status = 500
    default = 'The request cannot be served'

    def __init__(self, cid: str | None = None, msg: str | None = None) -> None:
        super().__init__(cid, msg)
        self.msg = self.msg or self.default

    @property
    def details(self) -> str:
        """What the caller reads."""
        return self.msg

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Header fields the answer must carry beside the body."""
        return ()


class BadRequest(ServiceError):
    status = 400
    default = 'Bad request'


class BadInput(BadRequest):
    """Every mistake of one input at once, each as (path, what is wrong)."""

    def __init__(self, mistakes: Sequence[tuple[str, str]], cid: str | None = None) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__(cid, '; '.join(f'{path}: {what}' for path, what in self.mistakes))


class Unauthorized(ServiceError):
    status = 401
    default = 'You are not authorized to access this resource'

    def __init__(self, cid: str | None = None, msg: str | None = None, challenge: str = 'Basic realm="zatotx"', *,
                 more: Sequence[str] = ()) -> None:  # fmt: skip
        super().__init__(cid, msg)
        self.challenge = challenge
        self.more = tuple(more)  # challenges of other ways in

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return tuple((b'WWW-Authenticate', each.encode('utf-8')) for each in (self.challenge, *self.more))


class Forbidden(ServiceError):
    status = 403
    default = 'You are not allowed to access this resource'


class NotFound(ServiceError):
    status = 404
    default = 'Not found'


class MethodNotAllowed(ServiceError):
    status = 405
    default = 'Method not allowed'

    def __init__(self, cid: str | None = None, msg: str | None = None, allow: Sequence[str] = ()) -> None:
        super().__init__(cid, msg)
        self.allow = tuple(sorted(allow))

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b'Allow', ', '.join(self.allow).encode('ascii')),)


class Conflict(ServiceError):
    status = 409
    default = 'The state of the resource does not allow this'


class ContentTooLarge(ServiceError):
    status = 413
    default = 'The body is too large'


class UnsupportedMediaType(ServiceError):
    status = 415
    default = 'The body is in a coding or format that is not accepted here'


class _Later(ServiceError):
    """A fault that passes by itself: the answer says when to come back."""

    def __init__(self, cid: str | None = None, msg: str | None = None, retry_after: int = 1) -> None:
        super().__init__(cid, msg)
        self.retry_after = retry_after

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        return ((b'Retry-After', b'%d' % max(1, self.retry_after)),)


class TooManyRequests(_Later):
    status = 429
    default = 'Too many requests'


class InternalServerError(ServiceError):
    status = 500
    default = 'An error has occurred'


class BadGateway(ServiceError):
    """Another system, which the request needs, answered what is of no use."""

    status = 502
    default = 'Another system gave no usable answer'


class BadStatus(BadGateway):
    """It answered that it could not do what it was asked: `response` is its answer, `status_code` what that says."""

    def __init__(self, cid: str | None = None, msg: str | None = None, response: Any = None) -> None:
        super().__init__(cid, msg)
        self.response = response
        self.status_code: int = getattr(response, 'status_code', 0)


class ServiceUnavailable(_Later):
    status = 503
    default = 'The service is not available now'


class Timeout(ServiceError):
    status = 504
    default = 'The deadline of the request has passed'


class Inactive(NotFound):
    """An object that exists but is switched off. As Zato: `[name] is inactive`."""

    def __init__(self, name: str, cid: str | None = None) -> None:
        super().__init__(cid, f'[{name}] is inactive')
        self.name = name


# Zato's name for the same root, as its services import it.
HTTPException = ServiceError


class StartError(Exception):
    """A component cannot start: one sentence for the person who started it, naming what, where and what to do."""
