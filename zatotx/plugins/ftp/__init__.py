"""FTP and FTPS: outgoing connections to FTP servers, FTP servers that receive files from partners, and pollers that
fetch files.
"""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind
from zatotx.rules.channel_placement import Placement

kind = ConnectorKind(
    name='ftp',
    title='FTP and FTPS',
    runs_in=SERVER,
    channel='zatotx.plugins.ftp.channels:make_channel',
    outgoing='zatotx.plugins.ftp.outgoing:make_outgoing',
    schema='zatotx.plugins.ftp.schema:OBJECT_TYPES',
    metrics='zatotx.plugins.ftp.metrics:DEFINITIONS',
    doubles='zatotx.plugins.ftp.testing:SIGNATURES',
    listeners={'channel_ftp': 'address'},
    placement={
        'channel_ftp': Placement.ONE_WORKER_PER_NODE,  # control and data connections belong together
        'channel_ftp_poll': Placement.ONE_NODE_OF_CLUSTER,
    },
)
