"""Stores file operations of connections with `delivery: guaranteed`, and executes them later. The module is independent
of the protocol.

Operations that change something are stored, and done in their order. As one may be done twice, each succeeds where it
finds that it was done before.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import Any

from zatotx.connectors.guaranteed_delivery import StoredCall, bind_arguments
from zatotx.connectors.remote_files import RemoteFileSystem
from zatotx.interfaces.outgoing import IServiceCall
from zatotx.model.errors import BadRequest, RemoteFileError, RemoteFileNotFound

MAX_STORED = 16 * 1024 * 1024  # bytes of the content of one file
_WRITES = ('setcontents', 'appendcontents')

# Method -> arguments by position, and those that are given by name only. `open`, `upload` and `download` are made
# directly: their content is a stream, or in a file of one server.
METHODS = {
    'setcontents': (('path', 'data', 'encoding'), ('atomic',)),
    'appendcontents': (('path', 'data', 'encoding'), ()),
    'remove': (('path',), ()),
    'rename': (('src', 'dst'), ()),
    'makedir': (('path', 'recursive', 'allow_recreate'), ()),
    'removedir': (('path', 'recursive', 'force'), ()),
}


def prepare_file_operation_for_storage(
    call: StoredCall, order_key: str, path_error: Callable[[str], str]
) -> StoredCall:
    """Convert a file operation to the form that is stored. `order_key` is the order key of the connection.
    `path_error` returns an error message for an invalid path, otherwise ''. Raises TypeError and ValueError for
    arguments that cannot be stored."""
    positional, options = METHODS[call.method]
    arguments = bind_arguments(call, positional, options)
    paths = [name for name in ('path', 'src', 'dst') if name in positional]
    if missing := [name for name in paths if name not in arguments]:
        raise TypeError(f'{call.method}() needs {", ".join(missing)}')
    for name in paths:
        path = arguments[name]
        if not isinstance(path, str):
            raise TypeError(f'{name} is text, not {type(path).__name__}')
        if problem := path_error(path):
            raise ValueError(f'the path {path!r} {problem}')
    if call.method in _WRITES:
        arguments.update(_content(arguments.pop('data', b''), arguments.pop('encoding', 'utf-8')))
    return StoredCall(method=call.method, args=[], kwargs=arguments, order_key=order_key)


def _content(data: Any, encoding: str) -> dict[str, str]:
    """Return the content of a file as the argument `text`, or as `base64` where it is not UTF-8. Both survive the edit
    of a dead letter, which is JSON."""
    if isinstance(data, str):
        content = data.encode(encoding)
    elif isinstance(data, bytes | bytearray | memoryview):
        content = bytes(data)
    else:
        raise TypeError('a file or an iterator: read it first, or use a connection with direct delivery')
    if len(content) > MAX_STORED:
        raise ValueError(f'{len(content)} bytes: no more than {MAX_STORED} are stored at once')
    try:
        return {'text': content.decode('utf-8')}
    except UnicodeDecodeError:
        return {'base64': b64encode(content).decode('ascii')}


def _decoded(text: str, base64: str) -> bytes:
    """Return the content of a file. Raises ValueError for text that is not base64."""
    return b64decode(base64, validate=True) if base64 else text.encode('utf-8')


class StoredFileOperations:
    """Executes the stored file operations of one connection.

    `is_final` says whether an error is the server's rejection of the operation itself: its methods raise BadRequest
    then, so that it is not repeated, and the other errors of RemoteFileSystem otherwise.
    """

    def __init__(self, files: RemoteFileSystem, call: IServiceCall, is_final: Callable[[RemoteFileError], bool]
                 ) -> None:  # fmt: skip
        self._files, self._call, self._is_final = files, call, is_final

    async def setcontents(self, path: str, text: str = '', base64: str = '', atomic: bool | None = None) -> None:
        """Write a file."""
        await self._run(self._files.setcontents(path, _decoded(text, base64), atomic=atomic))

    async def appendcontents(self, path: str, text: str = '', base64: str = '') -> None:
        """Write to the end of a file."""
        await self._run(self._files.appendcontents(path, _decoded(text, base64)))

    async def remove(self, path: str) -> None:
        """Remove a file, unless it is gone."""
        await self._run(self._files.remove(path), is_absence_success=True)

    async def rename(self, src: str, dst: str) -> None:
        """Rename a file or directory, unless it has its new name."""
        await self._run(self._rename(src, dst))

    async def makedir(self, path: str, recursive: bool = False, allow_recreate: bool = False) -> None:
        """Create a directory, unless it exists."""
        await self._run(self._files.makedir(path, recursive, allow_recreate=True))

    async def removedir(self, path: str, recursive: bool = False, force: bool = False) -> None:
        """Remove a directory, unless it is gone."""
        await self._run(self._files.removedir(path, recursive, force), is_absence_success=True)

    async def _rename(self, src: str, dst: str) -> None:
        try:
            await self._files.rename(src, dst)
        except RemoteFileNotFound:
            if not await self._files.exists(dst):
                raise

    async def _run(self, operation: Awaitable[None], *, is_absence_success: bool = False) -> None:
        try:
            await operation
        except RemoteFileNotFound as error:
            if not is_absence_success:
                raise self._rejected(error) from error
        except RemoteFileError as error:
            if self._is_final(error):
                raise self._rejected(error) from error
            raise

    def _rejected(self, error: RemoteFileError) -> BadRequest:
        return BadRequest(self._call.cid, error.msg)

