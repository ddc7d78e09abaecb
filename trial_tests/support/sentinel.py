"""A master, its replica and a sentinel that watches them: real servers, which fail over in seconds."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from typing import cast

import hiredis

from trial_tests.support.ports import free_port
from trial_tests.support.valkey import Valkey
from trial_tests.support.waiting import until
from zatotx.redis.server_process import find_server_binary

PASSWORD, SENTINEL_PASSWORD = 'hunter2 of data', 'hunter2 of sentinels'


class Watched:
    """`first` leads at the beginning. Everything wants a password."""

    def __init__(self) -> None:
        secret = ('--requirepass', PASSWORD, '--masterauth', PASSWORD)
        self.first = Valkey(*secret, net='port')
        self.second = Valkey(*secret, '--replicaof', '127.0.0.1', str(self.first.port), net='port')
        self.port = free_port()
        self._sentinel: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Until the sentinel knows both."""
        self.first.start()
        self.second.start()
        (self.first.directory / 'sentinel.conf').write_text('\n'.join((
            f'port {self.port}', 'bind 127.0.0.1', f'requirepass "{SENTINEL_PASSWORD}"',
            f'sentinel monitor leader 127.0.0.1 {self.first.port} 1',
            f'sentinel auth-pass leader "{PASSWORD}"',
            'sentinel down-after-milliseconds leader 1500', 'sentinel failover-timeout leader 2000', '',
        )))
        self.start_sentinel()
        until(lambda: self._knows('num-slaves', '1'), 'a sentinel that knows both')

    def start_sentinel(self) -> None:
        """Once more, with what it knew."""
        command = [str(find_server_binary()), str(self.first.directory / 'sentinel.conf'), '--sentinel']
        self._sentinel = subprocess.Popen(
            command, cwd=self.first.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop_sentinel(self) -> None:
        """kill -9. Harmless where it does not run."""
        if self._sentinel is not None:
            self._sentinel.kill()
            self._sentinel.wait()
            self._sentinel = None

    def fail_over(self) -> None:
        """The sentinel makes the replica the master, without any fault."""
        until(lambda: self.ask('SENTINEL', 'FAILOVER', 'leader') == b'OK', 'a replica that may follow')

    def ask(self, *words: str) -> object:
        """What the sentinel says."""
        with socket.create_connection(('127.0.0.1', self.port), 60) as connection:
            reader, pack = hiredis.Reader(), cast(Callable[[object], bytes], hiredis.pack_command)
            connection.sendall(pack(('AUTH', SENTINEL_PASSWORD)) + pack(words))
            answers: list[object] = []
            while len(answers) < 2:
                reader.feed(connection.recv(65_536))
                while (answer := reader.gets()) is not False:
                    answers.append(answer)
        return answers[1]

    def close(self) -> None:
        """End them all."""
        self.stop_sentinel()
        self.second.close()
        self.first.close()

    def _knows(self, name: str, value: str) -> bool:
        try:
            found = self.ask('SENTINEL', 'MASTER', 'leader')
        except OSError:
            return False
        if not isinstance(found, list):
            return False
        words = [word.decode() for word in found]
        return dict(zip(words[::2], words[1::2], strict=True)).get(name) == value
