"""Handles the FTP commands for directories and file names (RFC 959 §4.1.3, RFC 3659)."""

from __future__ import annotations

from zatotx.plugins.ftp.schema.channel_ftp import ON_RENAME
from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    ServerReply,
    matches,
    quote_path,
)
from zatotx.plugins.ftp.server.listing_format import format_facts, format_utc_time
from zatotx.plugins.ftp.server.session import Session


async def do_print_directory(session: Session, _: str) -> ServerReply:
    """Handle the PWD command, which returns the current directory."""
    return ServerReply(257, f'{quote_path(session.directory)} is the current directory')


async def do_change_directory(session: Session, argument: str) -> ServerReply:
    """Handle the CWD command, which changes the current directory."""
    path = session.find_path(argument)
    entry = await session.thread(session.context.tree.find, path)
    if not entry.is_directory:
        raise FtpError(550, 'Not a directory')
    session.directory = session.shown_path(path)
    return ServerReply(250, f'{quote_path(session.shown_path(path))} is the current directory')


async def do_parent_directory(session: Session, _: str) -> ServerReply:
    """Handle the CDUP command, which changes to the parent directory."""
    return await do_change_directory(session, '..')


async def do_make_directory(session: Session, argument: str) -> ServerReply:
    """Handle the MKD command, which creates a directory."""
    path = session.find_new_path(argument)
    await session.thread(session.context.tree.make_directory, path)
    return ServerReply(257, f'{quote_path(session.shown_path(path))} was made')


async def do_remove_directory(session: Session, argument: str) -> ServerReply:
    """Handle the RMD command, which removes a directory."""
    await session.thread(session.context.tree.remove_directory, session.find_entry_path(argument))
    return ServerReply(250, 'The directory was removed')


async def do_delete(session: Session, argument: str) -> ServerReply:
    """Handle the DELE command, which deletes a file."""
    await session.thread(session.context.tree.delete, session.find_entry_path(argument))
    return ServerReply(250, 'The file was deleted')


async def do_rename_from(session: Session, argument: str) -> ServerReply:
    """Handle the RNFR command, which names the file to rename."""
    path = session.find_entry_path(argument)
    await session.thread(session.context.tree.find, path)
    session.renamed = path
    return ServerReply(350, 'Send the new name')


async def do_rename_to(session: Session, argument: str) -> ServerReply:
    """Handle the RNTO command, which renames the file to a new name."""
    source = session.renamed
    if source is None:
        raise FtpError(503, 'Send RNFR first')
    target = session.find_new_path(argument)
    value, store = session.context.value, session.context.store
    is_final = not matches(target[-1], value.ignored_patterns)
    may_deliver = value.deliver_on == ON_RENAME or (bool(source) and matches(source[-1], value.ignored_patterns))
    if is_final and may_deliver and await session.thread(store.is_complete_file, source):
        await session.context.receive(store.receive_renamed, source, target, session.user)
    else:
        await session.thread(session.context.tree.rename, source, target)
    return ServerReply(250, 'Renamed')


async def do_size(session: Session, argument: str) -> ServerReply:
    """Handle the SIZE command, which returns the size of a file."""
    entry = await session.thread(session.context.tree.find, session.find_path(argument))
    if entry.is_directory:
        raise FtpError(550, 'Is a directory')
    return ServerReply(213, str(entry.size))


async def do_modification_time(session: Session, argument: str) -> ServerReply:
    """Handle the MDTM command, which returns the modification time of a file."""
    entry = await session.thread(session.context.tree.find, session.find_path(argument))
    return ServerReply(213, format_utc_time(entry.modified))


async def do_mlst(session: Session, argument: str) -> ServerReply:
    """Handle the MLST command, which returns the facts of one file or directory."""
    path = session.find_path(argument or '.')
    entry = await session.thread(session.context.tree.find, path)
    facts = format_facts(entry, session.context.now(), can_read=session.context.value.allow_reading)
    return ServerReply(250, 'Listing', [facts.decode('utf-8', 'replace')])
