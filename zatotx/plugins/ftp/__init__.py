"""FTP and FTPS: a server for partners who upload files."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind
from zatotx.rules.placement import Placement

kind = ConnectorKind(
    name='ftp',
    title='FTP and FTPS',
    runs_in=SERVER,
    channel='zatotx.plugins.ftp.channel:make_channel',
    schema='zatotx.plugins.ftp.schema:OBJECT_TYPES',
    listeners={'channel_ftp': 'address'},
    placement={'channel_ftp': Placement.ONE_WORKER_PER_NODE},  # control and data connections belong together
)
