"""Bare pymqi: gets messages in syncpoint and commits each. `python -m bench.peers.pymqi_get PORT QUEUE COUNT` prints
the CPU microseconds for a message."""

from __future__ import annotations

import sys
import time
from typing import Any

from trial_tests.support import mqi_loopback


def main(port: str, name: str, count: str) -> None:
    """Get `count` messages."""
    mqi_loopback.install()
    import pymqi

    mqi: Any = pymqi
    definition = mqi.CD(ChannelName=mqi_loopback.CHANNEL.encode(), ConnectionName=f'127.0.0.1({port})'.encode())
    manager = mqi.QueueManager(None)
    manager.connect_with_options('', cd=definition, user=mqi_loopback.USER, password=mqi_loopback.PASSWORD)
    queue = mqi.Queue(manager, name, mqi.CMQC.MQOO_INPUT_SHARED)
    flags = mqi.CMQC.MQGMO_SYNCPOINT | mqi.CMQC.MQGMO_WAIT
    options = mqi.GMO(Version=2, Options=flags, WaitInterval=1000, MatchOptions=mqi.CMQC.MQMO_NONE)
    descriptor = mqi.MD(Version=2)
    began = time.process_time()
    for _ in range(int(count)):
        queue.get(65_536, descriptor, options)
        manager.commit()
    print((time.process_time() - began) / int(count) * 1e6)


if __name__ == '__main__':
    main(*sys.argv[1:])
