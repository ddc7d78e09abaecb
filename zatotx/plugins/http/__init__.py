"""HTTP/1.1: REST and SOAP channels, outgoing connections, and the broker's built-in endpoints."""

from zatotx.interfaces.kind import SERVER, ConnectorKind

LISTEN = ('tcp:port=17010:interface=127.0.0.1',)

kind = ConnectorKind(
    name='http',
    title='HTTP and REST',
    runs_in=SERVER,
    channel='zatotx.plugins.http.channel:make_channel',
    outgoing='zatotx.plugins.http.outgoing:make_outgoing',
    codecs='zatotx.plugins.http.soap.codec:make_codecs',
    settings='zatotx.plugins.http.settings:read_settings',
    listens=LISTEN,
    schema='zatotx.plugins.http.schema:OBJECT_TYPES',
)
