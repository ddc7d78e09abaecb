"""Handles the FTP commands with which a client logs in, protects its connections, and logs out (RFC 959 §4.1.1, RFC
4217).
"""

from __future__ import annotations

from functools import partial

from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    ServerReply,
)
from zatotx.plugins.ftp.server.login import ATTEMPTS, FAILURE_DELAY
from zatotx.plugins.ftp.server.session import Session

_log = Logger()


async def do_user(session: Session, name: str) -> ServerReply:
    """Handle the USER command, which gives the user name."""
    if not name:
        raise FtpError(501, 'A user name is missing')
    if session.is_logged_in:
        raise FtpError(503, 'You are logged in')
    if session.requires_tls and session.tls is None:
        raise FtpError(530, 'Logins are encrypted here: send AUTH TLS first')
    session.user = name
    return ServerReply(331, 'Send the password')


async def do_pass(session: Session, password: str) -> ServerReply:
    """Handle the PASS command, which gives the password and logs in."""
    if session.is_logged_in:
        raise FtpError(503, 'You are logged in')
    if not session.user:
        raise FtpError(503, 'Send USER first')
    login, clock = session.context.login, session.context.reactor
    delay = login.delay(session.control.peer, clock.seconds())
    if delay:
        await session.wait(deferLater(clock, delay))
    is_right = login.matches(session.user, password)
    if not is_right and login.authenticate is not None:
        is_right = await session.wait(login.authenticate(session.user, password, session.control.peer))
    if is_right:
        await session.enter()
        return ServerReply(230, 'Logged in')
    login.record_failure(session.control.peer, clock.seconds())
    session.context.counters.failed_logins += 1
    _log.info('{title}: a login as {user!r} from {address} failed', title=session.context.title, user=session.user,
              address=session.control.peer)  # fmt: skip
    session.failed_logins += 1
    await session.wait(deferLater(clock, FAILURE_DELAY))
    if session.failed_logins >= ATTEMPTS:
        return ServerReply(421, 'Too many failed logins', after=session.control.close)
    return ServerReply(530, 'User or password is wrong')


async def do_quit(session: Session, _: str) -> ServerReply:
    """Handle the QUIT command, which logs out and closes the connection."""
    return ServerReply(221, 'Goodbye', after=session.control.close)


async def do_auth(session: Session, argument: str) -> ServerReply:
    """Handle the AUTH command, which starts TLS on the control connection."""
    if session.context.certificate is None:
        raise FtpError(502, 'TLS is not configured')
    if argument.upper() not in ('TLS', 'TLS-C'):
        raise FtpError(504, 'The mechanism is not supported, use AUTH TLS')
    if session.tls is not None:
        raise FtpError(503, 'The connection is encrypted')
    tls: CertificateOptions = await session.thread(session.context.certificate.load)
    session.tls = tls
    session.leave()  # RFC 4217 §4: what came before TLS does not count
    return ServerReply(234, 'Begin TLS', after=partial(session.control.start_tls, tls))


async def do_buffer_size(session: Session, argument: str) -> ServerReply:
    """Handle the PBSZ command, which sets the protection buffer size."""
    if session.tls is None:
        raise FtpError(503, 'Send AUTH TLS first')
    return ServerReply(200, 'PBSZ=0')


async def do_protection(session: Session, argument: str) -> ServerReply:
    """Handle the PROT command, which sets the protection level of data connections."""
    if session.tls is None:
        raise FtpError(503, 'Send AUTH TLS first')
    level = argument.upper()
    if level not in ('P', 'C'):
        raise FtpError(536, 'The protection is not supported, use PROT P')
    if level == 'C' and session.requires_tls:
        raise FtpError(534, 'Data connections are encrypted here')
    session.protects_data = level == 'P'
    return ServerReply(200, 'Data connections are encrypted' if level == 'P' else 'Data connections are not encrypted')
