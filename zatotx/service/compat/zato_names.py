# ruff: noqa: N801 - the names are Zato's
"""The constants and helper functions of Zato that services import by name. The constants have the same values as in
Zato."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable
from dataclasses import field
from datetime import datetime
from typing import Any

from zatotx.model.cid import new_cid as new_cid
from zatotx.service.io.elements import FALSE, TRUE

ZATO_OK = 'ZATO_OK'
ZATO_ERROR = 'ZATO_ERROR'
ZATO_WARNING = 'ZATO_WARNING'
ZATO_NONE = 'ZATO_NONE'
ZATO_DEFAULT = 'ZATO_DEFAULT'
ZATO_NOT_GIVEN = 'ZATO_NOT_GIVEN'
ZATO_SEC_USE_RBAC = 'ZATO_SEC_USE_RBAC'
NO_DEFAULT_VALUE = 'NO_DEFAULT_VALUE'
TRACE1 = 6
ZATO_ODB_POOL_NAME = 'ZATO_ODB'


class DATA_FORMAT:
    """Constants for the data formats of messages."""

    CSV = 'csv'
    DICT = 'dict'
    FORM_DATA = 'form'
    HL7 = 'hl7'
    JSON = 'json'
    LIST = 'list'
    POST = 'post'
    XML = 'xml'


class CHANNEL:
    """Constants for the source of a service call, such as the type of a channel."""

    AMQP = 'amqp'
    FANOUT_CALL = 'fanout-call'
    FANOUT_ON_FINAL = 'fanout-on-final'
    FANOUT_ON_TARGET = 'fanout-on-target'
    HTTP_SOAP = 'http-soap'
    INTERNAL_CHECK = 'internal-check'
    INVOKE = 'invoke'
    INVOKE_ASYNC = 'invoke-async'
    INVOKE_ASYNC_CALLBACK = 'invoke-async-callback'
    JMS_WMQ = 'jms-wmq'
    PARALLEL_EXEC_CALL = 'parallel-exec-call'
    PARALLEL_EXEC_ON_TARGET = 'parallel-exec-on-target'
    PUBLISH = 'publish'
    SCHEDULER = 'scheduler'
    SCHEDULER_AFTER_ONE_TIME = 'scheduler-after-one-time'
    STARTUP_SERVICE = 'startup-service'
    WORKER = 'worker'
    ZMQ = 'zmq'


class URL_TYPE:
    """Constants for the transports of HTTP channels."""

    SOAP = 'soap'
    PLAIN_HTTP = 'plain_http'


class CONNECTION:
    """Constants for the directions of HTTP connections."""

    CHANNEL = 'channel'
    OUTGOING = 'outgoing'


class URL_PARAMS_PRIORITY:
    """Constants that select whether path or query parameters take precedence."""

    PATH_OVER_QS = 'path-over-qs'
    QS_OVER_PATH = 'qs-over-path'
    DEFAULT = QS_OVER_PATH


class PARAMS_PRIORITY:
    """Constants that select whether URL parameters or the message take precedence."""

    CHANNEL_PARAMS_OVER_MSG = 'channel-params-over-msg'
    MSG_OVER_CHANNEL_PARAMS = 'msg-over-channel-params'
    DEFAULT = CHANNEL_PARAMS_OVER_MSG


class _JobType:
    ONE_TIME = 'one_time'
    INTERVAL_BASED = 'interval_based'
    CRON_STYLE = 'cron_style'


SCHEDULER_JOB_TYPE = _JobType  # its name in Zato 1.1 and 2.0


class SCHEDULER:
    """Constants of the scheduler."""

    JOB_TYPE = _JobType


class SIMPLE_IO:
    """Constants for the data formats of SimpleIO."""

    class FORMAT:
        JSON = 'json'
        XML = 'xml'


def asbool(value: Any) -> bool:
    """Convert text to a bool, as SimpleIO does. Raises ValueError for text that is not a boolean."""
    text = str(value).strip().lower()
    if text not in TRUE | FALSE:
        raise ValueError(f'{value!r} is neither true nor false')
    return text in TRUE


def loads(text: str | bytes) -> Any:
    """Parse JSON text."""
    return json.loads(text)


def dumps(value: Any, **options: Any) -> str:
    """Serialize a value as JSON text. Bunches are serialized as objects."""
    return json.dumps(value, **options)


# zato.common.typing_: aliases for annotations of models.
any_ = Any
anydict = dict[Any, Any]
anydictnone = anydict | None
anylist = list[Any]
anylistnone = anylist | None
anynone = Any | None
anyset = set[Any]
anytuple = tuple[Any, ...]
binaryio_ = typing.BinaryIO
boolnone = bool | None
callable_: Any = Callable
callnone = Callable[..., Any] | None
cast_ = typing.cast
commondict = dict[str, int | str | bool | float | anydict | anylist | None]
dict_ = dict
dictlist = list[dict[str, Any]]
dictnone = dict[str, Any] | None
dtnone = datetime | None
floatnone = float | None
generator_ = typing.Generator
intanydict = dict[int, Any]
intdict = dict[int, int]
intdictdict = dict[int, anydict]
intlist = list[int]
intlistempty = list[int | None]
intlistnone = intlist | None
intnone = int | None
intset = set[int]
intsetdict = dict[int, anyset]
intstrdict = dict[int, str]
iterator_ = typing.Iterator
list_ = list
listnone = list[Any] | None
noreturn = typing.NoReturn
optional = typing.Optional
set_ = set
str_ = str
stranydict = dict[str, Any]
strdict = dict[str, Any]
strdictdict = dict[str, dict[str, Any]]
strint = str | int
strintbool = str | int | bool
strintdict = dict[str, int]
strintnone = str | int | None
strlist = list[str]
strlistdict = dict[str, anylist]
strlistempty = list[str | None]
strlistnone = list[str] | None
strnone = str | None
strorlist = str | anylist
strset = set[str]
strsetdict = dict[str, anyset]
strstrdict = dict[str, str]
strtuple = tuple[str, ...]
textio_ = typing.TextIO
tuple_: Any = tuple
type_ = type
typealias_ = typing.TypeAlias
typevar_ = typing.TypeVar
union_ = typing.Union


def list_field() -> Any:
    """Return a dataclass field whose default is a new empty list."""
    return field(default_factory=list)
