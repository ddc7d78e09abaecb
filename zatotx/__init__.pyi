"""Type stub of the public names of `zatotx`; the module itself loads each name on first access."""

from zatotx.model.errors import (
    BadGateway,
    BadRequest,
    BadStatus,
    Conflict,
    Forbidden,
    HTTPException,
    Inactive,
    InternalServerError,
    MethodNotAllowed,
    NotFound,
    RemoteFileError,
    RemoteFileNotFound,
    RemoteStorageFull,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    TransactionAborted,
    Unauthorized,
    ZatoException,
)
from zatotx.model.soap_message import PeerFault, SoapFault
from zatotx.service.compat.bunch import Bunch
from zatotx.service.io.elements import (
    CSV,
    UTC,
    UUID,
    AsIs,
    Bool,
    Boolean,
    Date,
    DateTime,
    Decimal,
    Float,
    Int,
    Integer,
    List,
    Opaque,
    Secret,
    Text,
    Unicode,
)
from zatotx.service.io.record_elements import Dict, DictList, ListOfDicts, Nested
from zatotx.service.model import Model
from zatotx.service.service import Service
from zatotx.wire.http.sse import Event

__all__ = [
    'CSV', 'UTC', 'UUID', 'AsIs', 'BadGateway', 'BadRequest', 'BadStatus', 'Bool', 'Boolean', 'Bunch', 'Conflict',
    'Date', 'DateTime', 'Decimal', 'Dict', 'DictList', 'Event', 'Float', 'Forbidden', 'HTTPException', 'Inactive',
    'Int', 'Integer', 'InternalServerError', 'List', 'ListOfDicts', 'MethodNotAllowed', 'Model', 'Nested', 'NotFound',
    'Opaque', 'PeerFault', 'RemoteFileError', 'RemoteFileNotFound', 'RemoteStorageFull', 'Secret', 'Service',
    'ServiceUnavailable', 'SoapFault', 'Text', 'Timeout', 'TooManyRequests', 'TransactionAborted', 'Unauthorized',
    'Unicode', 'ZatoException', '__version__',
]  # fmt: skip

__version__: str
