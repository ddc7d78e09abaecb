"""The FTP commands and the functions that handle them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from zatotx.plugins.ftp.server import (
    data_commands,
    directory_commands,
    login_commands,
    parameter_commands,
    transfer_commands,
)
from zatotx.plugins.ftp.server.command_syntax import Command, FtpError, ServerReply
from zatotx.plugins.ftp.server.session import Session

_Handler = Callable[[Session, str], Awaitable[ServerReply]]

async def run_command(session: Session, command: Command) -> ServerReply:
    """Run the handler of an FTP command. Raises FtpError, OSError and SessionClosedError."""
    handler = _HANDLERS.get(command.verb)
    if handler is None:
        known = command.verb in _UNIMPLEMENTED
        raise FtpError(502 if known else 500, f'{command.verb} is not {"implemented" if known else "understood"}')
    if not session.is_logged_in and command.verb not in _BEFORE_LOGIN:
        raise FtpError(530, 'Log in first')
    if command.verb in _TRANSFERS and session.requires_tls and not session.protects_data:
        raise FtpError(521, 'Data connections are encrypted here: send PBSZ 0 and PROT P first')
    if command.verb != 'RNTO':
        session.renamed = None
    try:
        return await handler(session, command.argument)
    except (FtpError, OSError):
        if command.verb in _TRANSFERS:  # the client closes a data connection that it has opened
            session.drop_source()
        raise
    finally:
        if command.verb == 'RNTO':
            session.renamed = None
        if command.verb not in _KEEPS_OFFSET:
            session.offset = 0


async def _do_help(session: Session, _: str) -> ServerReply:
    verbs = sorted(_HANDLERS)
    return ServerReply(214, 'Commands', [' '.join(verbs[first : first + 10]) for first in range(0, len(verbs), 10)])


_HANDLERS: dict[str, _Handler] = {
    'ABOR': parameter_commands.do_abort,
    'ACCT': parameter_commands.do_superfluous,
    'ALLO': parameter_commands.do_superfluous,
    'APPE': transfer_commands.do_append,
    'AUTH': login_commands.do_auth,
    'CDUP': directory_commands.do_parent_directory,
    'CWD': directory_commands.do_change_directory,
    'DELE': directory_commands.do_delete,
    'EPRT': data_commands.do_eprt,
    'EPSV': data_commands.do_epsv,
    'FEAT': parameter_commands.do_feat,
    'HELP': _do_help,
    'LIST': transfer_commands.do_list,
    'MDTM': directory_commands.do_modification_time,
    'MKD': directory_commands.do_make_directory,
    'MLSD': transfer_commands.do_mlsd,
    'MLST': directory_commands.do_mlst,
    'MODE': parameter_commands.do_mode,
    'NLST': transfer_commands.do_name_list,
    'NOOP': parameter_commands.reply_to_noop,
    'OPTS': parameter_commands.do_opts,
    'PASS': login_commands.do_pass,
    'PASV': data_commands.do_pasv,
    'PBSZ': login_commands.do_buffer_size,
    'PORT': data_commands.do_port,
    'PROT': login_commands.do_protection,
    'PWD': directory_commands.do_print_directory,
    'QUIT': login_commands.do_quit,
    'REST': parameter_commands.do_rest,
    'RETR': transfer_commands.do_retrieve,
    'RMD': directory_commands.do_remove_directory,
    'RNFR': directory_commands.do_rename_from,
    'RNTO': directory_commands.do_rename_to,
    'SIZE': directory_commands.do_size,
    'STAT': transfer_commands.do_status,
    'STOR': transfer_commands.do_store,
    'STRU': parameter_commands.do_structure,
    'SYST': parameter_commands.do_system,
    'TYPE': parameter_commands.do_type,
    'USER': login_commands.do_user,
    'XCUP': directory_commands.do_parent_directory,
    'XCWD': directory_commands.do_change_directory,
    'XMKD': directory_commands.do_make_directory,
    'XPWD': directory_commands.do_print_directory,
    'XRMD': directory_commands.do_remove_directory,
}
_UNIMPLEMENTED = frozenset(('CCC', 'ENC', 'MIC', 'CONF', 'ADAT', 'REIN', 'SITE', 'SMNT', 'STOU',
                            'LANG', 'HOST', 'MFMT'))  # fmt: skip
_BEFORE_LOGIN = frozenset(('USER', 'PASS', 'QUIT', 'FEAT', 'OPTS', 'SYST', 'NOOP', 'HELP', 'AUTH', 'PBSZ', 'PROT'))
_KEEPS_OFFSET = frozenset(('REST', 'EPSV', 'PASV', 'EPRT', 'PORT', 'TYPE', 'NOOP', 'SIZE'))
_TRANSFERS = frozenset(('APPE', 'LIST', 'MLSD', 'NLST', 'RETR', 'STOR'))
VERBS = frozenset(_HANDLERS)
