"""`self.request.files`: what was uploaded, read where it lies and never all of it in memory unless asked for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from threading import get_ident
from typing import Any

from twisted.internet.defer import Deferred, execute

from zatotx.model.errors import BadInput
from zatotx.model.message import Body
from zatotx.wire.http.multipart import FilePart

PIECE = 256 * 1024  # bytes


class UploadedFile:
    """One file of a request. `filename` is what its sender calls it: a text, never to be used as a path.

    In `async def` services `read` and `save` are to be awaited, and `chunks` is for `async for`; in `def` services they
    give results themselves.
    """

    def __init__(self, part: FilePart, body: bytes | Body, run: Any) -> None:
        self._part, self._body, self._run = part, body, run
        self.name = part.name
        self.filename = part.filename
        self.content_type = part.content_type
        self.headers = part.headers
        self.size = part.size  # bytes

    def __repr__(self) -> str:
        return f'<UploadedFile {self.name!r} {self.filename!r}, {self.size} bytes>'

    def read(self) -> Any:
        """All of it, as bytes: for files that are known to be small."""
        return self._result(lambda: self.at(0, self.size))

    def save(self, path: str | os.PathLike[str]) -> Any:
        """Write it to a file of this path, readable by this user only; how many bytes that were. One that is there is
        replaced, by all of it or not at all. Raises OSError."""
        return self._result(lambda: _saved(self, Path(path)))

    def chunks(self, size: int = PIECE) -> FileChunks:
        """All of it, so many bytes at a time."""
        return FileChunks(self, size)

    def at(self, start: int, size: int) -> bytes:
        """Bytes of it from `start` on, fewer at its end. Blocks where the body lies in a file: for threads."""
        size = min(size, self.size - start)
        begin = self._part.start + start
        body = self._body
        return body[begin : begin + size] if isinstance(body, bytes) else _filled(body, begin, size)

    def _result(self, read: Callable[[], Any]) -> Any:
        run = self._run
        if get_ident() != run.invoker.io_thread:
            return read()
        return run.invoker.threads.hop(lambda hop: read(), lambda: f'An upload of {run.entry.name}', run.lender,
                                       deadline=run.inbound.deadline)

    def _piece(self, start: int, size: int) -> Deferred[bytes]:
        read: Deferred[bytes] = (
            execute(self.at, start, size) if isinstance(self._body, bytes)
            else self._result(lambda: self.at(start, size))
        )  # fmt: skip
        return read


class FileChunks:
    """A file piece by piece: for `for` in `def` services, for `async for` in others."""

    def __init__(self, file: UploadedFile, size: int) -> None:
        self._file, self._size = file, size

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self._file.size, self._size):
            yield self._file.at(start, self._size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, self._file.size, self._size):
            yield await self._file._piece(start, self._size)


class MissingFile(BadInput, KeyError):  # noqa: N818 - a fault, as its parent
    """A file that a service asked for by its name, and nobody sent: 400, and a KeyError as of any mapping."""


class UploadedFiles(Mapping[str, UploadedFile]):
    """The files of a request by the names of their fields; `getlist` gives all of one name, in their order. One that is
    not there is a MissingFile."""

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
        """All files of that name; [] for none."""
        return list(self._by_name.get(name, ()))


def files_of(run: Any) -> UploadedFiles:
    """Those of the message of a run."""
    inbound = run.inbound
    parts = getattr(inbound, 'parsed', ())
    return (
        UploadedFiles(UploadedFile(part, inbound.body, run) for part in parts)
        if isinstance(parts, tuple)
        else UploadedFiles(())
    )


def _filled(body: Body, start: int, size: int) -> bytes:
    """In a thread. A read may give less than it was asked for."""
    out = bytearray()
    while len(out) < size and (piece := body.at(start + len(out), size - len(out))):
        out += piece
    return bytes(out)


def _saved(file: UploadedFile, path: Path) -> int:
    """In a thread."""
    beside = path.with_name(f'{path.name}.{os.getpid()}-{get_ident()}.part')
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, 'wb') as out:
            for piece in file.chunks():
                out.write(piece)
        beside.replace(path)
    except BaseException:
        beside.unlink()
        raise
    return file.size
