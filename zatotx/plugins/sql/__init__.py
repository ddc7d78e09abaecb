"""Outgoing connections to SQL databases: SQLite, PostgreSQL, MariaDB and MySQL, and other databases that are configured
by a URL."""

from zatotx.interfaces.connector_kind import SERVER, ConnectorKind

kind = ConnectorKind(
    name='sql',
    title='SQL databases',
    runs_in=SERVER,
    outgoing='zatotx.plugins.sql.outgoing:make_outgoing',
    schema='zatotx.plugins.sql.schema:OBJECT_TYPES',
    doubles='zatotx.plugins.sql.testing:SIGNATURES',
)
