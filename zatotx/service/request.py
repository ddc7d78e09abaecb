"""Implements `self.request`: the request that a service processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from zatotx.model.errors import BadInput
from zatotx.model.message import HTTPView, Message
from zatotx.service.compat.bunch import Bunch, bunchify
from zatotx.service.io import xml_codec
from zatotx.service.io.input_sources import collect_input_sources, form_params, parse_params
from zatotx.service.lazy_attribute import lazy_attribute
from zatotx.service.request_files import make_uploaded_files
from zatotx.service.soap import SoapRequest

_NO_HTTP = HTTPView('', b'', '', b'', {}, {}, '')


class Headers(Mapping[str, str]):
    """Header fields by case-insensitive name. Repeated fields are joined with a comma."""

    __slots__ = ('_raw',)

    def __init__(self, raw: Mapping[bytes, bytes]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> str:
        try:
            return self._raw[name.lower().encode('utf-8')].decode('utf-8', 'surrogateescape')
        except (KeyError, UnicodeEncodeError):
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (name.decode('ascii', 'replace') for name in self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def __repr__(self) -> str:
        return f'<Headers {", ".join(sorted(self))}>'  # names only, as values may be credentials


class HTTPRequest:
    """The HTTP attributes of a request. They are empty if the request did not arrive over HTTP."""

    def __init__(self, message: Message, payload: Any) -> None:
        view = message.http or _NO_HTTP
        self._message = message
        self._payload = payload
        self._view = view
        self.method = view.method
        self.path = view.path
        self.peer = view.peer
        self.public_url = view.public_url.rstrip('/')

    @property
    def base_url(self) -> str:
        """The URL under which clients reach this server: `https://crm.example/esb`.

        It is configured or comes from a trusted proxy; the default is scheme and authority of the listener. The
        client's Host header is never used, as it may be forged.
        """
        return self.public_url or self._view.listener_url or 'http://localhost'

    headers = lazy_attribute(lambda self: Headers(self._view.headers), 'The header fields, by name in any case.')
    params = lazy_attribute(lambda self: Bunch(self._view.params), "Path parameters from the channel's URL pattern.")
    GET = lazy_attribute(
        lambda self: Bunch(parse_params(self._view.query)), 'Query parameters: text, or a list if repeated.'
    )
    POST = lazy_attribute(lambda self: Bunch(form_params(self._message, self._payload)), 'The form in the body.')
    user_agent = lazy_attribute(lambda self: self.headers.get('User-Agent', ''), "The caller's User-Agent.")

    def get_form_data(self) -> dict[str, Any]:
        """Return the form in the body; 3.x's name for `POST`."""
        return self.POST


class Request(msgspec.Struct, dict=True, eq=False):
    """The request that a service processes. `payload` is the decoded body, and `input` is the declared input."""

    _message: Message
    payload: Any
    _raw: Any = None
    _run: Any = None

    @lazy_attribute
    def raw_request(self) -> Any:
        """The body as received: bytes from a channel, a Python object from another service."""
        if self._raw is not None:
            return self._raw
        body: Any = self._message.body
        return body.read() if hasattr(body, 'read') else body  # a message of the work stream carries a value

    @lazy_attribute
    def input(self) -> Any:
        """The declared input, set before the service runs; without a declaration, all input merged."""
        is_text = xml_codec.is_xml_message(self._message, self.payload)
        return self._merged(xml_codec.read_element_values(self.payload) if is_text else self.payload, texts=is_text)

    def parse_input_early(self) -> None:
        """Parse the input of an XML message in advance, in a thread.

        This is for services that declare no input and run on the reactor. Invalid input is ignored here; accessing
        `input` raises BadInput then.
        """
        with suppress(BadInput):
            self.input = self._merged(xml_codec.read_element_values(self.payload, message=self._message), texts=True)

    def _merged(self, payload: Any, *, texts: bool) -> Bunch:
        """Merge all sources of input."""
        return Bunch(collect_input_sources(self._message, payload, texts=texts).merge())

    files = lazy_attribute(
        lambda self: make_uploaded_files(self._run), 'The uploaded files, by the names of their form fields.'
    )
    soap = lazy_attribute(lambda self: SoapRequest(self._message), 'The SOAP envelope: version, action, headers.')
    http = lazy_attribute(lambda self: HTTPRequest(self._message, self.payload), 'The HTTP part of the request.')
    headers = lazy_attribute(
        lambda self: Headers(self._message.headers), 'Header fields of the message, by name in any case.'
    )

    @lazy_attribute
    def channel_params(self) -> dict[str, Any]:
        """Query and path parameters together; path parameters take precedence."""
        http = self._message.http
        return {} if http is None else {**parse_params(http.query), **http.params}

    @property
    def cid(self) -> str:
        """The correlation id."""
        return self._message.cid

    @property
    def last_event_id(self) -> str:
        """The id of the last server-sent event that the client received before it reconnected, or ''."""
        return self.headers.get('Last-Event-ID', '')

    @property
    def data_format(self) -> str:
        """The channel's data format; 'xml' for SOAP, as in Zato."""
        channel = self._message.channel
        return channel.data_format if channel.soap is None else 'xml'

    def bunchified(self) -> Any:
        """Return the payload with every dict replaced by a Bunch."""
        return bunchify(self.payload)
