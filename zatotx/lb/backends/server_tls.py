"""Creates the TLS settings of connections to a server, from the files that are named in lb.toml."""

from __future__ import annotations

from pathlib import Path

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings
from zatotx.lb.config.model import ServerTls


def make_server_tls(config: ServerTls, directory: Path) -> TlsClientFactory:
    """Create the TLS factory for connections to a server. Relative paths are relative to `directory`. Raises
    ValueError, with one sentence, for files that cannot be used."""
    try:
        settings = TlsSettings(ca=_read(config.ca, directory), certificate=_read(config.certificate, directory),
                               key=_read(config.key, directory), verify=config.verify)
        return TlsClientFactory(settings)
    except OSError as error:
        raise ValueError(f'{error.filename} cannot be read: {error.strerror}') from None
    except InvalidTlsSettings as error:
        raise ValueError(f'the TLS files of the server cannot be used: {error}') from None


def _read(path: str, directory: Path) -> str:
    return (directory / path).read_text('utf-8', 'replace') if path else ''
