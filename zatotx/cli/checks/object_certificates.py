"""Checks the certificates and revocation lists that are stored in the configuration of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from zatotx.cli.checks.certificate_authority import LIST_SOON
from zatotx.cli.checks.check_definition import BROKEN, NODE, WARNING, Check, CheckContext
from zatotx.cli.checks.files_and_permissions import DAY, SOON, VERY_SOON, check_certificate_validity
from zatotx.cli.environment.environment_layout import Component, components_of, get_setting, read_settings
from zatotx.cli.environment.odb_and_redis_access import all_object_types, convert_errors, odb_url
from zatotx.cli.environment.secret_key_access import read_secret_key
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.schema.snapshot import StoredObject

_CERTIFICATE, _LIST = '-----BEGIN CERTIFICATE-----', '-----BEGIN X509 CRL-----'
_CLIENT_FIELD = 'tls_cert'  # the own certificate comes first; other fields hold authorities, one of which is enough


def read_objects(part: Component) -> list[StoredObject]:
    """Return the configuration objects of the cluster. Raises CommandError."""
    from zatotx.odb.offline_operations import open_database, read_snapshot

    cluster = get_setting(read_settings(part), 'main', 'cluster', '')
    with convert_errors():
        database = open_database(odb_url(part), read_secret_key(part), cluster=cluster, types=all_object_types())
        try:
            return list(read_snapshot(database))
        finally:
            database.close()


def check_objects(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the certificates and revocation lists in configuration objects. The check runs once for the environment."""
    if part != next(each for each in components_of(part.path.parent) if each.type.is_node):
        return
    try:
        objects: list[StoredObject] = context.cached(read_objects, part)
    except CommandError:
        return  # check_odb reports it
    types = {each.key: each.title for each in all_object_types()}
    for stored in objects:
        title = types.get(stored.type) or stored.type
        if getattr(stored.value, 'is_active', True):
            yield from _check_values(f'{title} {stored.name!r}', stored.value, context.now(), part.path)


def _check_values(where: str, value: Any, now: float, directory: Path) -> Iterator[tuple[str, str]]:
    """Check the fields of an object, and of the structures in them."""
    for name, content in msgspec.structs.asdict(value).items():
        if isinstance(content, msgspec.Struct):
            yield from _check_values(where, content, now, directory)
        elif isinstance(content, str) and _CERTIFICATE in content:
            yield from _check_certificates(f'{where}, {name}', content, now, is_chain=name == _CLIENT_FIELD)
        elif isinstance(content, str) and _LIST in content:
            yield from _check_lists(f'{where}, {name}', content, now)
        elif name == 'certificate' and isinstance(content, str) and content:
            yield from (
                (severity, f'{where}: {text}')
                for severity, text in check_certificate_validity(directory / content, now)
            )


def _check_certificates(where: str, pem: str, now: float, *, is_chain: bool) -> Iterator[tuple[str, str]]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        ends = [each.not_valid_after_utc for each in load_pem_x509_certificates(pem.encode('utf-8'))]
    except ValueError:
        return  # it was valid when it was stored; the node reports what it cannot use
    end = ends[0] if is_chain else max(ends)
    days_left = (end.timestamp() - now) / DAY
    if days_left < 0:
        yield BROKEN, f'{where}: the certificate expired on {end:%Y-%m-%d}: replace it'
    elif days_left < SOON:
        severity = BROKEN if days_left < VERY_SOON else WARNING
        yield severity, f'{where}: the certificate expires in {days_left:.0f} days, on {end:%Y-%m-%d}: replace it'


def _check_lists(where: str, pem: str, now: float) -> Iterator[tuple[str, str]]:
    from zatotx.wire.certificates import parse_revocation_lists
    from zatotx.wire.malformed import Malformed

    try:
        ends = [each.next_update_utc for each in parse_revocation_lists(pem) if each.next_update_utc is not None]
    except Malformed:
        return  # as above
    end = min(ends, default=datetime.max.replace(tzinfo=UTC))
    days_left = (end.timestamp() - now) / DAY
    if days_left < 0:
        yield BROKEN, f'{where}: the revocation list expired on {end:%Y-%m-%d}, so everybody is refused: replace it'
    elif days_left < LIST_SOON:
        yield WARNING, f'{where}: the revocation list expires in {days_left:.0f} days, on {end:%Y-%m-%d}: replace it'


CHECKS = (
    Check('certificates', 'a certificate in the configuration of the cluster, such as tls_cert of an outgoing '
          'connection, expired, or expires within 30 days (warning) or 7 days (broken); a revocation list expired, or '
          'expires within 7 days (warning)', NODE, check_objects, sends_requests=True),
)  # fmt: skip
