"""The program that prices_zmq.yaml connects to: publishes a price every second for a minute, and replies to requests.

    python examples/prices_peer.py
"""

import time

import zmq


def main(seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    with zmq.Context() as context, context.socket(zmq.PUB) as prices, context.socket(zmq.REP) as requests:
        prices.linger = requests.linger = 0
        prices.bind('tcp://127.0.0.1:5556')
        requests.bind('tcp://127.0.0.1:5557')
        while time.monotonic() < end:
            prices.send_string('price AB123 9.90')
            if requests.poll(1000):  # milliseconds
                requests.recv()
                requests.send_string('4.50')


if __name__ == '__main__':
    main()
