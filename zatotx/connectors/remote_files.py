"""Files on remote servers, independent of the protocol: the interface that kinds implement, and the methods that
services use.

A kind provides an `IRemoteFiles`; `RemoteFileSystem` gives services the methods of Zato's file system objects on it.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from inspect import isawaitable
from typing import Any, Protocol

from attrs import frozen

from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import RemoteFileNotFound

FILE, DIRECTORY, LINK, OTHER = 'file', 'directory', 'link', 'other'
READ_SIZE = 4 * 1024 * 1024  # bytes that are read from a source at once
SEEK_END = 2

Source = Any  # bytes, text, a file, an iterable or an async iterable of bytes


@frozen(kw_only=True)
class FileInfo:
    """A directory entry: its name, size in bytes, and modification time with a time zone. `size` and `modified` are
    None if the server does not report them."""

    name: str
    type: str  # FILE, DIRECTORY, LINK or OTHER
    size: int | None = None
    modified: datetime | None = None

    @property
    def is_dir(self) -> bool:
        return self.type == DIRECTORY

    @property
    def is_file(self) -> bool:
        return self.type == FILE


class FileReader(Protocol):
    """A remote file that is open for reading. It must be read to its end, closed with `close`, or aborted with
    `abort`."""

    async def read(self) -> bytes:
        """Return the next chunk; b'' at the end, after it was checked that nothing is missing."""

    async def close(self) -> None:
        """End: nothing else is read."""


class FileWriter(Protocol):
    """A remote file that is open for writing. It must be ended with either `close` or `abort`."""

    async def write(self, data: bytes) -> None:
        """Write data. Waits while the server is slower."""

    async def close(self) -> None:
        """End the file: it is complete, and in place when this is done."""

    async def abort(self) -> None:
        """Give up: the server does not get an incomplete file in the place of a complete one."""


@frozen(kw_only=True)
class WriteOptions:
    """Options for writing a file. If `is_atomic` is true, the file is written under a temporary name, and renamed when
    it is complete. None selects the connection's setting. `offset` is the position in an existing file at which the
    data begins."""

    is_append: bool = False
    is_atomic: bool | None = None
    offset: int = 0


class RemoteFiles(Protocol):
    """File operations for one account on one remote server. The methods raise ServiceUnavailable, Timeout and
    BadGateway, or its subclass RemoteFileError if the server rejects the operation. The message of each error contains
    the name of the connection."""

    max_content_size: int  # bytes that may be read into memory

    async def list_directory(self, path: str, call: IServiceCall) -> list[FileInfo]:
        """Return the entries of a directory."""

    async def find(self, path: str, call: IServiceCall) -> FileInfo | None:
        """Return what is at a path; None if there is nothing."""

    async def make_directory(self, path: str, call: IServiceCall) -> None:
        """Create a directory."""

    async def remove_file(self, path: str, call: IServiceCall) -> None:
        """Remove a file."""

    async def remove_directory(self, path: str, call: IServiceCall) -> None:
        """Remove an empty directory."""

    async def rename(self, source: str, target: str, call: IServiceCall) -> None:
        """Rename a file or directory."""

    async def open_reader(self, path: str, call: IServiceCall, *, offset: int = 0, is_bounded: bool = False
                          ) -> FileReader:
        """Begin to read a file. `is_bounded`: no more than max_content_size."""

    async def open_writer(self, path: str, call: IServiceCall, options: WriteOptions) -> FileWriter:
        """Begin to write a file."""

    async def ping(self, call: IServiceCall) -> str:
        """Ask the server for a sign of life."""

    def not_found(self, path: str, call: IServiceCall) -> RemoteFileNotFound:
        """Return the error for a path where nothing exists."""

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function that blocks in a thread; returns a Deferred."""


async def read_chunks(data: Source, run_in_thread: Callable[..., Any]) -> AsyncIterator[bytes]:
    """Yield the data to be written in chunks. Bytes and text are yielded immediately. Files and iterators are read in
    threads, because reading may block."""
    if isinstance(data, str):
        yield data.encode('utf-8')
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    elif callable(getattr(data, 'read', None)):
        async for chunk in _read_ahead(data, run_in_thread):
            yield chunk.encode('utf-8') if isinstance(chunk, str) else chunk
    elif isinstance(data, AsyncIterable):
        async for chunk in data:
            yield chunk.encode('utf-8') if isinstance(chunk, str) else chunk
    elif isinstance(data, Iterable):
        iterator, end = iter(data), object()
        while (chunk := await run_in_thread(next, iterator, end)) is not end:
            yield chunk.encode('utf-8') if isinstance(chunk, str) else chunk
    else:
        raise TypeError(f'a file is written from text, bytes, a file or an iterator, not from {type(data).__name__}')


async def _read_ahead(file: Any, run_in_thread: Callable[..., Any]) -> AsyncIterator[Any]:
    """Yield the chunks of a file. The next one is read while one is written."""
    following = run_in_thread(file.read, READ_SIZE)
    try:
        while chunk := await following:
            following = run_in_thread(file.read, READ_SIZE)
            yield chunk
    finally:
        following.addErrback(lambda _: None)  # of a chunk that is not wanted any more


async def read_all(reader: FileReader) -> bytes:
    """Return the whole content of a remote file."""
    chunks = []
    try:
        while chunk := await reader.read():
            chunks.append(chunk)
    except BaseException:
        await reader.close()
        raise
    return b''.join(chunks)


async def write_all(writer: FileWriter, chunks: AsyncIterator[bytes]) -> None:
    """Write all chunks and complete the file. If reading a chunk fails, the file is aborted."""
    try:
        async for chunk in chunks:
            if chunk:
                await writer.write(chunk)
        await writer.close()
    except BaseException:
        await writer.abort()
        raise


class RemoteFileSystem:
    """The file operations of one connection for one service invocation. In an async service each method returns an
    awaitable, in a synchronous service it returns the result.

    The names are those of Zato's file system objects (PyFilesystem). Paths are those of the server; relative ones begin
    at the directory of the account. Raises ValueError for a path with a line end, ServiceUnavailable, Timeout and
    BadGateway, of which RemoteFileNotFound, RemoteStorageFull and RemoteFileError carry the path.
    """

    __slots__ = ('_call', '_files')

    def __init__(self, files: RemoteFiles, call: IServiceCall) -> None:
        self._files = files
        self._call = call

    # Directories

    def listdir(
        self, path: str = './', wildcard: str | None = None, full: bool = False, absolute: bool = False,
        dirs_only: bool = False, files_only: bool = False,
    ) -> Any:
        """Return the names in a directory, sorted. `wildcard`: a pattern like '*.csv'; `full`, `absolute`: paths
        instead of names, below `path` or the root."""
        prefix = '' if not (full or absolute) or path in ('', './', '.') else path.rstrip('/') + '/'
        prefix = f'/{prefix.lstrip("/")}' if absolute else prefix

        async def names() -> list[str]:
            return [prefix + info.name for info in await self._entries(path, wildcard, dirs_only, files_only)]

        return self._run(names)

    def listdirinfo(
        self, path: str = './', wildcard: str | None = None, dirs_only: bool = False, files_only: bool = False
    ) -> Any:
        """Return the entries of a directory as a list of FileInfo, sorted by name."""
        return self._run(partial(self._entries, path, wildcard, dirs_only, files_only))

    def makedir(self, path: str, recursive: bool = False, allow_recreate: bool = False) -> Any:
        """Create a directory. `recursive`: with the missing ones above it; `allow_recreate`: it may exist."""
        return self._run(partial(self._make_directory, path, recursive, allow_recreate))

    def removedir(self, path: str, recursive: bool = False, force: bool = False) -> Any:
        """Remove a directory. `force`: with everything in it; `recursive`: and the ones above it that become empty."""
        return self._run(partial(self._remove_directory, path, recursive, force))

    # Entries

    def getinfo(self, path: str) -> Any:
        """Return the FileInfo of a path. Raises RemoteFileNotFound."""
        return self._run(partial(self._info, path))

    def getsize(self, path: str) -> Any:
        """Return the size of a file in bytes, None if the server does not tell. Raises RemoteFileNotFound."""

        async def size() -> int | None:
            return (await self._info(path)).size

        return self._run(size)

    def exists(self, path: str) -> Any:
        """Return whether there is something at a path."""
        return self._run(partial(self._is, path, lambda info: True))

    def isdir(self, path: str) -> Any:
        """Return whether there is a directory at a path."""
        return self._run(partial(self._is, path, lambda info: info.is_dir))

    def isfile(self, path: str) -> Any:
        """Return whether there is a file at a path."""
        return self._run(partial(self._is, path, lambda info: info.is_file))

    def remove(self, path: str) -> Any:
        """Remove a file."""
        return self._run(partial(self._files.remove_file, path, self._call))

    def rename(self, src: str, dst: str) -> Any:
        """Rename a file or directory. Whether an existing target is replaced depends on the server."""
        return self._run(partial(self._files.rename, src, dst, self._call))

    # Contents

    def getcontents(self, path: str, mode: str = 'rb', encoding: str = 'utf-8') -> Any:
        """Return the content of a file: bytes, or text with mode 'r'. Raises BadGateway for a file of more than
        max_content_size: read that with `open`."""

        async def contents() -> bytes | str:
            reader = await self._files.open_reader(path, self._call, is_bounded=True)
            data = await read_all(reader)
            return data if 'b' in mode else data.decode(encoding)

        return self._run(contents)

    def setcontents(self, path: str, data: Source = b'', encoding: str = 'utf-8', *, atomic: bool | None = None) -> Any:
        """Write a file: text, bytes, a file, an iterator or async iterator of bytes. `atomic`: see `atomic_upload` of
        the connection."""
        source = data.encode(encoding) if isinstance(data, str) else data
        return self._run(partial(self._write, path, source, WriteOptions(is_atomic=atomic)))

    def appendcontents(self, path: str, data: Source = b'', encoding: str = 'utf-8') -> Any:
        """Write to the end of a file, which need not exist."""
        source = data.encode(encoding) if isinstance(data, str) else data
        return self._run(partial(self._write, path, source, WriteOptions(is_append=True)))

    def open(
        self, path: str, mode: str = 'rb', encoding: str = 'utf-8', *, offset: int = 0, atomic: bool | None = None
    ) -> Any:
        """Open a file to stream it: 'rb', 'wb', 'ab', and 'r', 'w', 'a' for text. `offset`: bytes of it to skip, in
        mode 'rb'; in mode 'wb' they stay, and what is written follows them. Use it in a `with` block, in async services
        in an `async with` block. It is closed at the deadline of the service at the latest."""
        kind = mode.replace('b', '').replace('t', '')
        if kind not in ('r', 'w', 'a') or (offset and kind == 'a'):
            raise ValueError(f"mode {mode!r}: files are opened with 'rb', 'wb' or 'ab', or 'r', 'w', 'a' for text")
        opened = self._run(partial(self._open, path, kind, '' if 'b' in mode else encoding,
                                   WriteOptions(is_append=kind == 'a', is_atomic=atomic, offset=offset)))  # fmt: skip
        return FileOpening(opened) if isawaitable(opened) else opened

    def download(self, path: str, local_path: str, *, resume: bool = False) -> Any:
        """Copy a remote file to a file of this machine; returns its size. `resume`: continue where the local one
        ends."""
        return self._run(partial(self._download, path, local_path, resume))

    def upload(self, local_path: str, path: str, *, resume: bool = False, atomic: bool | None = None) -> Any:
        """Copy a file of this machine to the server. `resume`: continue where the remote one ends, not atomically."""
        return self._run(partial(self._upload, local_path, path, resume, atomic))

    def ping(self) -> Any:
        """Ask the server for a sign of life; returns what was asked and answered."""
        return self._run(partial(self._files.ping, self._call))

    def close(self) -> None:
        """Do nothing: the connections to the server are kept for the next call. For services written for Zato."""

    # Implementations, on the reactor

    def _run(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return self._call.run(begin)

    async def _entries(
        self, path: str, wildcard: str | None, dirs_only: bool, files_only: bool
    ) -> list[FileInfo]:
        entries = await self._files.list_directory(path, self._call)
        return sorted(
            (info for info in entries
             if (wildcard is None or fnmatchcase(info.name, wildcard))
             and (not dirs_only or info.is_dir) and (not files_only or info.is_file)),
            key=lambda info: info.name,
        )  # fmt: skip

    async def _info(self, path: str) -> FileInfo:
        info = await self._files.find(path, self._call)
        if info is None:
            raise self._files.not_found(path, self._call)
        return info

    async def _is(self, path: str, test: Callable[[FileInfo], bool]) -> bool:
        info = await self._files.find(path, self._call)
        return info is not None and test(info)

    async def _make_directory(self, path: str, recursive: bool, allow_recreate: bool) -> None:
        steps = [path]
        if recursive:
            parts = path.rstrip('/').split('/')
            steps = ['/'.join(parts[: n + 1]) for n in range(len(parts)) if parts[n]]
        for step in steps:
            is_last = step == steps[-1]
            if (allow_recreate or not is_last) and await self._is(step, lambda info: info.is_dir):
                continue
            await self._files.make_directory(step, self._call)

    async def _remove_directory(self, path: str, recursive: bool, force: bool) -> None:
        if force:
            for info in await self._files.list_directory(path, self._call):
                inner = f'{path.rstrip("/")}/{info.name}'
                if info.is_dir:
                    await self._remove_directory(inner, False, True)
                else:
                    await self._files.remove_file(inner, self._call)
        await self._files.remove_directory(path, self._call)
        parent = path.rstrip('/').rpartition('/')[0]
        if recursive and parent and not await self._files.list_directory(parent, self._call):
            await self._remove_directory(parent, True, False)

    async def _write(self, path: str, data: Source, options: WriteOptions) -> None:
        writer = await self._files.open_writer(path, self._call, options)
        await write_all(writer, read_chunks(data, self._files.run_in_thread))

    async def _open(self, path: str, kind: str, encoding: str, options: WriteOptions) -> RemoteFile:
        if kind == 'r':
            reader = await self._files.open_reader(path, self._call, offset=options.offset)
            return RemoteFile(self._call, path, reader=reader, encoding=encoding)
        writer = await self._files.open_writer(path, self._call, options)
        return RemoteFile(self._call, path, writer=writer, encoding=encoding)

    async def _download(self, path: str, local_path: str, resume: bool) -> int:
        run = self._files.run_in_thread
        file = await run(open, local_path, 'ab' if resume else 'wb')
        try:
            size: int = await run(file.seek, 0, SEEK_END)
            reader = await self._files.open_reader(path, self._call, offset=size)
            try:
                while chunk := await reader.read():
                    await run(file.write, chunk)
                    size += len(chunk)
            finally:
                await reader.close()
        finally:
            await run(file.close)
        return size

    async def _upload(self, local_path: str, path: str, resume: bool, atomic: bool | None) -> None:
        run = self._files.run_in_thread
        offset = 0
        if resume:
            info = await self._files.find(path, self._call)
            offset = 0 if info is None else info.size or 0
        file = await run(open, local_path, 'rb')
        try:
            await run(file.seek, offset)
            await self._write(path, file, WriteOptions(is_atomic=False if offset else atomic, offset=offset))
        finally:
            await run(file.close)


class FileOpening:
    """The result of `open(…)` in an async service: it can be awaited or used with `async with`."""

    def __init__(self, opening: Any) -> None:
        self._opening = opening
        self._file: RemoteFile | None = None

    def __await__(self) -> Any:
        return self._opening.__await__()

    async def __aenter__(self) -> RemoteFile:
        self._file = await self._opening
        return self._file

    async def __aexit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        assert self._file is not None
        await self._file.__aexit__(error_type, *error)


class RemoteFile:
    """An open remote file. Each method returns an awaitable in an async service, and the result in a synchronous
    service."""

    def __init__(self, call: IServiceCall, path: str, *, reader: FileReader | None = None,
                 writer: FileWriter | None = None, encoding: str = '') -> None:  # fmt: skip
        self._call = call
        self._reader, self._writer = reader, writer
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)() if encoding else None
        self._rest: Any = '' if encoding else b''  # read from the server, and not by the service
        self._is_at_end = reader is None
        self.name = path
        self.closed = False

    def read(self, size: int = -1) -> Any:
        """Return up to `size` bytes or characters, all that are left where it is negative; empty at the end."""
        return self._call.run(partial(self._read, size))

    def readline(self) -> Any:
        """Return the next line with its line end; empty at the end."""
        return self._call.run(self._readline)

    def write(self, data: Any) -> Any:
        """Write bytes, or text in a text mode."""
        return self._call.run(partial(self._write, data))

    def close(self) -> Any:
        """Close the file. One that was written is complete, and in place, when this returns."""
        return self._call.run(self._close)

    def abort(self) -> Any:
        """Give up a file that is being written: an incomplete one does not take the place of the one before."""
        return self._call.run(self._abort)

    # Chunks, as they come, for files of any size

    def __iter__(self) -> Iterator[Any]:
        while chunk := self._call.run(self._chunk):
            yield chunk

    async def __aiter__(self) -> AsyncIterator[Any]:
        while chunk := await self._chunk():
            yield chunk

    def __enter__(self) -> RemoteFile:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        self._call.run(self._close if error_type is None else self._abort)

    async def __aenter__(self) -> RemoteFile:
        return self

    async def __aexit__(self, error_type: type[BaseException] | None, *error: object) -> None:
        await (self._close() if error_type is None else self._abort())

    async def _chunk(self) -> Any:
        """Return what comes next, of any size; empty at the end."""
        rest, self._rest = self._rest, self._rest[:0]
        if rest or self._is_at_end:
            return rest
        self._must_be_open()
        assert self._reader is not None
        while True:
            data = await self._reader.read()
            self._is_at_end = not data
            text = data if self._decoder is None else self._decoder.decode(data, final=not data)
            if text or self._is_at_end:
                return text

    async def _read(self, size: int) -> Any:
        if self._reader is None:
            raise ValueError('the file is open for writing')
        parts = [self._rest]
        length = len(self._rest)
        self._rest = self._rest[:0]
        while size < 0 or length < size:
            part = await self._chunk()
            if not part:
                break
            parts.append(part)
            length += len(part)
        whole = self._rest.join(parts)
        if 0 <= size < length:
            whole, self._rest = whole[:size], whole[size:]
        return whole

    async def _readline(self) -> Any:
        end = '\n' if self._encoding else b'\n'
        parts = []
        while part := await self._chunk():
            head, found, tail = part.partition(end)
            parts.append(head + found)
            if found:
                self._rest = tail
                break
        return self._rest[:0].join(parts)

    async def _write(self, data: Any) -> int:
        if self._writer is None:
            raise ValueError('the file is open for reading')
        self._must_be_open()
        await self._writer.write(data.encode(self._encoding or 'utf-8') if isinstance(data, str) else data)
        return len(data)

    async def _close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._reader is not None:
            await self._reader.close()
        elif self._writer is not None:
            await self._close_writer(self._writer)

    async def _close_writer(self, writer: FileWriter) -> None:
        try:
            await writer.close()
        except BaseException:
            await writer.abort()
            raise

    async def _abort(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._reader is not None:
            await self._reader.close()
        elif self._writer is not None:
            await self._writer.abort()

    def _must_be_open(self) -> None:
        if self.closed:
            raise ValueError('the file is closed')
