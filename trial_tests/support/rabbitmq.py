"""A real RabbitMQ, to be frozen, killed and started again. Its queues survive that."""

from __future__ import annotations

import atexit
import json
import logging
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.exceptions import AMQPError

from trial_tests.support.authority import Authority
from trial_tests.support.daemon import STARTED, Daemon
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import until

USER, PASSWORD = 'zatotx', 'rabbitmq-sEcReT'
_PROGRAMS = Path('/usr/lib/rabbitmq/bin')
_CONFIG = """\
listeners.tcp.1 = 127.0.0.1:{port}
{tls}
default_user = {user}
default_pass = {password}
loopback_users = none
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 1MB
vm_memory_high_watermark.absolute = 2GB
heartbeat = 60
max_message_size = {max_message_size}
"""
_TLS = """\
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {directory}/ca.pem
ssl_options.certfile = {directory}/cert.pem
ssl_options.keyfile = {directory}/key.pem
ssl_options.verify = verify_none
"""
_numbers = count(1)
logging.getLogger('pika').setLevel(logging.CRITICAL)  # it logs each attempt to connect to a broker that starts


class RabbitMQ(Daemon):
    """One broker of its own node name, directory and ports. Nothing runs before `start`."""

    what = 'rabbitmq'
    account = 'rabbitmq'

    def __init__(self, authority: Authority | None = None, *, max_message_size: int = 16 * 1024 * 1024) -> None:
        """`authority`: issues the certificate of a TLS listener, None = there is none."""
        super().__init__()
        self.tls_port = free_port() if authority is not None else 0
        self._max_message_size = max_message_size
        self._ports = (free_port(), free_port())  # of the distribution, of epmd
        self.node = f'zatotx-{self.directory.name.split("-", 2)[2]}@localhost'
        self._epmd: subprocess.Popen[bytes] | None = None
        if authority is not None:
            certificate, key = authority.sign('rabbitmq', 'localhost', '127.0.0.1')
            for name, path in (('ca', authority.path), ('cert', certificate), ('key', key)):
                self._file(f'{name}.pem', path.read_text('utf-8'))
            self.ca = authority.path.read_text('utf-8')
        self._write_config()
        self._file('plugins', '[].')

    def command(self) -> list[str]:
        return ['env', *self._environment(), str(_PROGRAMS / 'rabbitmq-server')]

    def start(self, *prefix: str) -> None:
        """See Daemon. In the main thread only: it dies with the thread that started it."""
        assert threading.current_thread() is threading.main_thread()
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                [*self._as_account(), 'epmd', '-port', str(self._ports[1]), '-address', '127.0.0.1'],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        super().start(*prefix)

    def answers(self) -> bool:
        try:
            with self.channel() as channel:
                return _delivers_replies(channel)
        except (AMQPError, OSError):
            return False

    def close(self) -> None:
        super().close()
        epmd, self._epmd = self._epmd, None
        if epmd is not None:
            epmd.kill()
            epmd.wait()

    def freeze(self) -> None:
        super().freeze()
        until(self._is_frozen, 'the stop of all threads')

    def _is_frozen(self) -> bool:
        """Whether all its threads have stopped, which each does when it next leaves the kernel."""
        states = [task.read_text().rpartition(')')[2].split()[0] for pid in self.pids()
                  for task in Path(f'/proc/{pid}/task').glob('*/stat')]  # fmt: skip
        return all(state in 'TZ' for state in states)

    def restart(self) -> None:
        """kill -9, and start again with the same queues."""
        self.kill()
        self.start()

    def ctl(self, *words: str) -> str:
        """`rabbitmqctl WORDS`, which must succeed: what it printed. Takes two seconds."""
        done = subprocess.run(
            [*self._as_account(), 'env', *self._environment(), str(_PROGRAMS / 'rabbitmqctl'), '-q', '-n', self.node,
             *words],
            cwd=self.directory, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=STARTED,
        )  # fmt: skip
        if done.returncode:
            raise AssertionError(f'rabbitmqctl {words[0]} ended with {done.returncode}: {done.stderr.decode()}')
        return done.stdout.decode()

    # -- as a client

    @contextmanager
    def channel(self, user: str = USER, password: str = PASSWORD) -> Iterator[BlockingChannel]:
        """An AMQP channel of a connection of its own."""
        parameters = pika.ConnectionParameters(
            '127.0.0.1', self.port, credentials=pika.PlainCredentials(user, password), heartbeat=0,
            socket_timeout=STARTED, stack_timeout=STARTED, blocked_connection_timeout=STARTED,
        )  # fmt: skip
        with closing(BlockingConnection(parameters)) as connection:
            yield connection.channel()

    def name(self, what: str = 'queue') -> str:
        """A name that no other test has."""
        return f'{what}-{next(_numbers)}'

    def queue(self, *messages: bytes, name: str = '', type: str = 'classic', durable: bool = True,
              arguments: dict[str, Any] | None = None, **properties: Any) -> str:
        """Declare a queue with these messages; its name."""
        name = name or self.name()
        with self.channel() as channel:
            channel.queue_declare(name, durable=durable, arguments={'x-queue-type': type, **(arguments or {})})
        self.publish(name, *messages, **properties)
        return name

    def publish(self, queue: str, *messages: bytes, exchange: str = '', mandatory: bool = True,
                **properties: Any) -> None:  # fmt: skip
        """Publish persistent messages and wait for their confirmations. `queue`: the routing key."""
        if not messages:
            return
        with self.channel() as channel:
            channel.confirm_delivery()
            for message in messages:
                fields = pika.BasicProperties(**{'delivery_mode': 2, **properties})
                channel.basic_publish(exchange, queue, message, fields, mandatory=mandatory)

    def delete(self, queue: str) -> None:
        """Delete a queue."""
        with self.channel() as channel:
            channel.queue_delete(queue)

    def count(self, queue: str) -> int:
        """Messages that wait in a queue, without those that consumers have."""
        with self.channel() as channel:
            waiting: int = channel.queue_declare(queue, passive=True).method.message_count
            return waiting

    def consumers(self, queue: str) -> int:
        """Consumers of a queue; 0 where there is no such queue."""
        with suppress(AMQPError), self.channel() as channel:
            found: int = channel.queue_declare(queue, passive=True).method.consumer_count
            return found
        return 0

    def take(self, queue: str) -> tuple[Any, bytes] | None:
        """Take a message: its properties and body; None where there is none."""
        with self.channel() as channel:
            method, properties, body = channel.basic_get(queue, auto_ack=True)
            return None if method is None else (properties, body)

    def take_all(self, queue: str) -> list[bytes]:
        """The bodies of all messages of a queue, which is empty afterwards."""
        bodies: list[bytes] = []
        with self.channel() as channel:
            while True:
                method, _, body = channel.basic_get(queue, auto_ack=True)
                if method is None:
                    return bodies
                bodies.append(body)

    def taken(self, queue: str) -> tuple[Any, bytes]:
        """The next message, once there is one."""
        found = until(lambda: self.take(queue), f'a message in {queue}')
        assert found is not None
        return found

    # -- private

    def _write_config(self) -> None:
        tls = _TLS.format(port=self.tls_port, directory=self.directory) if self.tls_port else ''
        self._file('rabbitmq.conf', _CONFIG.format(
            port=self.port, tls=tls, user=USER, password=PASSWORD, max_message_size=self._max_message_size,
        ))  # fmt: skip

    def _file(self, name: str, text: str) -> None:
        (self.directory / name).write_text(text, 'utf-8')
        (self.directory / name).chmod(0o644)

    def _environment(self) -> list[str]:
        here = self.directory
        variables = {
            'HOME': here, 'RABBITMQ_NODENAME': self.node, 'RABBITMQ_NODE_IP_ADDRESS': '',
            'RABBITMQ_DIST_PORT': self._ports[0], 'ERL_EPMD_PORT': self._ports[1], 'ERL_EPMD_ADDRESS': '127.0.0.1',
            'RABBITMQ_CONFIG_FILE': here / 'rabbitmq.conf', 'RABBITMQ_MNESIA_BASE': here / 'data',
            'RABBITMQ_LOG_BASE': here / 'logs', 'RABBITMQ_ENABLED_PLUGINS_FILE': here / 'plugins',
            'RABBITMQ_PID_FILE': here / 'pid', 'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_GENERATED_CONFIG_DIR': here / 'config', 'RABBITMQ_FEATURE_FLAGS_FILE': here / 'feature_flags',
            'RABBITMQ_ALLOW_INPUT': 'yes',  # the script becomes the broker, so that that dies with us
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '-noinput +S 1:1 +A 4 +sbwt none +sbwtdcpu none +sbwtdio none '
                                                   '-kernel inet_dist_use_interface {127,0,0,1}',
        }  # fmt: skip
        return [f'{name}={value}' for name, value in variables.items()]


def _delivers_replies(channel: BlockingChannel) -> bool:
    """Whether the broker delivers to its direct reply-to: it accepts connections a moment before its start is complete,
    and drops replies until then."""
    found: list[bytes] = []
    channel.basic_consume('amq.rabbitmq.reply-to', lambda channel, method, properties, body: found.append(body),
                          auto_ack=True)  # fmt: skip
    queue = channel.queue_declare('', exclusive=True).method.queue
    channel.basic_publish('', queue, b'', pika.BasicProperties(reply_to='amq.rabbitmq.reply-to'))
    _, request, _ = channel.basic_get(queue, auto_ack=True)
    if request is None:
        return False
    channel.basic_publish('', request.reply_to, b'x')
    channel.connection.process_data_events(0.2)
    return bool(found)


def definition(broker: RabbitMQ, **fields: Any) -> dict[str, Any]:
    """The fields of a definition of the broker, without its name."""
    return {'host': '127.0.0.1', 'port': broker.port, 'username': USER, 'password': PASSWORD, **fields}


def document(**sections: Any) -> str:
    """An enmasse document."""
    return json.dumps(sections)


_shared: list[RabbitMQ] = []


def shared() -> RabbitMQ:
    """The one that all tests of this process use; it runs."""
    if not _shared:
        directory = Path(tempfile.mkdtemp(prefix='zatotx-rabbitmq-ca-'))
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        broker = RabbitMQ(Authority(directory))
        atexit.register(broker.close)
        broker.start()
        _shared.append(broker)
    return _shared[0]
