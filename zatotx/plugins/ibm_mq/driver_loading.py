"""Imports the IBM MQ driver when the first connection is opened. The import runs in the connecting thread, because it
takes long, and it fails if the client library is missing or was moved.
"""

from __future__ import annotations

from .mqi_interfaces import ConnectOptions, QueueManagerHandle


class DriverUnavailable(Exception):  # noqa: N818 - it completes a sentence
    """The library pymqi cannot be imported."""

    def __init__(self, error: ImportError) -> None:
        super().__init__(
            f"cannot load IBM MQ's client library: {error}: build pymqi with LDFLAGS=-Wl,-rpath,/opt/mqm/lib64, or set "
            'LD_LIBRARY_PATH'
        )


def connect(options: ConnectOptions) -> QueueManagerHandle:
    """Open a connection with the driver. Blocking. Raises DriverUnavailable and MqiError."""
    try:
        from . import pymqi_driver
    except ImportError as error:
        raise DriverUnavailable(error) from None
    return pymqi_driver.connect(options)
