"""Access to the ODB and Redis of an environment without a running server."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zatotx.cli.environment.environment_layout import Component, Environment, cluster_name, get_setting, read_settings
from zatotx.cli.environment.secret_key_access import any_server, open_secrets, read_secret_key
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.odb.database import Database
    from zatotx.redis.redis_url import RedisAddress
    from zatotx.schema.snapshot import Actor
    from zatotx.schema.type_registry import ObjectTypeRegistry


def all_object_types() -> ObjectTypeRegistry:
    """Return all object types: the built-in ones, and those of the installed security types and kinds."""
    from zatotx.connectors import security_type_registry

    return security_type_registry.all_object_types()


def odb_url(part: Component) -> str:
    """Return the decrypted URL of a server's database, with an absolute path."""
    from zatotx.odb.odb_urls import make_url_absolute
    from zatotx.schema.secrets import ENCRYPTED

    url = get_setting(read_settings(part), 'odb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = open_secrets(part).decrypt(url)
    try:
        return make_url_absolute(url, str(part.path))
    except ValueError as error:
        raise CommandError(f'{part.path}/config/server.toml: odb.url: {error}.') from None


def command_actor(command: str) -> Actor:
    """Return the author of a command's changes, for the history. The author is the account of the operating system."""
    from zatotx.schema.snapshot import Actor

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers
        user = f'uid {os.getuid()}'
    return Actor(user, f'zatotx {command}', '', socket.gethostname())


@contextmanager
def convert_errors() -> Iterator[None]:
    """Context manager that converts database errors to CommandError."""
    from zatotx.model.errors import ServiceError

    try:
        yield
    except ServiceError as error:
        raise CommandError(f'{error.details.rstrip(".")}.') from None
    except ValueError as error:
        raise CommandError(f'{str(error).rstrip(".")}.') from None


@contextmanager
def open_odb(environment: Environment) -> Iterator[Database]:
    """Context manager that opens and closes the database of an environment. Database errors are raised as
    CommandError."""
    from zatotx.odb.offline_operations import open_database

    part = any_server(environment)
    with convert_errors():
        opened = open_database(
            odb_url(part), read_secret_key(part), cluster=cluster_name(environment), types=all_object_types()
        )
        try:
            yield opened
        finally:
            opened.close()


def redis_address(part: Component) -> RedisAddress:
    """Return the address of a server's Redis. Raises CommandError if the address is missing in the settings or
    invalid."""
    from zatotx.model.errors import StartError
    from zatotx.redis.redis_url import RedisTlsFiles, parse_redis_url
    from zatotx.schema.secrets import ENCRYPTED

    loaded = read_settings(part)
    url = get_setting(loaded, 'kvdb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = open_secrets(part).decrypt(url)
    ca, cert, key = (get_setting(loaded, 'kvdb', name, '') for name in ('ca', 'cert', 'key'))
    try:
        return parse_redis_url(url, part.path, RedisTlsFiles(ca=ca, cert=cert, key=key))
    except StartError as error:
        raise CommandError(str(error)) from None


def is_embedded(address: RedisAddress, part: Component) -> bool:
    """Return whether an address is that of the embedded Redis, which is a component of the environment."""
    return address.path == str((part.path.parent / 'redis' / 'redis.sock').resolve())


def external_redis_error(part: Component, timeout: float) -> str:
    """Return the reason why an external Redis cannot be used, as a sentence, or '' if it can be used."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.redis.sync_probe import probe_redis

    address = redis_address(part)
    if is_embedded(address, part):
        return ''
    try:
        probe_redis(address, timeout)
    except ServiceUnavailable as error:
        return error.msg
    return ''
