"""zatotx: an integration broker on Twisted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = '0.1.0'

# Maps each module to the public names it defines. Names load on first access, so that `import zatotx` stays fast.
_PUBLIC_NAMES = {
    'zatotx.service.service': ('Service',),
    'zatotx.service.model': ('Model',),
    'zatotx.service.compat.bunch': ('Bunch',),
    'zatotx.service.io.elements': (
        'AsIs', 'Bool', 'Boolean', 'CSV', 'Date', 'DateTime', 'Decimal', 'Float', 'Int', 'Integer', 'List', 'Opaque',
        'Secret', 'Text', 'UTC', 'UUID', 'Unicode',
    ),
    'zatotx.service.io.record_elements': ('Dict', 'DictList', 'ListOfDicts', 'Nested'),
    'zatotx.interfaces.redis': ('LeaseHeld', 'LeaseLost', 'RedisError', 'RedisNotReady'),
    'zatotx.interfaces.service_redis': ('CommandRefusedError',),
    'zatotx.model.soap_message': ('PeerFault', 'SoapFault'),
    'zatotx.wire.http.sse': ('Event',),
    'zatotx.model.errors': (
        'BadGateway', 'BadRequest', 'BadStatus', 'BrokerUnavailable', 'Conflict', 'DeliveryUnknown', 'Forbidden',
        'HTTPException', 'Inactive', 'InternalServerError', 'MessageNotSent', 'MessageRefused', 'MessageUnroutable',
        'MessagesNotSent', 'MethodNotAllowed', 'NotFound', 'NotSent', 'RemoteFileError', 'RemoteFileNotFound',
        'RemoteStorageFull', 'ReplyTimeout', 'ServiceUnavailable', 'Timeout', 'TooManyRequests', 'TransactionAborted',
        'Unauthorized', 'ZatoException',
    ),
}  # fmt: skip
_MODULE_OF_NAME = {name: module for module, names in _PUBLIC_NAMES.items() for name in names}

__all__ = [
    'CSV', 'UTC', 'UUID', 'AsIs', 'BadGateway', 'BadRequest', 'BadStatus', 'Bool', 'Boolean', 'BrokerUnavailable',
    'Bunch', 'CommandRefusedError', 'Conflict', 'Date', 'DateTime', 'Decimal', 'DeliveryUnknown', 'Dict', 'DictList',
    'Event', 'Float', 'Forbidden', 'HTTPException', 'Inactive', 'Int', 'Integer', 'InternalServerError', 'LeaseHeld',
    'LeaseLost', 'List', 'ListOfDicts', 'MessageNotSent', 'MessageRefused', 'MessageUnroutable', 'MessagesNotSent',
    'MethodNotAllowed', 'Model', 'Nested', 'NotFound', 'NotSent', 'Opaque', 'PeerFault', 'RedisError',
    'RedisNotReady', 'RemoteFileError', 'RemoteFileNotFound', 'RemoteStorageFull', 'ReplyTimeout', 'Secret', 'Service',
    'ServiceUnavailable', 'SoapFault', 'Text', 'Timeout', 'TooManyRequests', 'TransactionAborted', 'Unauthorized',
    'Unicode', 'ZatoException', '__version__',
]  # fmt: skip


def __getattr__(name: str) -> Any:
    module = _MODULE_OF_NAME.get(name)
    if module is None:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF_NAME})
