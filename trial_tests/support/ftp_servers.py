"""Real FTP servers: vsftpd, and pyftpdlib."""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import sys
from functools import cache
from pathlib import Path

from trial_tests.support.authority import Authority
from trial_tests.support.daemon import Daemon

USER, PASSWORD = 'partner', 'ftp-sEcReT'


class FtpDaemon(Daemon):
    """An FTP server that serves `root`. `authority` signed its certificate for localhost."""

    def __init__(self) -> None:
        super().__init__()
        self.root = self.directory / 'files'
        self.root.mkdir()
        self.authority = Authority(self.directory / 'ca')
        certificate, key = self.authority.sign('ftp', 'localhost', '127.0.0.1')
        self.pem = self.directory / 'ftp.pem'
        self.pem.write_bytes(key.read_bytes() + certificate.read_bytes())
        self.pem.chmod(0o600)
        if os.geteuid() == 0:
            for path in (self.root, self.pem):
                shutil.chown(path, self.account)

    @property
    def ca(self) -> str:
        """The certificate of the authority, as PEM."""
        return self.authority.path.read_text('ascii')

    def answers(self) -> bool:
        try:
            with socket.create_connection(('127.0.0.1', self.port), 5) as probe:
                probe.settimeout(5)
                return bool(probe.recv(100))
        except OSError:
            return False

    def write(self, name: str, content: bytes) -> Path:
        """Put a file on the server, past FTP."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if os.geteuid() == 0:
            shutil.chown(path.parent, self.account)
            shutil.chown(path, self.account)
        return path


class Vsftpd(FtpDaemon):
    """vsftpd with an anonymous account that may do everything. It wants the TLS session of the control connection to be
    resumed on data connections, and names an address in its replies to PASV that leads nowhere."""

    what = 'vsftpd'

    def __init__(self, **settings: str) -> None:
        super().__init__()
        lines = {
            'listen': 'YES', 'listen_address': '127.0.0.1', 'listen_port': str(self.port), 'background': 'NO',
            'run_as_launching_user': 'YES', 'seccomp_sandbox': 'NO', 'isolate': 'NO', 'isolate_network': 'NO',
            'anonymous_enable': 'YES', 'local_enable': 'NO', 'write_enable': 'YES', 'anon_root': str(self.root),
            'anon_upload_enable': 'YES', 'anon_mkdir_write_enable': 'YES', 'anon_other_write_enable': 'YES',
            'anon_world_readable_only': 'NO', 'no_anon_password': 'YES', 'anon_umask': '022',
            'pasv_address': '10.255.255.1', 'xferlog_enable': 'NO', 'use_localtime': 'NO',
            'ssl_enable': 'YES', 'allow_anon_ssl': 'YES', 'force_local_logins_ssl': 'NO',
            'force_local_data_ssl': 'NO', 'require_ssl_reuse': 'YES', 'ssl_ciphers': 'HIGH',
            'rsa_cert_file': str(self.pem), 'utf8_filesystem': 'YES', **settings,
        }  # fmt: skip
        self.configuration = self.directory / 'vsftpd.conf'
        self.configuration.write_text(''.join(f'{name}={value}\n' for name, value in lines.items()), 'utf-8')
        if os.geteuid() == 0:
            shutil.chown(self.configuration, self.account)

    def command(self) -> list[str]:
        return ['/usr/sbin/vsftpd', str(self.configuration)]


class Pyftpdlib(FtpDaemon):
    """pyftpdlib with the account USER and its PASSWORD. `max_file_size`: bytes of the largest file that its disk takes;
    `options`: attributes of its handler."""

    what = 'pyftpdlib'

    def __init__(self, *, tls: bool = False, implicit: bool = False, max_file_size: int = -1, **options: object
                 ) -> None:  # fmt: skip
        super().__init__()
        script = self.directory / 'serve.py'
        script.write_text(_SCRIPT.format(
            port=self.port, root=str(self.root), user=USER, password=PASSWORD, pem=str(self.pem), tls=tls,
            implicit=implicit, max_file_size=max_file_size, options=options,
        ), 'utf-8')  # fmt: skip
        self._script = script

    def command(self) -> list[str]:
        return [sys.executable, str(self._script)]

    def answers(self) -> bool:
        try:
            socket.create_connection(('127.0.0.1', self.port), 5).close()
        except OSError:
            return False
        return True


_SCRIPT = '''
import logging
import resource
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.handlers import FTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

logging.basicConfig(level=logging.INFO)
resource.setrlimit(resource.RLIMIT_FSIZE, ({max_file_size}, {max_file_size}))
authorizer = DummyAuthorizer()
authorizer.add_user({user!r}, {password!r}, {root!r}, perm='elradfmwMT')


class UnbufferedFiles(AbstractedFS):
    """Writes to the disk at once. With a buffer, closing the file fails again on a full disk, and pyftpdlib then never
    replies to the command."""

    def open(self, filename, mode):
        return open(filename, mode, buffering=0)


class Implicit(TLS_FTPHandler):
    def handle(self):
        self.secure_connection(self.ssl_context)

    def handle_ssl_established(self):
        super().handle()


handler = Implicit if {implicit} else type('Plain', (TLS_FTPHandler if {tls} else FTPHandler,), {{}})
handler.authorizer = authorizer
handler.abstracted_fs = UnbufferedFiles
handler.certfile = {pem!r}
handler.auth_failed_timeout = 0.1
handler.permit_privileged_ports = True
for name, value in {options!r}.items():
    setattr(handler, name, value)
FTPServer(('127.0.0.1', {port}), handler).serve_forever()
'''


@cache
def vsftpd() -> Vsftpd:
    """The one that all tests of this process use; it runs."""
    server = Vsftpd()
    atexit.register(server.close)
    server.start()
    return server


@cache
def pyftpdlib() -> Pyftpdlib:
    """The one that all tests of this process use; it runs, without TLS."""
    server = Pyftpdlib()
    atexit.register(server.close)
    server.start()
    return server
