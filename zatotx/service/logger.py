"""`self.logger`: a stdlib logger named after the service, whose records carry `service` and `cid`."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any


class ServiceLogger(logging.LoggerAdapter[logging.Logger]):
    """A LoggerAdapter that adds the attributes `service` and `cid` to each record, for the log format."""

    def __init__(self, service: str, cid: str) -> None:
        super().__init__(logging.getLogger(service), {'service': service, 'cid': cid})

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        extra = kwargs.get('extra')
        kwargs['extra'] = {**self.extra, **extra} if extra and self.extra else self.extra
        return msg, kwargs
