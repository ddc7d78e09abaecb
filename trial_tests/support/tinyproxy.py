"""A real HTTP proxy."""

from __future__ import annotations

import socket

from trial_tests.support.daemon import Daemon

USER, PASSWORD = 'partner', 'pA55-w0rd'


class Tinyproxy(Daemon):
    """Lets clients of the loopback through to anywhere. `credentials`: wants USER and PASSWORD."""

    what = 'tinyproxy'

    def __init__(self, *, credentials: bool = False) -> None:
        super().__init__()
        lines = [f'Port {self.port}', 'Listen 127.0.0.1', 'Timeout 20', 'Allow 127.0.0.1', 'LogLevel Info']
        if credentials:
            lines.append(f'BasicAuth {USER} {PASSWORD}')
        (self.directory / 'conf').write_text('\n'.join([*lines, '']), 'utf-8')

    def command(self) -> list[str]:
        return ['tinyproxy', '-d', '-c', str(self.directory / 'conf')]

    def answers(self) -> bool:
        try:
            socket.create_connection(('127.0.0.1', self.port), 5).close()
        except OSError:
            return False
        return True

    def said(self) -> str:
        """Its log so far: a line for each request that it took."""
        return self.log.read_text('utf-8', 'replace')
