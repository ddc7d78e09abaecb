"""MQI reason codes, each with the action that follows it and with its description for users.

`docs/ibm-mq.md` shows this table; a test compares them. Codes that are not in the table are errors of the call alone,
unless they are in the range of TLS errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from attrs import frozen


class Action(Enum):
    """The action to take when an MQI call returned a certain reason code."""

    NONE = 'nothing: it is no error'
    RETRY = 'the same call is tried again later'
    RECONNECT = 'the handle is given up, and a new one connects'
    DEAD_LETTER = 'the message cannot be put there: it is kept elsewhere, or its sender gets the error'
    CONFIGURATION = 'somebody has to change the configuration; until then a new handle is tried now and then'


class SendError(Enum):
    """The error that a service receives if sending its message failed with a certain reason code."""

    UNAVAILABLE = 'the queue manager cannot take the message now'
    TOO_LARGE = 'the message is larger than the queue manager allows'
    UNKNOWN_QUEUE = 'the queue does not exist'


@frozen
class ReasonCode:
    """One MQI reason code. `sentence` is a verb phrase that follows the name of the connection or the channel."""

    code: int
    name: str
    action: Action
    sentence: str
    send_error: SendError = SendError.UNAVAILABLE


_N, _R, _C, _D, _F = Action.NONE, Action.RETRY, Action.RECONNECT, Action.DEAD_LETTER, Action.CONFIGURATION
_ROWS = (
    ReasonCode(2002, 'MQRC_ALREADY_CONNECTED', _C, 'is connected to another queue manager already'),
    ReasonCode(2003, 'MQRC_BACKED_OUT', _R, 'had its unit of work backed out by the queue manager'),
    ReasonCode(2009, 'MQRC_CONNECTION_BROKEN', _C, 'has lost its connection to the queue manager'),
    ReasonCode(2016, 'MQRC_GET_INHIBITED', _R, 'may not get messages: GET is disabled for the queue'),
    ReasonCode(2017, 'MQRC_HANDLE_NOT_AVAILABLE', _C,
               'has as many open handles as the queue manager allows (MAXHANDS)'),
    ReasonCode(2018, 'MQRC_HCONN_ERROR', _C, 'has a handle that is no longer valid'),
    ReasonCode(2019, 'MQRC_HOBJ_ERROR', _C, 'has a queue handle that is no longer valid'),
    ReasonCode(2024, 'MQRC_SYNCPOINT_LIMIT_REACHED', _R,
               'has more uncommitted messages than the queue manager allows (MAXUMSGS)'),
    ReasonCode(2025, 'MQRC_MAX_CONNS_LIMIT_REACHED', _C, 'is one connection more than the queue manager allows'),
    ReasonCode(2030, 'MQRC_MSG_TOO_BIG_FOR_Q', _D,
               'has a message that is larger than the queue allows (MAXMSGL)', SendError.TOO_LARGE),
    ReasonCode(2031, 'MQRC_MSG_TOO_BIG_FOR_Q_MGR', _D,
               'has a message that is larger than the queue manager allows', SendError.TOO_LARGE),
    ReasonCode(2033, 'MQRC_NO_MSG_AVAILABLE', _N, 'has no message'),
    ReasonCode(2035, 'MQRC_NOT_AUTHORIZED', _F,
               'is not authorized: check user, password, CHLAUTH rules and the authority for the queue'),
    ReasonCode(2042, 'MQRC_OBJECT_IN_USE', _F, 'cannot open the queue, which somebody else has opened exclusively'),
    ReasonCode(2045, 'MQRC_OPTION_NOT_VALID_FOR_TYPE', _F,
               'cannot get messages from this object, as it is no local queue'),
    ReasonCode(2051, 'MQRC_PUT_INHIBITED', _D, 'may not put messages: PUT is disabled for the queue'),
    ReasonCode(2053, 'MQRC_Q_FULL', _D, 'cannot put the message, as the queue is full (MAXDEPTH)'),
    ReasonCode(2056, 'MQRC_Q_SPACE_NOT_AVAILABLE', _D, 'cannot put the message, as the queue has no space on its disk'),
    ReasonCode(2058, 'MQRC_Q_MGR_NAME_ERROR', _F, 'names a queue manager that does not listen there'),
    ReasonCode(2059, 'MQRC_Q_MGR_NOT_AVAILABLE', _C,
               'cannot reach the queue manager, which does not run or refuses connections'),
    ReasonCode(2063, 'MQRC_SECURITY_ERROR', _F, 'failed at the security check of the queue manager'),
    ReasonCode(2068, 'MQRC_SELECTOR_NOT_FOR_TYPE', _N, 'names a queue of a type that does not have the attribute'),
    ReasonCode(2071, 'MQRC_STORAGE_NOT_AVAILABLE', _C, 'got no memory for the call'),
    ReasonCode(2079, 'MQRC_TRUNCATED_MSG_ACCEPTED', _N, 'has a part of the message only'),
    ReasonCode(2080, 'MQRC_TRUNCATED_MSG_FAILED', _R, 'has a message that is larger than the buffer'),
    ReasonCode(2082, 'MQRC_UNKNOWN_ALIAS_BASE_Q', _F,
               'names an alias of a queue that does not exist', SendError.UNKNOWN_QUEUE),
    ReasonCode(2085, 'MQRC_UNKNOWN_OBJECT_NAME', _F, 'names a queue that does not exist', SendError.UNKNOWN_QUEUE),
    ReasonCode(2087, 'MQRC_UNKNOWN_REMOTE_Q_MGR', _F,
               'names a remote queue manager that is not known', SendError.UNKNOWN_QUEUE),
    ReasonCode(2101, 'MQRC_OBJECT_DAMAGED', _F, 'names a damaged object'),
    ReasonCode(2102, 'MQRC_RESOURCE_PROBLEM', _C, 'met a lack of resources at the queue manager'),
    ReasonCode(2110, 'MQRC_FORMAT_ERROR', _D, 'has a message whose format cannot be converted'),
    ReasonCode(2119, 'MQRC_NOT_CONVERTED', _D, 'has a message that cannot be converted'),
    ReasonCode(2161, 'MQRC_Q_MGR_QUIESCING', _C, 'waits, as the queue manager is quiescing'),
    ReasonCode(2162, 'MQRC_Q_MGR_STOPPING', _C, 'waits, as the queue manager is stopping'),
    ReasonCode(2189, 'MQRC_CLUSTER_RESOLUTION_ERROR', _R,
               'names a cluster queue that cannot be resolved at the moment'),
    ReasonCode(2192, 'MQRC_PAGESET_FULL', _D, 'cannot put the message, as the storage of the queue is full'),
    ReasonCode(2195, 'MQRC_UNEXPECTED_ERROR', _C, 'met an unexpected error of the client'),
    ReasonCode(2202, 'MQRC_CONNECTION_QUIESCING', _C, 'waits, as its connection is quiescing'),
    ReasonCode(2203, 'MQRC_CONNECTION_STOPPING', _C, 'waits, as its connection is stopping'),
    ReasonCode(2218, 'MQRC_MSG_TOO_BIG_FOR_CHANNEL', _D,
               'has a message that is larger than the channel allows', SendError.TOO_LARGE),
    ReasonCode(2219, 'MQRC_CALL_IN_PROGRESS', _R, 'has another call in progress on the same handle'),
    ReasonCode(2277, 'MQRC_CD_ERROR', _F, 'has a channel definition that is not valid: check host, port and channel'),
    ReasonCode(2278, 'MQRC_CLIENT_CONN_ERROR', _F, 'has a client connection that is not defined'),
    ReasonCode(2363, 'MQRC_SSL_CERTIFICATE_REVOKED', _F, 'does not accept the certificate, which is revoked'),
    ReasonCode(2381, 'MQRC_KEY_REPOSITORY_ERROR', _F, 'cannot read the key repository: check ssl_key_repository'),
    ReasonCode(2393, 'MQRC_SSL_INITIALIZATION_ERROR', _F,
               'cannot agree on TLS: check ssl, ssl_cipher_spec and the SSLCIPH of the channel'),
    ReasonCode(2397, 'MQRC_SSL_PEER_NAME_MISMATCH', _F, 'does not accept the name in the certificate'),
    ReasonCode(2538, 'MQRC_HOST_NOT_AVAILABLE', _C, 'cannot reach the host: nobody listens there'),
    ReasonCode(2539, 'MQRC_CHANNEL_CONFIG_ERROR', _F, 'uses a channel that is configured in another way'),
    ReasonCode(2540, 'MQRC_UNKNOWN_CHANNEL_NAME', _F, 'names a channel that the queue manager does not have'),
    ReasonCode(2552, 'MQRC_REMOTE_QM_UNAVAILABLE', _C, 'waits, as the channel ends'),
    ReasonCode(2567, 'MQRC_CHANNEL_NOT_ACTIVATED', _C, 'cannot start its channel at the queue manager'),
)  # fmt: skip
TABLE: Mapping[int, ReasonCode] = {row.code: row for row in _ROWS}
_CODES = {row.name: row.code for row in _ROWS}
CONNECTION_BROKEN = _CODES['MQRC_CONNECTION_BROKEN']
NO_MESSAGE = _CODES['MQRC_NO_MSG_AVAILABLE']
NOT_AUTHORIZED = _CODES['MQRC_NOT_AUTHORIZED']
SELECTOR_NOT_FOR_TYPE = _CODES['MQRC_SELECTOR_NOT_FOR_TYPE']
TRUNCATED = _CODES['MQRC_TRUNCATED_MSG_FAILED']
_TLS_ERRORS = range(2380, 2402)


def explain(code: int) -> ReasonCode:
    """Return the ReasonCode object for a reason code, with its action and its description."""
    found = TABLE.get(code)
    if found is not None:
        return found
    if code in _TLS_ERRORS:
        return ReasonCode(code, f'MQRC {code}', Action.CONFIGURATION, 'cannot use TLS as it is configured')
    return ReasonCode(code, f'MQRC {code}', Action.DEAD_LETTER, 'met an error of the queue manager')


def sentence(code: int) -> str:
    """Return the description of a reason code, with its number and name, as a verb phrase."""
    reason = explain(code)
    return f'{reason.sentence} (reason code {code}, {reason.name})'


def loses_handle(code: int) -> bool:
    """Return whether a handle can no longer be used after one of its calls returned the reason code."""
    return explain(code).action is Action.RECONNECT


def table_rows() -> list[str]:
    """Return the rows of the table of reason codes that is part of the documentation."""
    rows = ['| code | name | follows | sentence |', '| --- | --- | --- | --- |']
    rows += [f'| {one.code} | {one.name} | {one.action.name.lower().replace("_", " ")} | … {one.sentence} |'
             for one in TABLE.values()]  # fmt: skip
    return rows
