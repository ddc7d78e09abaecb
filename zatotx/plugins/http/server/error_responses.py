"""Creates error responses that the HTTP server sends without invoking a service."""

from __future__ import annotations

import msgspec

from zatotx.model.message import Reply
from zatotx.plugins.http.soap.faults import write_error_fault
from zatotx.wire import json_codec
from zatotx.wire.soap.envelope import VERSIONS
from zatotx.wire.xml.writer import XML_TYPE, write_error

XML = 'xml'  # a data format, and the format of its errors
_JSON = b'application/json'
_RETRY = ((b'Retry-After', b'1'),)

NOT_FOUND = 'URL not found'
METHOD_NOT_ALLOWED = 'Method `{method}` is not allowed here'
ALL_METHODS = b'DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT'  # of a channel that accepts any method
INACTIVE_CHANNEL = 'Inactive channel'
MISSING_SOAP_ACTION = (
    'This URL is for requests with a SOAPAction, or in SOAP 1.2 with an action in the Content-Type: name one'
)
UNKNOWN_SOAP_ACTION = 'No SOAP channel at this URL has the SOAPAction `{action}`'
UNSUPPORTED_EXPECTATION = 'There is no expectation but 100-continue that can be met here'
UNSUPPORTED_SOAP_TYPE = 'SOAP comes as text/xml (1.1) or application/soap+xml (1.2), without attachments'
UNSUPPORTED_CONTENT_ENCODING = 'Bodies are taken as gzip, as deflate, or without Content-Encoding'
INVALID_DEADLINE = 'X-Zato-Deadline-Ms must be a whole number of milliseconds from 1 to 86400000'
BODY_TOO_LARGE = 'The body is larger than the {limit} bytes allowed here'
BODY_NOT_STORED = 'The body cannot be stored at the moment'
HEAD_TIMEOUT = 'The head of the request did not arrive in time'
BODY_TIMEOUT = 'The body of the request did not arrive in time'
INCOMPLETE_REQUEST = 'The request ended before it was complete'


class ErrorResult(msgspec.Struct, frozen=True):
    """An error response that is sent without invoking the dispatcher. It has no correlation ID yet."""

    status: int
    details: str
    headers: tuple[tuple[bytes, bytes], ...] = ()
    soap_version: str = ''  # SOAP version of the fault; '' = Zato's error in JSON


def error_response(
    status: int, cid: str, details: str, headers: tuple[tuple[bytes, bytes], ...] = (), error_format: str = ''
) -> Reply:
    """Create an error response in Zato's JSON or XML format, or as a SOAP fault of the version that `error_format`
    specifies. A temporary error (503) has a Retry-After field."""
    if status == 503:
        headers += _RETRY
    if error_format == XML:
        return Reply(status, write_error(cid, details), XML_TYPE, headers)
    if error_format:
        version = VERSIONS[error_format]
        return Reply(
            status, write_error_fault(version, status, cid, details), version.content_type.encode('ascii'), headers
        )
    return Reply(status, json_codec.write_error(cid, details), _JSON, headers)
