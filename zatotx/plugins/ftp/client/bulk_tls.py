"""TLS of data connections, for bulk data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

RECORD_SIZE = 2**14  # bytes: the most that OpenSSL decrypts in one call (RFC 8446 §5.1)
BUFFER_SIZE = 20 * RECORD_SIZE  # more than one read of the socket contains

ReadRecord = Callable[[int], int]  # decrypts a record to an offset in a buffer; returns its size, or raises SSL.Error


def make_record_reader(connection: Any, buffer: bytearray, *, is_direct: bool = True) -> ReadRecord:
    """Return a function that decrypts a record of a pyOpenSSL connection into a buffer.

    pyOpenSSL has no public function that does this without a copy and ten further calls for each record, so that
    OpenSSL is called directly. If another version of pyOpenSSL does not allow that, or `is_direct` is false, the public
    function is used, which takes a third longer.
    """
    try:
        from OpenSSL._util import ffi, lib

        ssl, raise_error, read = connection._ssl, connection._raise_ssl_error, lib.SSL_read
    except (ImportError, AttributeError):
        is_direct = False
    if not is_direct:
        receive, view = connection.recv_into, memoryview(buffer)
        return lambda offset: int(receive(view[offset:], RECORD_SIZE))
    start = ffi.from_buffer('char[]', buffer)

    def read_record(offset: int) -> int:
        size: int = read(ssl, start + offset, RECORD_SIZE)
        if size <= 0:
            raise_error(ssl, size)
        return size

    return read_record


class BulkTlsProtocol(TLSMemoryBIOProtocol):
    """The TLS protocol that wraps a data connection. It decrypts all that one read of the socket contains into one
    buffer, and passes it on in one call. In Twisted's class, the calls of pyOpenSSL and of the protocol for each record
    of 16 KiB take more time than its decryption."""

    _buffer = bytearray()  # of no memoryview: the garbage collector may clear that while OpenSSL's pointer uses it
    _read_record: ReadRecord | None = None
    _make_reader = staticmethod(make_record_reader)

    def _flushReceiveBIO(self) -> None:
        """Decrypt and deliver what has arrived. Then handle the end of TLS, or an error, as Twisted does."""
        while not self._lostTLSConnection:
            if not self._deliver_records():
                break
        self._flushSendBIO()  # type: ignore[no-untyped-call]

    def _deliver_records(self) -> bool:
        """Deliver as many records as fit into the buffer. Returns whether there may be more.

        The exceptions are not kept: they reference the frames of their callers, and so a variable that holds them.
        """
        read_record = self._read_record
        if read_record is None:
            self._buffer = bytearray(BUFFER_SIZE)
            read_record = self._read_record = self._make_reader(self._tlsConnection, self._buffer)
        size, may_have_more, is_closed, failure = 0, True, False, None
        try:
            while size <= BUFFER_SIZE - RECORD_SIZE:
                size += read_record(size)
        except SSL.WantReadError:
            may_have_more = False
        except SSL.ZeroReturnError:
            is_closed = True
        except SSL.Error:
            failure = Failure()
        if size and not self._aborted:
            self.wrappedProtocol.dataReceived(bytes(memoryview(self._buffer)[:size]))
        if is_closed and not self._lostTLSConnection:
            self._shutdownTLS()  # type: ignore[no-untyped-call]
        if (is_closed or failure) and not self._lostTLSConnection:
            self._tlsShutdownFinished(failure)  # type: ignore[no-untyped-call]
        return may_have_more
