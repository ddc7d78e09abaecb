"""How tests look into the queue manager and disturb it: a line of JSON for a command, and one for its answer.

The commands: `define` (name, attributes), `delete` (name), `put` (queue, data as hex, descriptor as hex), `fill` (the
same and how many), `browse` (queue: descriptors, data and back-out counts), `state`, `configure` (users, channels,
max_uncommitted, is_available), `fault` (see Fault), `delay` (call, seconds, count), `quiesce` (reason; 0 = no longer),
`break` (all connections), `reset` (no faults, delays, quiescing, users and channels).
"""

from __future__ import annotations

import json
import socket
from typing import Any, Protocol

from attrs import define, field

from trial_tests.peers.mqi_loopback import messages as md
from trial_tests.peers.mqi_loopback.messages import StoredMessage


@define
class Fault:
    """What the next calls end with. `reason` 2009 closes the connection without a reply; with `after`, when the call
    was carried out."""

    call: str
    reason: int
    count: int = 1
    after: bool = False


@define
class Faults:
    """The faults that are to come, and how long calls are to take."""

    faults: list[Fault] = field(factory=list)
    delays: dict[str, list[float]] = field(factory=dict)  # call -> seconds of the next calls

    def take(self, call: str) -> Fault | None:
        """Return the fault of a call, if it has one."""
        for fault in self.faults:
            if fault.call == call:
                fault.count -= 1
                if not fault.count:
                    self.faults.remove(fault)
                return fault
        return None

    def delay(self, call: str) -> float:
        """Return the seconds that a call is to wait."""
        delays = self.delays.get(call)
        return delays.pop() if delays else 0.0


class ControlledQueueManager(Protocol):
    """What the commands need of the queue manager."""

    queues: Any
    faults: Faults
    clients: dict[Any, Any]
    name: str

    @property
    def delayed(self) -> int: ...

    def quiesce(self, reason: int) -> None: ...
    def break_connections(self) -> None: ...


class ControlServer:
    """Carries out the commands of tests."""

    def __init__(self, qmgr: ControlledQueueManager) -> None:
        self._qmgr = qmgr

    def opened(self, connection: socket.socket) -> list[Any]:
        """A test has connected: its socket, and what it has sent so far."""
        return [connection, b'']

    def closed(self, client: list[Any]) -> None:
        """A test has gone."""
        client[0].close()

    def received(self, client: list[Any], data: bytes) -> None:
        """Carry out the commands in what a test has sent."""
        *lines, client[1] = (client[1] + data).split(b'\n')
        for line in lines:
            command = json.loads(line)
            answer = getattr(self, '_' + command.pop('do'))(**command)
            client[0].sendall(json.dumps(answer).encode() + b'\n')

    def _define(self, name: str, attributes: dict[str, Any]) -> None:
        self._qmgr.queues.define(name, attributes)

    def _delete(self, name: str) -> None:
        self._qmgr.queues.delete(name)

    def _put(self, queue: str, data: str, descriptor: str) -> None:
        found, sequence = self._qmgr.queues.by_name[queue], self._qmgr.queues.next_sequence()
        complete = md.complete(bytes.fromhex(descriptor), sequence, qmgr=self._qmgr.name, user='test', new_msg_id=False,
                               new_correl_id=False, defaults={'priority': 0, 'persistence': 0, 'ccsid': 1208})
        message = StoredMessage(queue, sequence, bytes(complete), bytes.fromhex(data), md.expiry_time(complete))
        self._qmgr.queues.put(found, message, None)

    def _fill(self, queue: str, data: str, descriptor: str, count: int) -> None:
        for _ in range(count):
            self._put(queue, data, descriptor)

    def _browse(self, queue: str) -> list[dict[str, Any]]:
        return [{'descriptor': bytes(one.descriptor).hex(), 'data': one.data.hex(), 'backouts': one.backout_count}
                for one in sorted(self._qmgr.queues.by_name[queue].available)]  # fmt: skip

    def _state(self) -> dict[str, Any]:
        queues = {name: {'depth': one.depth, 'available': len(one.available), 'inputs': one.inputs,
                         'outputs': one.outputs}
                  for name, one in self._qmgr.queues.by_name.items()}  # fmt: skip
        return {'queues': queues, 'clients': len(self._qmgr.clients), 'delayed': self._qmgr.delayed}

    def _configure(self, **settings: Any) -> None:
        for name, value in settings.items():
            setattr(self._qmgr, name, value)

    def _fault(self, **fields: Any) -> None:
        self._qmgr.faults.faults.append(Fault(**fields))

    def _delay(self, call: str, seconds: float, count: int = 1) -> None:
        self._qmgr.faults.delays.setdefault(call, []).extend([seconds] * count)

    def _quiesce(self, reason: int) -> None:
        self._qmgr.quiesce(reason)

    def _reset(self) -> None:
        self._qmgr.faults.faults.clear()
        self._qmgr.faults.delays.clear()
        self._qmgr.quiesce(0)
        self._configure(users={}, channels={}, is_available=True, max_uncommitted=10_000)

    def _break(self) -> None:
        self._qmgr.break_connections()
