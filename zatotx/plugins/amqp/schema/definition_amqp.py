"""The object type of AMQP definitions. A definition contains the address of a broker and the credentials of an
account."""

from __future__ import annotations

from typing import Annotated

from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings, parse_tls_settings
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject

MEBIBYTE = 1024 * 1024
DEFAULT_HEARTBEAT = 30


class AmqpDefinition(ConfigObject, frozen=True, kw_only=True):
    """The address of a broker and the credentials of an account, which several channels and outgoing connections can
    use. Each of them opens its own network connection."""

    name: Annotated[str, field('Name of the definition', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether channels and outgoing connections may use the definition')] = True
    host: Annotated[str, field('Name or address of the broker', min_length=1, max_length=255,
                               pattern=r'^[A-Za-z0-9._:-]+$')]
    port: Annotated[int, field('Port of the broker: usually 5672, 5671 with TLS', ge=1, le=65_535)] = 5672
    vhost: Annotated[str, field('Virtual host', min_length=1, max_length=255)] = '/'
    username: Annotated[str, field('Account', max_length=255)] = 'guest'
    password: Annotated[str, field('Password of the account', secret='encrypted')] = ''
    timeout: Annotated[float, field('Seconds for connecting, including the login', gt=0, le=600)] = 10.0
    heartbeat: Annotated[
        int, field('Seconds without a sign of life after which the broker counts as dead; 0 = 30', ge=0, le=3600)
    ] = 0
    frame_max: Annotated[int, field('Largest frame in bytes', ge=4096, le=131_072)] = 131_072
    channel_max: Annotated[int, field('Maximum AMQP channels of one connection', ge=1, le=65_535)] = 2047
    blocked_timeout: Annotated[
        float, field('Seconds after which a connection that the broker has blocked, e.g. because it is short of '
                     'memory, is closed and opened anew; 0 = never', ge=0, le=86_400)
    ] = 0.0
    connection_name: Annotated[
        str, field("Name of the connections in the broker's management pages; empty = that of the node and the object",
                   max_length=200)
    ] = ''
    tls: Annotated[bool, field('Whether connections use TLS')] = False
    tls_verify: Annotated[
        bool, field("Whether to verify the broker's certificate; false accepts any certificate: for tests only")
    ] = True
    tls_ca: Annotated[
        str, field("Authorities trusted to sign the broker's certificate, as PEM; empty = the system's",
                   max_length=MEBIBYTE)
    ] = ''
    tls_cert: Annotated[
        str, field('Client certificate with its intermediates, as PEM; empty = none', max_length=MEBIBYTE)
    ] = ''
    tls_key: Annotated[str, field('Private key of the client certificate, as PEM', secret='encrypted')] = ''

    @property
    def idle_limit(self) -> int:
        """Seconds without a sign of life after which the broker counts as dead."""
        return self.heartbeat or DEFAULT_HEARTBEAT


def tls_settings(value: AmqpDefinition) -> TlsSettings:
    """Return the TLS settings of a definition."""
    return TlsSettings(ca=value.tls_ca, certificate=value.tls_cert, key=value.tls_key, verify=value.tls_verify)


def definition_errors(value: AmqpDefinition) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of a definition."""
    try:
        parse_tls_settings(tls_settings(value))
    except InvalidTlsSettings as error:
        name_and_text = [problem.split(': ', 1) for problem in error.problems]
        return [(name, text) for name, text in name_and_text]
    return []


DEFINITION_AMQP = ObjectType(
    key='definition_amqp', struct=AmqpDefinition, section='definition_amqp', title='AMQP definition',
    zato=ZatoApi(prefix='definition.amqp',
                 actions=('create', 'edit', 'delete', 'get-list', 'get-by-id', 'change-password')),
    validate=definition_errors,
)  # fmt: skip
