"""Handles the FTP commands that negotiate the next data connection (RFC 959 §4.1.2, RFC 2428)."""

from __future__ import annotations

from zatotx.plugins.ftp.schema.channel_ftp import parse_port_range
from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    ServerReply,
    format_pasv,
    parse_eprt,
    parse_port,
)
from zatotx.plugins.ftp.server.data_connection import ActiveSource, PassiveSource
from zatotx.plugins.ftp.server.session import Session
from zatotx.rules.security.login_throttle import unmap_ipv4


async def do_pasv(session: Session, _: str) -> ServerReply:
    """Handle the PASV command, which requests a passive data connection."""
    if session.is_epsv_all:
        raise FtpError(503, 'PASV comes after EPSV ALL')
    host = session.context.value.passive_address or unmap_ipv4(session.control.host)
    if ':' in host:
        raise FtpError(425, 'PASV names IPv4 addresses only, use EPSV')
    return ServerReply(227, format_pasv(host, _listen(session)))


async def do_epsv(session: Session, argument: str) -> ServerReply:
    """Handle the EPSV command, which requests a passive data connection for IPv4 or IPv6."""
    if argument.upper() == 'ALL':
        session.is_epsv_all = True
        return ServerReply(200, 'EPSV only')
    family = '2' if ':' in unmap_ipv4(session.control.host) else '1'
    if argument not in ('', family):
        raise FtpError(522, f'The network protocol is not supported, use ({family})')
    return ServerReply(229, f'Entering Extended Passive Mode (|||{_listen(session)}|)')


async def do_port(session: Session, argument: str) -> ServerReply:
    """Handle the PORT command, which gives the client's address for an active data connection."""
    return _connect_to(session, parse_port(argument))


async def do_eprt(session: Session, argument: str) -> ServerReply:
    """Handle the EPRT command, which gives the client's IPv4 or IPv6 address for an active data connection."""
    return _connect_to(session, parse_eprt(argument))


def _connect_to(session: Session, target: tuple[str, int]) -> ServerReply:
    host, port = target
    if not session.context.value.allow_active:
        raise FtpError(502, 'Active mode is switched off, use EPSV or PASV')
    if session.is_epsv_all:
        raise FtpError(503, 'PORT comes after EPSV ALL')
    if unmap_ipv4(host) != unmap_ipv4(session.control.peer) or port < 1024:
        raise FtpError(504, 'Data connections go to your own address, and to ports from 1024 on')
    session.drop_source()
    session.source = ActiveSource(session.context.reactor, session.context.value.transfer_timeout, target)
    return ServerReply(200, 'OK')


def _listen(session: Session) -> int:
    session.drop_source()
    value = session.context.value
    source = PassiveSource(session.context.reactor, value.transfer_timeout, session.control.peer)
    port = source.listen(session.control.host, parse_port_range(value.passive_ports))
    session.source = source
    return port
