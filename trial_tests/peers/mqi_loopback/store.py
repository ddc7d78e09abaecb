"""The queues and persistent messages of the queue manager in SQLite: what is left when it is killed.

A unit of work is no transaction of SQLite: the store sees it when it is committed, as one batch.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

from trial_tests.peers.mqi_loopback.messages import StoredMessage

_SCHEMA = """
create table if not exists queue (name text primary key, attributes text not null);
create table if not exists message (
    sequence integer primary key, queue text not null, descriptor blob not null, data blob not null,
    expires_at real not null, is_got integer not null default 0
);
"""


class Store:
    """One file. A commit survives the death of the process, not of the machine."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute('pragma journal_mode=wal')
        self._database.execute('pragma synchronous=off')
        self._database.executescript(_SCHEMA)

    def queues(self) -> dict[str, dict[str, Any]]:
        """Return the attributes of all queues by name."""
        return {name: json.loads(text) for name, text in self._database.execute('select * from queue')}

    def messages(self) -> Iterator[StoredMessage]:
        """Yield all messages. Those that units of work had got when the process died are backed out."""
        rows = self._database.execute('select queue, sequence, descriptor, data, expires_at, is_got from message')
        for queue, sequence, descriptor, data, expires_at, is_got in rows.fetchall():
            message = StoredMessage(queue, sequence, descriptor, data, expires_at)
            if is_got:
                message.backout_count += 1
                self.count_backouts([message])
            yield message

    def define(self, name: str, attributes: dict[str, Any]) -> None:
        """Keep a queue."""
        self._database.execute('insert or replace into queue values (?, ?)', (name, json.dumps(attributes)))

    def delete(self, name: str) -> None:
        """Forget a queue and its messages."""
        self._database.execute('delete from queue where name=?', (name,))
        self._database.execute('delete from message where queue=?', (name,))

    def commit(self, added: Iterable[StoredMessage], removed: Iterable[StoredMessage]) -> None:
        """Keep and forget messages, all or none. Those that are not persistent are left out."""
        adding = [(one.sequence, one.queue, bytes(one.descriptor), one.data, one.expires_at)
                  for one in added if one.is_persistent]
        removing = [(one.sequence,) for one in removed if one.is_persistent]
        if not adding and not removing:
            return
        self._database.execute('begin')
        self._database.executemany('insert into message values (?, ?, ?, ?, ?, 0)', adding)
        self._database.executemany('delete from message where sequence=?', removing)
        self._database.execute('commit')

    def mark_got(self, message: StoredMessage) -> None:
        """Keep that a unit of work has got a message."""
        if message.is_persistent:
            self._database.execute('update message set is_got=1 where sequence=?', (message.sequence,))

    def count_backouts(self, messages: Iterable[StoredMessage]) -> None:
        """Keep the back-out counts of messages."""
        changed = [(bytes(one.descriptor), one.sequence) for one in messages if one.is_persistent]
        if changed:
            self._database.execute('begin')
            self._database.executemany('update message set descriptor=?, is_got=0 where sequence=?', changed)
            self._database.execute('commit')
