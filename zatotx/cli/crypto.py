"""`zatotx crypto`, `zatotx encrypt` and `zatotx decrypt`: secret keys and encrypted values."""

from __future__ import annotations

import click

from zatotx.cli.environment.layout import find_environment
from zatotx.cli.environment.secret_keys import any_server, open_secrets
from zatotx.cli.errors import CommandError
from zatotx.cli.output import path_argument
from zatotx.cli.rotate_key import rotate_key
from zatotx.cli.secret_values import read_secret, secret_option


@click.command('generate-key', epilog='\b\nExamples:\n  zatotx crypto generate-key > secret.key')
def generate_key() -> None:
    """Generate a secret key and print it."""
    from zatotx.odb.secrets import new_key

    click.echo(new_key())


@click.command(
    short_help='Encrypt a value with the secret key of PATH.',
    epilog='\b\nExamples:\n  zatotx encrypt ~/env/qs-1\n  zatotx encrypt ~/env/qs-1 < password.txt',
)
@path_argument()
@secret_option('secret', 'The value', 'secret')
def encrypt(path: str, secret: str | None) -> None:
    """Encrypt a value with the secret key of PATH, and print it in the form for server.toml, enc:…"""
    secrets = open_secrets(any_server(find_environment(path)))
    click.echo(secrets.encrypt(read_secret(secret, 'secret', 'Secret')))


@click.command(
    short_help='Decrypt a value with the secret key of PATH.',
    epilog='\b\nExamples:\n  zatotx decrypt ~/env/qs-1\n  zatotx decrypt ~/env/qs-1 < url.enc',
)
@path_argument()
@secret_option('secret', 'enc:…', 'secret')
def decrypt(path: str, secret: str | None) -> None:
    """Decrypt a value that was encrypted with the secret key of PATH, and print it."""
    from zatotx.model.errors import ServiceUnavailable

    secrets = open_secrets(any_server(find_environment(path)))
    try:
        click.echo(secrets.decrypt(read_secret(secret, 'secret', 'Secret')))
    except ServiceUnavailable:
        raise CommandError('The value was not encrypted with the secret key of PATH, or is incomplete.') from None


@click.group(
    commands={each.name or '': each for each in (generate_key, rotate_key, encrypt, decrypt)},
    epilog='\b\nExamples:\n  zatotx crypto generate-key > secret.key\n  zatotx crypto rotate-key ~/env/qs-1',
)
def crypto() -> None:
    """Manage secret keys, and encrypt and decrypt values."""
