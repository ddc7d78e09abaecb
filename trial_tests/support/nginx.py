"""A real web server, which many systems that are called stand behind."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from trial_tests.support.daemon import Daemon
from trial_tests.support.ports import free_port

_CONFIGURATION = """
pid nginx.pid;
error_log stderr warn;
worker_processes 1;
events {{ worker_connections 256; }}
http {{
    log_format of_connections '$request $status $connection';
    access_log access.log of_connections;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000;
    gzip on;
    gzip_min_length 100;
    gzip_types *;
    root pages;
    server {{
        listen 127.0.0.1:{port};
        {tls}
        location / {{ }}
        {locations}
    }}
}}
"""
_TLS = """
        listen 127.0.0.1:{port} ssl;
        ssl_certificate server.crt;
        ssl_certificate_key server.key;
        {clients}
"""
_CLIENTS = """
        ssl_client_certificate clients.crt;
        ssl_verify_client optional;
"""


class Nginx(Daemon):
    """Serves `pages` (by their paths), on `port` in the clear and on `tls_port` over TLS, gzipped for who asks for it.

    `certificate`: files of a certificate and its key. `clients`: the authority whose certificates it asks for; the
    variable $ssl_client_s_dn says what it saw. `locations`: more of the server's configuration.
    """

    what = 'nginx'

    def __init__(
        self, pages: Mapping[str, bytes], *, certificate: tuple[Path, Path] | None = None, clients: Path | None = None,
        locations: str = '',
    ) -> None:  # fmt: skip
        super().__init__()
        self.tls_port = free_port()
        self._lay('pages', pages)
        tls = ''
        if certificate is not None:
            self._copy(certificate[0], 'server.crt')
            self._copy(certificate[1], 'server.key')
            tls = _TLS.format(port=self.tls_port, clients=_CLIENTS if clients is not None else '')
        if clients is not None:
            self._copy(clients, 'clients.crt')
        text = _CONFIGURATION.format(port=self.port, tls=tls, locations=locations)
        (self.directory / 'conf').write_text(text, 'utf-8')

    def command(self) -> list[str]:
        return ['nginx', '-p', str(self.directory), '-c', 'conf', '-e', 'stderr', '-g', 'daemon off;']

    def answers(self) -> bool:
        try:
            socket.create_connection(('127.0.0.1', self.port), 5).close()
        except OSError:
            return False
        return True

    def connections(self) -> int:
        """How many it has served requests on, by its log."""
        lines = (self.directory / 'access.log').read_text('utf-8').splitlines()
        return len({line.rpartition(' ')[2] for line in lines})

    def _lay(self, name: str, pages: Mapping[str, bytes]) -> None:
        for path, content in pages.items():
            file = self.directory / name / path.lstrip('/')
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def _copy(self, source: Path, name: str) -> None:
        """Readable by who runs it: keys of tests are no secrets."""
        shutil.copy(source, self.directory / name)
        (self.directory / name).chmod(0o644)
