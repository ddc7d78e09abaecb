"""HTTP/1.1: REST and SOAP channels, outgoing connections, and the broker's built-in endpoints."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind

LISTEN = ('tcp:port=17010:interface=127.0.0.1',)

kind = ConnectorKind(
    name='http',
    title='HTTP and REST',
    runs_in=SERVER,
    channel='zatotx.plugins.http.channel:make_channel',
    outgoing='zatotx.plugins.http.outgoing:make_outgoing',
    codecs='zatotx.plugins.http.soap.codec:make_codecs',
    settings='zatotx.plugins.http.settings:read_settings',
    settings_type='zatotx.plugins.http.settings:HttpSettings',
    settings_template='zatotx.plugins.http.settings_template:HTTP',
    metrics='zatotx.plugins.http.metrics:DEFINITIONS',
    doubles='zatotx.plugins.http.testing:SIGNATURES',
    default_endpoints=LISTEN,
    serves_endpoints=True,
    schema='zatotx.plugins.http.schema:OBJECT_TYPES',
)
