"""Implements `self.request.files`, the uploaded files of a request. Files are read from the stored body, and loaded
into memory only on request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

from twisted.internet.defer import Deferred, execute

from zatotx.model.errors import BadInput
from zatotx.model.message import Body
from zatotx.system.atomic_file import write_file
from zatotx.wire.http.multipart import FilePart

CHUNK_SIZE = 256 * 1024  # bytes


class UploadedFile:
    """An uploaded file. `filename` is the name that the client sent, which must never be used as a path.

    In `async def` services, await `read` and `save` and iterate over `chunks` with `async for`; in `def` services they
    return results directly.
    """

    def __init__(self, part: FilePart, body: bytes | Body, invocation: Any) -> None:
        self._part, self._body, self._invocation = part, body, invocation
        self.name = part.name
        self.filename = part.filename
        self.content_type = part.content_type
        self.headers = part.headers
        self.size = part.size  # bytes

    def __repr__(self) -> str:
        return f'<UploadedFile {self.name!r} {self.filename!r}, {self.size} bytes>'

    def read(self) -> Any:
        """Return the whole content as bytes. Use it only for files that are known to be small."""
        return self._result(lambda: self.at(0, self.size))

    def save(self, path: str | os.PathLike[str]) -> Any:
        """Write the file to a path, readable by this user only, and return its size in bytes.

        An existing file is replaced atomically. Raises OSError.
        """
        return self._result(lambda: write_file(Path(path), self.chunks()))

    def chunks(self, size: int = CHUNK_SIZE) -> FileChunks:
        """Iterate over the content in chunks of `size` bytes."""
        return FileChunks(self, size)

    def at(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes from `start` on. Blocks if the body is stored in a file: for threads."""
        size = min(size, self.size - start)
        offset = self._part.start + start
        body = self._body
        return body[offset : offset + size] if isinstance(body, bytes) else _read_fully(body, offset, size)

    def _result(self, read: Callable[[], Any]) -> Any:
        invocation = self._invocation
        if get_ident() != invocation.invoker.io_thread:
            return read()
        return invocation.invoker.threads.run_in_thread(
            lambda thread_call: read(),
            lambda: f'An upload of {invocation.entry.name}',
            invocation.waiting_thread,
            deadline=invocation.message.deadline,
        )

    def _piece(self, start: int, size: int) -> Deferred[bytes]:
        read: Deferred[bytes] = (
            execute(self.at, start, size) if isinstance(self._body, bytes)
            else self._result(lambda: self.at(start, size))
        )  # fmt: skip
        return read


class FileChunks:
    """Iterates over the content of a file in chunks. Use `for` in synchronous services, and `async for` in async
    services."""

    def __init__(self, file: UploadedFile, size: int) -> None:
        self._file, self._size = file, size

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self._file.size, self._size):
            yield self._file.at(start, self._size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self._file.size, self._size):
            yield await self._file._piece(start, self._size)


class MissingFile(BadInput, KeyError):  # noqa: N818 - named as its parent
    """Raised for a file that the request does not contain. The HTTP status is 400. The exception is also a KeyError,
    because UploadedFiles is a mapping."""


class UploadedFiles(Mapping[str, UploadedFile]):
    """The uploaded files by the names of their form fields. `getlist` returns all files with the same field name.

    A missing file raises MissingFile.
    """

    def __init__(self, files: Iterable[UploadedFile]) -> None:
        self._by_name: dict[str, list[UploadedFile]] = {}
        for file in files:
            self._by_name.setdefault(file.name, []).append(file)

    def __getitem__(self, name: str) -> UploadedFile:
        try:
            return self._by_name[name][0]
        except KeyError:
            raise MissingFile([(name, 'missing')]) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def getlist(self, name: str) -> list[UploadedFile]:
        """Return all files of that name, in order."""
        return list(self._by_name.get(name, ()))


def make_uploaded_files(invocation: Any) -> UploadedFiles:
    """Create the object that contains the uploaded files of an invocation."""
    message = invocation.message
    parts = message.parsed
    return (
        UploadedFiles(UploadedFile(part, message.body, invocation) for part in parts)
        if isinstance(parts, tuple)
        else UploadedFiles(())
    )


def _read_fully(body: Body, start: int, size: int) -> bytes:
    """Read exactly `size` bytes, as one read may return less. Called in a thread."""
    content = bytearray()
    while len(content) < size and (piece := body.read_at(start + len(content), size - len(content))):
        content += piece
    return bytes(content)
