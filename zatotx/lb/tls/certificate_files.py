"""Loads the certificates of a listener from one file or from a directory of PEM files, and determines the names for
which the certificates are valid.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName
from OpenSSL.crypto import PKey

from zatotx.connectors.tls_settings import Key, load_certificates

_CHAIN_SUFFIXES = ('.crt', '.pem', '.cer')
_KEY_SUFFIX = '.key'


@frozen(eq=False)
class CertificateFile:
    """A certificate chain and its private key."""

    name: str  # of the file
    chain: tuple[Certificate, ...]  # the certificate itself first
    key: PKey
    names: frozenset[str]  # host names and addresses that it is valid for, in lower case; `*.example.com`


def load_certificate_files(path: Path) -> list[CertificateFile]:
    """Load the certificates from a directory, sorted by file name, or from one file. Raises ValueError, with one line
    for each unusable file, or if there are no certificates."""
    files = chain_files(path)
    loaded, errors = [], []
    for file in files:
        try:
            loaded.append(_load(file))
        except (OSError, ValueError) as error:
            errors.append(f'{file}: {getattr(error, "strerror", None) or error}')
    if not files:
        errors.append(f'{path}: the directory has no certificate, which would be a file *.pem, or *.crt beside *.key')
    if errors:
        raise ValueError('\n'.join(errors))
    return loaded


def file_fingerprints(paths: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return the names, inodes and modification times of files. The returned values change when one of the files, or a
    file in one of the directories, is replaced."""
    versions = []
    for path in paths:
        try:
            entries = sorted(path.iterdir()) if path.is_dir() else [path]
        except OSError:
            entries = []
        for entry in entries:
            try:
                status = entry.stat()
            except OSError:
                continue
            versions.append((str(entry), status.st_ino, status.st_mtime_ns))
    return tuple(versions)


def chain_files(path: Path) -> list[Path]:
    """Return the files of a directory that contain certificates. If the path is a file, return the file itself."""
    if not path.is_dir():
        return [path]
    return [file for file in sorted(path.iterdir())
            if file.suffix in _CHAIN_SUFFIXES and file.is_file() and not file.name.startswith('.')]  # fmt: skip


def key_file(file: Path) -> Path:
    """Return the file that contains the private key for the certificate in a file."""
    beside = file.with_suffix(_KEY_SUFFIX)
    return beside if beside.is_file() else file


def _load(file: Path) -> CertificateFile:
    chain = load_certificates(file.read_bytes())
    found = key_file(file)
    try:
        key = load_pem_private_key(found.read_bytes(), None)
    except TypeError:
        raise ValueError(f'the key in {found.name} is encrypted with a pass phrase: store it without one') from None
    except UnsupportedAlgorithm:
        raise ValueError(f'the key in {found.name} is of a kind that is not supported') from None
    except ValueError:
        raise ValueError(f'there is no private key in {found.name}, nor in a file {file.stem}{_KEY_SUFFIX}') from None
    if not isinstance(key, Key) or key.public_key() != chain[0].public_key():
        raise ValueError(f'the key in {found.name} is not the key of the certificate')
    return CertificateFile(file.name, chain, PKey.from_cryptography_key(key), certificate_names(chain[0]))


def certificate_names(certificate: Certificate) -> frozenset[str]:
    """Return the host names and addresses for which a certificate is valid, in lower case."""
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return frozenset()
    addresses = map(str, names.get_values_for_type(IPAddress))
    return frozenset(name.lower() for name in (*names.get_values_for_type(DNSName), *addresses))
