"""FTP: outgoing connections to FTP servers, and channels that take files in."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind

kind = ConnectorKind(
    name='ftp',
    title='FTP',
    runs_in=SERVER,
    outgoing='zatotx.plugins.ftp.outgoing:make_outgoing',
    schema='zatotx.plugins.ftp.schema:OBJECT_TYPES',
    doubles='zatotx.plugins.ftp.testing:SIGNATURES',
)
