"""HTTP/1.1: REST channels and the broker's own doors."""

from zatotx.interfaces.kind import SERVER, ConnectorKind

kind = ConnectorKind(
    name='http',
    title='HTTP and REST',
    runs_in=SERVER,
    channel='zatotx.plugins.http.channel:make_channel',
    schema='zatotx.plugins.http.schema:OBJECT_TYPES',
)
