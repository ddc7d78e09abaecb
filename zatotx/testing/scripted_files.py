"""Test doubles of the file objects that `open` returns on a scripted connection. The script provides the content to
read, or a file to write to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from typing import Any

from zatotx.connectors.remote_files import FileOpening, RemoteFile
from zatotx.interfaces.outgoing import IServiceCall

CHUNK_SIZE = 64 * 1024


class ScriptedReader:
    """A FileReader that reads bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._chunks = [content[start : start + CHUNK_SIZE] for start in range(0, len(content), CHUNK_SIZE)]

    async def read(self) -> bytes:
        """See FileReader."""
        return self._chunks.pop(0) if self._chunks else b''

    async def close(self) -> None:
        """See FileReader."""
        self._chunks.clear()


class ScriptedWriter:
    """A FileWriter that writes to a file of the test, such as an io.BytesIO. Nothing is written if the service aborts
    the file."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._chunks: list[bytes] = []

    async def write(self, data: bytes) -> None:
        """See FileWriter."""
        self._chunks.append(data)

    async def close(self) -> None:
        """See FileWriter."""
        self._file.write(b''.join(self._chunks))

    async def abort(self) -> None:
        """See FileWriter."""
        self._chunks.clear()


def open_scripted(
    call: IServiceCall, run: Callable[[], Any], args: Sequence[Any], options: Mapping[str, Any]
) -> Any:
    """Return the file object for a call of `open(path, mode, encoding)` on a scripted connection. `run` runs the script
    of the connection."""
    given = {**dict(zip(('path', 'mode', 'encoding'), args, strict=False)), **options}
    path, mode = given.get('path', ''), given.get('mode', 'rb')
    encoding = '' if 'b' in mode else given.get('encoding', 'utf-8')

    def opened(value: Any) -> RemoteFile:
        if callable(getattr(value, 'write', None)):
            return RemoteFile(call, path, writer=ScriptedWriter(value), encoding=encoding)
        content = value.encode('utf-8') if isinstance(value, str) else value or b''
        return RemoteFile(call, path, reader=ScriptedReader(content), encoding=encoding)

    async def opening() -> RemoteFile:
        return opened(await result)

    result = run()
    return FileOpening(opening()) if isawaitable(result) else opened(result)
