"""The TLS certificate of an FTP channel, which is reloaded when its files have changed."""

from __future__ import annotations

from pathlib import Path

from attrs import define, field
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

from zatotx.plugins.ftp.schema.channel_ftp import FtpTls


@define(eq=False)
class Certificate:
    """A TLS 1.2 and 1.3 context with the certificate and key in two files."""

    settings: FtpTls
    current: CertificateOptions | None = field(default=None, init=False)  # as it was loaded last
    _read_at: tuple[int, ...] = field(default=(), init=False)

    def load(self) -> CertificateOptions:
        """Return the TLS context, of the files as they are now. Blocks. Raises ValueError for files that cannot be
        used; where others could be used before, they stay in force."""
        try:
            changed = tuple(path.stat().st_mtime_ns for path in self._paths())
            if self.current is None or changed != self._read_at:
                self.current, self._read_at = self._read(), changed
        except (OSError, ValueError, crypto.Error, SSL.Error) as error:
            if self.current is None:
                raise ValueError(f'its certificate cannot be used: {_reason(error)}') from None
        return self.current

    def _paths(self) -> tuple[Path, Path]:
        certificate = Path(self.settings.certificate)
        return certificate, Path(self.settings.private_key or certificate)

    def _read(self) -> CertificateOptions:
        certificate, key = self._paths()
        chain = [crypto.load_certificate(crypto.FILETYPE_PEM, block) for block in _blocks(certificate.read_bytes())]
        if not chain:
            raise ValueError(f'{certificate} has no certificate in PEM')
        options = CertificateOptions(
            privateKey=crypto.load_privatekey(crypto.FILETYPE_PEM, key.read_bytes()), certificate=chain[0],
            extraCertChain=chain[1:], raiseMinimumTo=TLSVersion.TLSv1_2,
        )  # fmt: skip
        options.getContext().check_privatekey()
        return options


def _blocks(pem: bytes) -> list[bytes]:
    end = b'-----END CERTIFICATE-----'
    return [b'-----BEGIN CERTIFICATE-----' + block.partition(b'-----BEGIN CERTIFICATE-----')[2] + end
            for block in pem.split(end)[:-1]]  # fmt: skip


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f'{error.filename}: {error.strerror}'
    return str(error) if isinstance(error, ValueError) else 'it is no certificate with its key in PEM'
