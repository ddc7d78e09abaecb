"""Handles the FTP commands that transfer files and listings (RFC 959 §4.1.3, RFC 3659)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from zatotx.plugins.ftp.schema.channel_ftp import ON_RENAME
from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    ServerReply,
    matches,
    quote_path,
)
from zatotx.plugins.ftp.server.download import DownloadFile
from zatotx.plugins.ftp.server.listing_format import Format, format_facts, format_list, format_name
from zatotx.plugins.ftp.server.session import Session
from zatotx.plugins.ftp.server.upload_store import UploadFile

END_OF_UPLOAD = 0.1  # seconds that the control connection stays open after the data: a killed client has closed both


async def do_store(session: Session, argument: str) -> ServerReply:
    """Handle the STOR command, which uploads a file."""
    return await _upload(session, argument, session.offset)


async def do_append(session: Session, argument: str) -> ServerReply:
    """Handle the APPE command, which appends to a file."""
    return await _upload(session, argument, None)


async def _upload(session: Session, argument: str, offset: int | None) -> ServerReply:
    path = session.find_new_path(argument)
    if session.source is None:
        raise FtpError(425, 'Send EPSV or PASV first')
    store = session.context.store
    upload: UploadFile = await session.thread(store.begin, path, offset)
    try:
        data = await session.open_data(f'Send {quote_path(session.shown_path(path))}')
        await session.transfer(data.receive(partial(session.context.run_in_thread, upload.write), session.data_tls))
        await session.wait(deferLater(session.context.reactor, END_OF_UPLOAD))
        # The reactor runs delayed calls before it reads: after a stall, the end of the control connection may wait.
        await session.wait(deferLater(session.context.reactor, 0))
    except BaseException:
        session.context.counters.cut_uploads += 1
        await session.context.run_in_thread(upload.close)
        raise
    finally:
        session.context.counters.received_bytes += upload.offset - upload.start
        session.end_transfer()
    session.context.counters.uploads += 1
    value = session.context.value
    if value.deliver_on == ON_RENAME or matches(path[-1], value.ignored_patterns):
        await session.thread(store.keep, upload)
    else:
        await session.context.receive(store.receive, upload, session.user)
    return ServerReply(226, 'The file was received')


async def do_retrieve(session: Session, argument: str) -> ServerReply:
    """Handle the RETR command, which downloads a file."""
    if not session.context.value.allow_reading:
        raise FtpError(550, 'Downloads are switched off')
    path, offset = session.find_path(argument), session.offset
    file: int = await session.thread(session.context.tree.open_to_read, path)
    download = DownloadFile(file, offset)
    try:
        read = partial(session.context.run_in_thread, download.read)
        await _send(session, read, f'Receive {quote_path(session.shown_path(path))}')
    finally:
        await session.context.run_in_thread(download.close)
    return ServerReply(226, 'The file was sent')


async def do_list(session: Session, argument: str) -> ServerReply:
    """Handle the LIST command, which sends a directory listing."""
    return await _send_lines(session, await _lines(session, _without_options(argument), format_list))


async def do_name_list(session: Session, argument: str) -> ServerReply:
    """Handle the NLST command, which sends the names in a directory."""
    return await _send_lines(session, await _lines(session, _without_options(argument), format_name))


async def do_mlsd(session: Session, argument: str) -> ServerReply:
    """Handle the MLSD command, which sends a machine-readable directory listing."""
    path = session.find_path(argument or '.')
    entry = await session.thread(session.context.tree.find, path)
    if not entry.is_directory:
        raise FtpError(501, 'MLSD lists directories, use MLST')
    with_reading = partial(format_facts, can_read=session.context.value.allow_reading)
    return await _send_lines(session, await _lines(session, argument, with_reading))


async def do_status(session: Session, argument: str) -> ServerReply:
    """Handle the STAT command, which returns the status, or a listing on the control connection."""
    if argument:
        return ServerReply(213, 'Listing', [line.decode('utf-8', 'replace') for line in await _lines(session, argument,
                                                                                                    format_list)])
    return ServerReply(211, f'{session.user} is in /{"/".join(session.directory)}')


async def _lines(session: Session, argument: str, to_line: Format) -> list[bytes]:
    path = session.find_path(argument or '.')
    now = session.context.now()
    lines: list[bytes] = await session.thread(
        lambda: [to_line(entry, now) for entry in session.context.tree.entries(path)]
    )
    return lines


async def _send_lines(session: Session, lines: list[bytes]) -> ServerReply:
    blocks = [b''.join(line + b'\r\n' for line in lines[first : first + 1000])
              for first in range(0, len(lines), 1000)]  # fmt: skip
    blocks.append(b'')

    async def read() -> bytes:
        return blocks.pop(0)

    await _send(session, lambda: Deferred.fromCoroutine(read()), 'The listing comes')
    return ServerReply(226, 'The listing was sent')


async def _send(session: Session, read: Callable[[], Deferred[bytes]], text: str) -> None:
    if session.source is None:
        raise FtpError(425, 'Send EPSV or PASV first')
    try:
        data = await session.open_data(text)
        await session.transfer(data.send(read, session.data_tls))
    finally:
        session.end_transfer()


def _without_options(argument: str) -> str:
    """Return the argument of LIST without options of `ls`, which many clients send."""
    words = argument.split(' ')
    while words and words[0].startswith('-'):
        words.pop(0)
    return ' '.join(words)
