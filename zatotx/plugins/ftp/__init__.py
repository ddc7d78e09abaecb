"""FTP: outgoing connections to FTP servers, and channels that take files in."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind
from zatotx.rules.placement import Placement

kind = ConnectorKind(
    name='ftp',
    title='FTP',
    runs_in=SERVER,
    channel='zatotx.plugins.ftp.poller:make_channel',
    outgoing='zatotx.plugins.ftp.outgoing:make_outgoing',
    schema='zatotx.plugins.ftp.schema:OBJECT_TYPES',
    doubles='zatotx.plugins.ftp.testing:SIGNATURES',
    placement={'channel_ftp_poll': Placement.ONE_NODE_OF_CLUSTER},
)
