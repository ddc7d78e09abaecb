"""The file objects for the FTP transfers of a service invocation, which implement FileReader and FileWriter of
connectors/remote_files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.plugins.ftp.client.errors import FileTooLarge, TransferFailed
from zatotx.plugins.ftp.client.pool import SessionPool
from zatotx.plugins.ftp.client.session import FtpSession
from zatotx.plugins.ftp.client.transfer import Download, FtpTransfer, Upload


class TransferConnection(Protocol):
    """The interface of the connection on which a transfer runs."""

    pool: SessionPool

    def failed(self, error: BaseException, call: IServiceCall, path: str) -> BaseException:
        """Return the exception for a service, and log it if the server is not well."""

    def succeeded(self) -> None:
        """A call succeeded."""

    def deadline_timer(self, call: IServiceCall, expire: Callable[[], None]) -> Any:
        """Call `expire` at the deadline of the service."""

    def run_in_background(self, cleanup: Callable[[], Awaitable[None]], session: FtpSession) -> None:
        """Clean up on a session, and release it."""


class TransferredFile:
    """Base class of the file objects. When the transfer ends, it ends the call of the meter and the timer of the
    service's timeout, and releases the session."""

    def __init__(self, owner: TransferConnection, session: FtpSession, transfer: FtpTransfer, record: Deferred[None],
                 *, call: IServiceCall) -> None:  # fmt: skip
        self._owner = owner
        self._session = session
        self._transfer = transfer
        self._record = record
        self._call = call
        self._is_over = False
        self._timer = owner.deadline_timer(call, self._expire)
        session.on_abort = self._expire
        self._request: Deferred[None] = Deferred(lambda _: self._expire())  # cancelled with the request of the service
        self._request.addErrback(lambda _: None)
        call.cancel_with_request(self._request)

    def _end(self, error: BaseException | None) -> None:
        """The transfer is over, for the meter and the log."""
        self._is_over = True
        self._session.on_abort = None
        if not self._request.called:
            self._request.callback(None)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if error is None:
            self._owner.succeeded()
            self._record.callback(None)
        else:
            self._record.errback(Failure(error))

    def _failed(self, error: BaseException) -> BaseException:
        """The transfer failed: return the exception for the service."""
        if self._is_over:  # given up by the deadline, or by another method, while this one waited
            error = TransferFailed('the transfer was ended before its end')
            return self._owner.failed(error, self._call, self._transfer.path)
        mapped = error
        if not isinstance(error, CancelledError):
            mapped = self._owner.failed(error, self._call, self._transfer.path)
        self._give_up(mapped)
        return mapped

    def _give_up(self, error: BaseException) -> None:
        """End at once; the server is told in the background."""
        self._end(error)
        self._owner.run_in_background(self._clean_up, self._session)

    async def _clean_up(self) -> None:
        await self._transfer.abort()

    def _expire(self) -> None:
        if not self._is_over:
            self._give_up(CancelledError())

    def _check_open(self) -> None:
        if self._is_over:
            error = TransferFailed('the transfer is over')
            raise self._owner.failed(error, self._call, self._transfer.path)


class FtpReader(TransferredFile):
    """Implements FileReader for a download. `limit` is the maximum number of bytes to read."""

    def __init__(self, owner: TransferConnection, session: FtpSession, download: Download, record: Deferred[None], *,
                 call: IServiceCall, limit: float) -> None:  # fmt: skip
        super().__init__(owner, session, download, record, call=call)
        self._download = download
        self._limit = limit
        self._is_at_end = False

    async def read(self) -> bytes:
        """See FileReader."""
        if self._is_at_end:
            return b''
        self._check_open()
        try:
            chunk = await self._download.read()
            if self._is_over:
                raise TransferFailed('the transfer was ended before its end')
            if self._download.received > self._limit:
                raise FileTooLarge('it is larger than max_content_size: open it, and read it in chunks')
        except BaseException as error:
            mapped = self._failed(error)
            raise mapped from mapped.__cause__
        if not chunk:
            self._is_at_end = True
            self._end(None)
            self._owner.pool.release(self._session)
        return chunk

    async def close(self) -> None:
        """See FileReader. Returns at once; the server is told in the background."""
        if not self._is_over:
            self._give_up(CancelledError())


class FtpWriter(TransferredFile):
    """Implements FileWriter for an upload. `target` is the name under which the file is written, which is a temporary
    name if it differs from the final name."""

    def __init__(self, owner: TransferConnection, session: FtpSession, upload: Upload, record: Deferred[None], *,
                 call: IServiceCall, target: str, checks_size: bool) -> None:  # fmt: skip
        super().__init__(owner, session, upload, record, call=call)
        self._upload = upload
        self._target = target
        self._checks_size = checks_size

    async def write(self, data: bytes) -> None:
        """See FileWriter."""
        self._check_open()
        try:
            await self._upload.write(data)
        except BaseException as error:
            mapped = self._failed(error)
            raise mapped from mapped.__cause__

    async def close(self) -> None:
        """See FileWriter."""
        self._check_open()
        try:
            await self._complete()
        except BaseException as error:
            mapped = self._failed(error)
            raise mapped from mapped.__cause__
        self._end(None)
        self._owner.pool.release(self._session)

    async def abort(self) -> None:
        """See FileWriter. Returns at once; the server is told in the background."""
        if not self._is_over:
            self._give_up(CancelledError())

    async def _complete(self) -> None:
        upload, session = self._upload, self._session
        await upload.finish()
        if self._checks_size:
            size, sent = await session.size(self._target), upload.offset + upload.data.sent
            if size is not None and size != sent:
                raise TransferFailed(f'the server has {size} bytes of the {sent} that were sent')
        if self._target != upload.path:
            await session.replace(self._target, upload.path)

    async def _clean_up(self) -> None:
        await super()._clean_up()
        if self._target != self._upload.path and self._session.is_usable:
            await self._session.command('DELE', self._target)
