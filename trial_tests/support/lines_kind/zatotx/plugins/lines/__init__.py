"""A line protocol: a message is a line of text, and so is its reply. Shows what a kind consists of."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind
from zatotx.rules.channel_placement import Placement

kind = ConnectorKind(
    name='lines',
    title='Lines of text',
    runs_in=SERVER,
    channel='zatotx.plugins.lines.channel:make_channel',
    outgoing='zatotx.plugins.lines.outgoing:make_outgoing',
    schema='zatotx.plugins.lines.schema:OBJECT_TYPES',
    settings='zatotx.plugins.lines.settings:read_settings',
    settings_type='zatotx.plugins.lines.settings:LinesSettings',
    settings_template='zatotx.plugins.lines.settings:TEMPLATE',
    metrics='zatotx.plugins.lines.metrics:DEFINITIONS',
    doubles='zatotx.plugins.lines.testing:SIGNATURES',
    commands={'lines': 'zatotx.plugins.lines.commands:lines'},
    listeners={'channel_lines': 'address', 'channel_lines_single': 'address', 'channel_lines_leader': 'address'},
    placement={
        'channel_lines_single': Placement.ONE_WORKER_PER_NODE,
        'channel_lines_leader': Placement.ONE_NODE_OF_CLUSTER,
    },
)
