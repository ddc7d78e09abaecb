"""An ODB as the first released schema kept it, filled: what migrations have to bring up."""

from __future__ import annotations

import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from trial_tests.support.odb import CLUSTER, KEY
from zatotx.odb import offline_operations
from zatotx.odb.engine_factory import make_engine
from zatotx.odb.engines.sqlite import create_database_file
from zatotx.odb.odb_urls import sqlite_path
from zatotx.odb.secrets import Secrets, hash_secret
from zatotx.odb.tables import hash_name

REVISION = 7
Row = tuple[str, dict[str, object]]  # table, its columns
NAMES = ('echo', 'ä 😀', 'a')  # of a service, a user and a channel


def make(url: str) -> None:
    """The tables of 0001, with a cluster in it that was in use."""
    if path := sqlite_path(url):
        create_database_file(path)
    engine = make_engine(url, 'migrate')
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option('script_location', offline_operations.SCRIPT_LOCATION)
            config.attributes['connection'] = connection
            command.upgrade(config, '0001')
            for table, row in _rows():
                _insert(connection, table, row)
    finally:
        engine.dispose()


def go_back(url: str) -> None:
    """Take an ODB of the newest schema back to 0001, with what is in it."""
    engine = make_engine(url, 'migrate')
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option('script_location', offline_operations.SCRIPT_LOCATION)
            config.attributes['connection'] = connection
            command.downgrade(config, '0001')
    finally:
        engine.dispose()


def _insert(connection: Connection, table: str, row: dict[str, object]) -> None:
    quote = connection.dialect.identifier_preparer.quote
    columns = ', '.join(quote(name) for name in row)
    values = ', '.join(f':{name}' for name in row)
    connection.execute(text(f'INSERT INTO {quote(table)} ({columns}) VALUES ({values})'), row)


def _rows() -> list[Row]:
    service, user, channel = NAMES
    documents: dict[int, dict[str, object]] = {
        1: {'name': service, 'is_active': True, 'file': 'crm.py'},
        2: {'name': user, 'username': 'u', 'realm': 'R', 'password': hash_secret('sesame')},
        3: {'name': channel, 'url_path': '/a', 'service': 1, 'security': 2},
    }
    types = dict(enumerate([('service', 'service'), ('basic_auth', 'security'), ('channel_rest', 'channel_rest')], 1))
    check = Secrets(KEY).key_check()
    rows: list[Row] = [
        _row(
            'cluster', id=1, name=CLUSTER, name_key=hash_name(CLUSTER), revision=REVISION, created=1.5, key_check=check
        ),
        _row('counter', name='config_object', value=5),
    ]
    for number, document in documents.items():
        type_, space = types[number]
        rows.append(_row(
            'config_object', id=number, cluster_id=1, type=type_, space=space, name=document['name'],
            name_key=hash_name(str(document['name'])), unique_key=hash_name('any /a') if number == 3 else None,
            document=msgspec.json.encode(document).decode(), revision=number + 1,
        ))  # fmt: skip
    rows += [_row('reference', source_id=3, field=field, target_id=n) for field, n in (('service', 1), ('security', 2))]
    rows += [
        _row('tombstone', object_id=4, cluster_id=1, revision=6),
        _row('history', cluster_id=1, revision=6, at=2.5, who='me', source='192.0.2.1', cid='c', action='delete',
             type='basic_auth', name='gone', old='{"name":"gone"}', new='{}'),
    ]  # fmt: skip
    for number in (1, 2):
        rows.append(_row(
            'server', id=number, cluster_id=1, name=f'server{number}', name_key=hash_name(f'server{number}'),
            host='127.0.0.1', bind_host='127.0.0.1', bind_port=17009 + number, up_status='clean-down', seen_at=3.5,
            applied_revision=REVISION, pid=0, last_join_status='accepted',
        ))  # fmt: skip
    rows.append(_row(
        'file_version', id=1, cluster_id=1, file='crm.py', file_key=hash_name('crm.py'), number=1, form='module',
        sha256='f' * 64, content=b'\x00\xffcode', created=4.5, by='me', active=True, services='["echo"]',
        revision=REVISION,
    ))  # fmt: skip
    return rows + [_row('version_verdict', version_id=1, server_id=number, verdict='', at=5.5) for number in (1, 2)]


def _row(table: str, /, **values: object) -> Row:
    return table, values
