"""`zatotx ca`: manages the certificate authority of an environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zatotx.cli.command_output import Decorator, make_format_option, print_json, print_table
from zatotx.cli.environment.atomic_files import atomic_directory
from zatotx.cli.errors import CommandError
from zatotx.cli.secret_options import read_secret

if TYPE_CHECKING:
    from zatotx.ca.certificate_authority import CertificateAuthority, IssuedCertificate, ListedCertificate

MARKER = '.zato-ca-dir'  # zatotx.ca.authority_directory, which takes time to import
PASSPHRASE_VARIABLE = 'ZATOTX_CA_PASSPHRASE'
MAX_DAYS = 36_500
REASONS = (
    'unspecified', 'keyCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation', 'privilegeWithdrawn',
)  # fmt: skip
STATUS_WORDS = {'V': 'valid', 'R': 'revoked', 'E': 'expired'}


# Options


def _path_argument() -> Decorator:
    help_text = 'The directory of the authority, or an environment with one in PATH/ca.'
    return click.argument('path', metavar='PATH', type=click.Path(), help=help_text)


def _days_option(default: int) -> Decorator:
    return click.option('--days', default=default, show_default=True, type=click.IntRange(1, MAX_DAYS),
                        help='Days of validity.')  # fmt: skip


def _passphrase_option(help_text: str) -> Decorator:
    where = f'- reads it from standard input, @FILE from a file. Default: {PASSPHRASE_VARIABLE}, otherwise none.'
    return click.option('--passphrase', default=None, metavar='-|@FILE', envvar=PASSPHRASE_VARIABLE,
                        help=f'{help_text}: {where}')  # fmt: skip


def _unlock_option() -> Decorator:
    return _passphrase_option("The pass phrase of the authority's key")


_SUBJECT_OPTIONS = (
    ('organization', 'My Company', 'O of the subject.'),
    ('organizational-unit', 'My Unit', 'OU of the subject.'),
    ('locality', 'My Town', 'L of the subject.'),
    ('state-or-province', 'My State', 'ST of the subject.'),
    ('country', 'US', 'C of the subject, two letters.'),
)


def _subject_options(common_name: str) -> Decorator:
    """Return the options of a subject, passed to the command by their names. `common_name`: the default, shown."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option('--common-name', default='', help=f'CN of the subject. Default: {common_name}.')(command)
        for name, default, help_text in reversed(_SUBJECT_OPTIONS):
            command = click.option(f'--{name}', default=default, show_default=True, help=help_text)(command)
        return command

    return decorate


def _hosts_option(default: str) -> Decorator:
    return click.option('--san', 'hosts', multiple=True, metavar='HOST|IP',
                        help=f'Alternative name; may be repeated. Default: {default}.')  # fmt: skip


# Commands that create


@click.group(epilog='\b\nExamples:\n  zatotx ca create ca ~/ca\n  zatotx ca create server ~/ca qs-1 server1')
def create() -> None:
    """Create a certificate authority, or certificates that it signs."""


@create.command(
    'ca',
    short_help='Create a certificate authority.',
    epilog='\b\nExamples:\n  zatotx ca create ca ~/ca --organization "Example Ltd"\n'
    '  zatotx ca create ca ~/ca --passphrase @passphrase.txt',
)
@click.argument('path', metavar='PATH', type=click.Path(), help='The directory to create; it must be absent or empty.')
@_subject_options('Sample CA')
@_days_option(3650)
@_passphrase_option("Encrypts the authority's key, and is then needed to issue, renew and revoke")
@make_format_option()
def create_ca(path: str, days: int, passphrase: str | None, form: str, common_name: str, **fields: str) -> None:
    """Create a certificate authority with a P-256 key and an empty revocation list at PATH.

    It is created completely, or not at all.
    """
    from zatotx.ca.certificate_authority import CertificateAuthority

    target = Path(path).absolute()
    phrase = _passphrase(passphrase)
    with _errors(), atomic_directory(target, MARKER) as directory:
        authority = CertificateAuthority.create(
            directory, _subject(common_name or 'Sample CA', fields), days=days, passphrase=phrase
        )
        end = authority.certificate().not_valid_after_utc
    certificate = target / 'ca-material' / 'ca-cert.pem'
    if form == 'json':
        print_json({'path': str(target), 'certificate': str(certificate), 'not_after': end.isoformat(),
                    'is_encrypted': bool(phrase)})  # fmt: skip
    else:
        click.echo(f'Created the authority {target}, valid until {end:%Y-%m-%d}: {certificate} is what others trust.')


@create.command(
    'server',
    short_help='Create the certificate of a server.',
    epilog='\b\nExamples:\n  zatotx ca create server ~/ca qs-1 server1\n'
    '  zatotx ca create server ~/ca qs-1 server1 --san esb.example.com --san 10.0.0.7',
)
@_path_argument()
@click.argument('cluster', metavar='CLUSTER', help='The name of the cluster.')
@click.argument('server', metavar='SERVER', help='The name of the server.')
@_hosts_option('localhost and the loopback addresses')
@_subject_options('the name of the server')
@_days_option(365)
@_unlock_option()
@make_format_option()
def create_server(path: str, cluster: str, server: str, common_name: str, **options: Any) -> None:
    """Create a certificate with which a server authenticates itself to clients. Its files are CLUSTER-SERVER-….pem."""
    from zatotx.ca.certificate_names import check_file_name

    with _errors():
        check_file_name(cluster, 'name of the cluster')
        check_file_name(server, 'name of the server')
    _issue(path, 'server', f'{cluster}-{server}', common_name or server, **options)


@create.command(
    'lb-agent',
    short_help="Create the certificate of the load balancer's agent.",
    epilog='\b\nExamples:\n  zatotx ca create lb-agent ~/ca --san lb.example.com',
)
@_path_argument()
@_hosts_option('localhost and the loopback addresses')
@_subject_options('lb-agent')
@_days_option(365)
@_unlock_option()
@make_format_option()
def create_lb_agent(path: str, common_name: str, **options: Any) -> None:
    """Create a certificate with which the load balancer's agent authenticates itself to its clients."""
    _issue(path, 'lb-agent', 'lb-agent', common_name or 'lb-agent', **options)


@create.command(
    'web-admin',
    short_help='Create the certificate of the web admin.',
    epilog='\b\nExamples:\n  zatotx ca create web-admin ~/ca --san admin.example.com',
)
@_path_argument()
@_hosts_option('localhost and the loopback addresses')
@_subject_options('web-admin')
@_days_option(365)
@_unlock_option()
@make_format_option()
def create_web_admin(path: str, common_name: str, **options: Any) -> None:
    """Create a certificate with which the web admin authenticates itself to the load balancer's agent and to browsers.
    """
    _issue(path, 'web-admin', 'web-admin', common_name or 'web-admin', **options)


@create.command(
    'client',
    short_help='Create a certificate for a client.',
    epilog='\b\nExamples:\n  zatotx ca create client ~/ca partner --organization Bank',
)
@_path_argument()
@click.argument('name', metavar='NAME', help='What its files are named after.')
@_hosts_option('none')
@_subject_options('NAME')
@_days_option(365)
@_unlock_option()
@make_format_option()
def create_client(path: str, name: str, common_name: str, **options: Any) -> None:
    """Create a certificate with which a client authenticates itself to servers and to the load balancer's agent."""
    _issue(path, 'client', name, common_name or name, **options)


def _issue(
    path: str, profile: str, name: str, common_name: str, *, hosts: tuple[str, ...], days: int,
    passphrase: str | None, form: str, **fields: str,
) -> None:  # fmt: skip
    from zatotx.ca.certificate_builder import PROFILES

    with _errors():
        authority = _open(path, passphrase)
        issued = authority.issue(PROFILES[profile], name, _subject(common_name, fields), hosts=hosts, days=days)
    if form == 'json':
        print_json(_use(authority, issued))
    else:
        _print_issued(authority, issued, 'Created')


def _use(authority: CertificateAuthority, issued: IssuedCertificate) -> dict[str, Any]:
    """Make running servers use a new certificate; returns the facts about it."""
    from zatotx.cli.environment.environment_authority import reload_server_certificates

    return {
        **_issued_row(issued),
        'reloaded': reload_server_certificates(authority.store.directory, issued.certificate),
    }


def _print_issued(authority: CertificateAuthority, issued: IssuedCertificate, verb: str) -> None:
    reloaded = _use(authority, issued)['reloaded']
    click.echo(f'{verb} the certificate {issued.name} (serial {issued.serial}), valid until '
               f'{issued.not_after:%Y-%m-%d}.')  # fmt: skip
    click.echo(f'Certificate {issued.certificate}')
    click.echo(f'Key         {issued.key}')
    if reloaded:
        click.echo(f'New connections to {", ".join(reloaded)} use it.')


def _issued_row(issued: IssuedCertificate) -> dict[str, Any]:
    return {
        'name': issued.name, 'serial': issued.serial, 'subject': issued.subject,
        'not_after': issued.not_after.isoformat(), 'certificate': str(issued.certificate), 'key': str(issued.key),
    }  # fmt: skip


# Other commands


@click.command('list', epilog='\b\nExamples:\n  zatotx ca list ~/env/qs-1\n  zatotx ca list ~/ca --format json')
@_path_argument()
@make_format_option()
def list_(path: str, form: str) -> None:
    """List the issued certificates, oldest first. A renewed name is listed once for each of its certificates."""
    with _errors():
        rows = [_row(each) for each in _open(path).entries()]
    if form == 'json':
        print_json(rows)
        return
    print_table(('NAME', 'SERIAL', 'STATUS', 'UNTIL', 'SUBJECT'), [
        (row['name'], row['serial'], row['status'], row['not_after'][:10], row['subject']) for row in rows
    ])  # fmt: skip


def _row(each: ListedCertificate) -> dict[str, Any]:
    from zatotx.ca.certificate_index import format_serial

    entry = each.entry
    return {
        'name': each.name, 'serial': format_serial(entry.serial), 'status': STATUS_WORDS[each.status],
        'is_current': each.is_current, 'not_after': entry.not_after.isoformat(), 'subject': entry.subject,
        'revoked_at': entry.revoked_at.isoformat() if entry.revoked_at else None, 'reason': entry.reason or None,
        'path': str(each.path),
    }  # fmt: skip


@click.command(
    short_help='Show a certificate.',
    epilog='\b\nExamples:\n  zatotx ca show ~/env/qs-1 lb-agent\n  zatotx ca show ~/env/qs-1 ca',
)
@_path_argument()
@click.argument('name', metavar='NAME|SERIAL', help='A name or serial number that ca list shows; ca = the authority.')
@make_format_option()
def show(path: str, name: str, form: str) -> None:
    """Show a certificate: the newest one of a name, or the one with a serial number."""
    from zatotx.cli.certificate_description import describe_certificate

    with _errors():
        authority = _open(path)
        facts = describe_certificate(*_find(authority, name))
    if form == 'json':
        print_json(facts)
        return
    for label, value in facts.items():
        text = ', '.join(value) if isinstance(value, list) else value
        click.echo(f'{label.replace("_", " ")}: {text}')


def _find(authority: CertificateAuthority, name: str) -> tuple[Path, str]:
    """Return the file of a certificate and the word for its status. Raises CommandError."""
    from zatotx.ca.certificate_authority import AUTHORITY_NAME, matches_name_or_serial

    if name == AUTHORITY_NAME:
        return authority.store.certificate, 'authority'
    found = [each for each in authority.entries() if matches_name_or_serial(each.entry, name)]
    if not found:
        raise CommandError(f"There is no certificate {name}: 'zatotx ca list' shows their names.")
    return found[-1].path, STATUS_WORDS[found[-1].status]


@click.command(
    short_help='Issue certificates again with a new validity.',
    epilog='\b\nExamples:\n  zatotx ca renew ~/env/qs-1 lb-agent\n  zatotx ca renew ~/env/qs-1 ca --days 3650',
)
@_path_argument()
@click.argument('names', metavar='NAME…', nargs=-1, required=True,
                help='Names that ca list shows; ca = the authority itself.')  # fmt: skip
@click.option('--days', type=click.IntRange(1, MAX_DAYS), help='Days of validity. Default: 365, for ca 3650.')
@_unlock_option()
@make_format_option()
def renew(path: str, names: tuple[str, ...], days: int | None, passphrase: str | None, form: str) -> None:
    """Renew certificates: issue them again with the same names, new keys and a new validity period.

    The servers and the load balancer's agent of an environment use the new files with the next connection, without a
    restart. The old certificates stay valid until they expire or are revoked by their serial numbers. The authority
    itself keeps its key, so certificates that it signed stay valid.
    """
    from zatotx.ca.certificate_authority import AUTHORITY_DAYS, AUTHORITY_NAME, CERTIFICATE_DAYS

    with _errors():
        authority = _open(path, passphrase)
        renewed = [
            authority.renew(name, days=days or (AUTHORITY_DAYS if name == AUTHORITY_NAME else CERTIFICATE_DAYS))
            for name in names
        ]
    if form == 'json':
        print_json([_use(authority, each) for each in renewed])
        return
    for each in renewed:
        _print_issued(authority, each, 'Renewed')


@click.command(
    short_help='Revoke certificates and sign the revocation list.',
    epilog='\b\nExamples:\n  zatotx ca revoke ~/env/qs-1 web-admin --reason keyCompromise\n'
    '  zatotx ca revoke ~/env/qs-1 015C0A',
)
@_path_argument()
@click.argument('name', metavar='NAME|SERIAL', help='A name or serial number that ca list shows.')
@click.option('--reason', default='unspecified', show_default=True, type=click.Choice(REASONS),
              help='The reason on the revocation list.')  # fmt: skip
@_unlock_option()
@make_format_option()
def revoke(path: str, name: str, reason: str, passphrase: str | None, form: str) -> None:
    """Revoke all valid certificates of a name, or the one with a serial number, and sign the revocation list.

    The load balancer's agent refuses them with the next connection, without a restart. Copies of the list elsewhere
    have to be replaced: it is ca-material/ca-crl.pem.
    """
    from zatotx.ca.certificate_index import format_serial

    with _errors():
        authority = _open(path, passphrase)
        revoked = authority.revoke(name, reason)
    serials = [format_serial(entry.serial) for entry in revoked]
    if form == 'json':
        print_json({'revoked': serials, 'reason': reason, 'crl': str(authority.store.revocation_list)})
    else:
        click.echo(f'Revoked {len(serials)} certificate{"" if len(serials) == 1 else "s"} of {name}: '
                   f'{", ".join(serials)}.')  # fmt: skip


@click.command(epilog='\b\nExamples:\n  zatotx ca crl ~/env/qs-1\n  zatotx ca crl ~/env/qs-1 --days 7')
@_path_argument()
@_days_option(30)
@_unlock_option()
@make_format_option()
def crl(path: str, days: int, passphrase: str | None, form: str) -> None:
    """Sign the revocation list again, with a new validity period.

    Whoever checks an expired list refuses all certificates. The load balancer of an environment signs the list of
    PATH/ca again by itself, unless the authority's key has a pass phrase. In other cases, run this command daily.
    """
    with _errors():
        authority = _open(path, passphrase)
        signed = authority.sign_revocation_list(days)
    end, count = signed.next_update_utc, len(signed)
    file = authority.store.revocation_list
    if form == 'json':
        print_json({'crl': str(file), 'next_update': end.isoformat() if end else None, 'revoked': count})
    else:
        click.echo(f'Signed {file} with {count} revoked certificate{"" if count == 1 else "s"}, valid until '
                   f'{end:%Y-%m-%d}.')  # fmt: skip


@click.group(
    commands={each.name or '': each for each in (create, list_, show, renew, revoke, crl)},
    epilog='\b\nExamples:\n  zatotx ca create ca ~/ca\n  zatotx ca list ~/env/qs-1\n'
    '  zatotx ca renew ~/env/qs-1 lb-agent web-admin',
)
def ca() -> None:
    """Issue, renew and revoke the certificates of an environment."""


# Helpers


def _open(path: str, passphrase: str | None = None) -> CertificateAuthority:
    from zatotx.ca.certificate_authority import CertificateAuthority

    directory = Path(path).absolute()
    if not (directory / MARKER).is_file() and (directory / 'ca' / MARKER).is_file():
        directory /= 'ca'
    return CertificateAuthority(directory, _passphrase(passphrase))


def _passphrase(given: str | None) -> str:
    """Return the pass phrase; '' if none is given. Raises CommandError for an empty one."""
    if given is None:
        return ''
    from_environment = click.get_current_context().get_parameter_source('passphrase')
    if from_environment is click.core.ParameterSource.ENVIRONMENT:
        return given
    phrase = read_secret(given, 'passphrase', 'Pass phrase')
    if not phrase:
        raise CommandError('The pass phrase is empty: give one, or leave --passphrase out.')
    return phrase


def _subject(common_name: str, fields: dict[str, str]) -> Any:
    from zatotx.ca.certificate_names import CertificateSubject

    return CertificateSubject(
        common_name=common_name, organization=fields['organization'],
        organizational_unit=fields['organizational_unit'], locality=fields['locality'],
        state=fields['state_or_province'], country=fields['country'],
    )  # fmt: skip


@contextmanager
def _errors() -> Iterator[None]:
    """Convert errors of the authority to CommandError."""
    from zatotx.ca.errors import AuthorityError

    try:
        yield
    except AuthorityError as error:
        raise CommandError(f'{error}.') from None
