"""Handles the FTP commands that set or query parameters (RFC 959 §4.1.2, RFC 2389)."""

from __future__ import annotations

from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    ServerReply,
    parse_offset,
)
from zatotx.plugins.ftp.server.session import Session


async def do_feat(session: Session, _: str) -> ServerReply:
    """Handle the FEAT command, which lists the supported extensions."""
    tls = () if session.context.certificate is None else ('AUTH TLS', 'PBSZ', 'PROT')
    facts = 'MLST type*;size*;modify*;perm*;unique*;'
    features = (*tls, 'EPRT', 'EPSV', 'MDTM', facts, 'REST STREAM', 'SIZE', 'TVFS', 'UTF8')
    return ServerReply(211, 'Features', features)


async def do_opts(session: Session, argument: str) -> ServerReply:
    """Handle the OPTS command, which sets an option of a command."""
    if argument.upper() in ('UTF8 ON', 'UTF8', 'UTF-8 ON'):
        return ServerReply(200, 'Names are UTF-8')
    if argument.upper().startswith('MLST'):
        return ServerReply(200, 'MLST OPTS type;size;modify;perm;unique;')
    raise FtpError(501, 'There is no such option')


async def do_type(session: Session, argument: str) -> ServerReply:
    """Handle the TYPE command, which sets the representation type."""
    if argument.upper() not in ('A', 'A N', 'I', 'L 8'):
        raise FtpError(504, 'The type is not supported, use TYPE I')
    return ServerReply(200, 'Files are transferred unchanged')


async def do_mode(session: Session, argument: str) -> ServerReply:
    """Handle the MODE command, which sets the transfer mode."""
    if argument.upper() != 'S':
        raise FtpError(504, 'Only stream mode is supported')
    return ServerReply(200, 'Stream mode')


async def do_structure(session: Session, argument: str) -> ServerReply:
    """Handle the STRU command, which sets the file structure."""
    if argument.upper() != 'F':
        raise FtpError(504, 'Only the file structure is supported')
    return ServerReply(200, 'File structure')


async def do_system(session: Session, _: str) -> ServerReply:
    """Handle the SYST command, which returns the type of the operating system."""
    return ServerReply(215, 'UNIX Type: L8')


async def reply_to_noop(session: Session, _: str) -> ServerReply:
    """Handle the NOOP command, which only returns a reply."""
    return ServerReply(200, 'OK')


async def do_superfluous(session: Session, _: str) -> ServerReply:
    """Handle the ACCT and ALLO commands, which are accepted and have no effect."""
    return ServerReply(202, 'Not needed here')


async def do_abort(session: Session, _: str) -> ServerReply:
    """Handle the ABOR command, which aborts the transfer."""
    session.drop_source()
    return ServerReply(226, 'No transfer is under way')


async def do_rest(session: Session, argument: str) -> ServerReply:
    """Handle the REST command, which sets the offset of the next transfer."""
    session.offset = parse_offset(argument)
    return ServerReply(350, f'The next transfer starts at byte {session.offset}')
