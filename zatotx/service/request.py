"""`self.request`: what a service was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from zatotx.model.errors import BadInput
from zatotx.model.message import HTTPView, Message
from zatotx.service.compat.bunch import Bunch, bunchify
from zatotx.service.io import xml_input
from zatotx.service.io.input_sources import form_params, gather_sources, parse_params
from zatotx.service.lazy_attribute import lazy_attribute
from zatotx.service.soap import SoapRequest
from zatotx.service.uploaded_files import files_of

_NO_HTTP = HTTPView('', b'', '', b'', {}, {}, '')


class Headers(Mapping[str, str]):
    """Header fields by name in any case; repeated ones joined by a comma."""

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
        return f'<Headers {", ".join(sorted(self))}>'  # names only: values may be credentials


class HTTP:
    """The HTTP side of a request. Empty where the service was reached by another way."""

    def __init__(self, inbound: Message, payload: Any) -> None:
        view = inbound.http or _NO_HTTP
        self._inbound = inbound
        self._payload = payload
        self._view = view
        self.method = view.method
        self.path = view.path
        self.peer = view.peer
        self.public_url = view.public_url.rstrip('/')

    @property
    def base_url(self) -> str:
        """Where clients reach this server, as its settings or a trusted proxy say: `https://crm.example/esb`; else
        scheme and authority of the listener. Never what the client says: it may send any Host."""
        return self.public_url or self._view.own_url or 'http://localhost'

    headers = lazy_attribute(lambda self: Headers(self._view.headers), 'The header fields, by name in any case.')
    params = lazy_attribute(lambda self: Bunch(self._view.params), "What the channel's URL pattern captured.")
    GET = lazy_attribute(
        lambda self: Bunch(parse_params(self._view.query)), 'The query: text, or a list where repeated.'
    )
    POST = lazy_attribute(lambda self: Bunch(form_params(self._inbound, self._payload)), 'The form in the body.')
    user_agent = lazy_attribute(lambda self: self.headers.get('User-Agent', ''), "The caller's User-Agent.")

    def get_form_data(self) -> dict[str, Any]:
        """3.x's name for `POST`."""
        return self.POST


class Request:
    """What a service was asked. `payload` is the decoded body, `input` what the service declares of it."""

    def __init__(self, inbound: Message, payload: Any, raw: Any = None, run: Any = None) -> None:
        self._inbound = inbound
        self._raw = raw
        self._run = run
        self.payload = payload

    @lazy_attribute
    def raw_request(self) -> Any:
        """The body as it came: bytes from a channel, the Python object from another service."""
        if self._raw is not None:
            return self._raw
        body = self._inbound.body
        return body if isinstance(body, bytes) else body.read()

    @lazy_attribute
    def input(self) -> Any:
        """The declared input, set before the service runs; without a declaration everything there is, merged."""
        texts = xml_input.is_xml(self._inbound, self.payload)
        return self._merged(xml_input.values(self.payload) if texts else self.payload, texts=texts)

    def read_ahead(self) -> None:
        """Of XML, in a thread, before a service that declares nothing runs on the reactor: have `input` ready, in the
        quick way, as nobody else looks at the elements yet. Whoever asks for one that is bad is told then."""
        with suppress(BadInput):
            self.input = self._merged(xml_input.values(self.payload, inbound=self._inbound), texts=True)

    def _merged(self, payload: Any, *, texts: bool) -> Bunch:
        return Bunch(gather_sources(self._inbound, payload, texts=texts).merged())

    files = lazy_attribute(lambda self: files_of(self._run), 'The files of an upload, by the names of their fields.')
    soap = lazy_attribute(lambda self: SoapRequest(self._inbound), 'The SOAP envelope: version, action, headers.')
    http = lazy_attribute(lambda self: HTTP(self._inbound, self.payload), 'The HTTP side.')
    headers = lazy_attribute(
        lambda self: Headers(self._inbound.headers), 'Header fields of the message, by name in any case.'
    )

    @lazy_attribute
    def channel_params(self) -> dict[str, Any]:
        """Query and path parameters together; the path wins."""
        http = self._inbound.http
        return {} if http is None else {**parse_params(http.query), **http.params}

    @property
    def cid(self) -> str:
        """The correlation id."""
        return self._inbound.cid

    @property
    def last_event_id(self) -> str:
        """The id of the last server-sent event that a client had before it connected anew; '' for none."""
        return self.headers.get('Last-Event-ID', '')

    @property
    def data_format(self) -> str:
        """The channel's data format; 'xml' for SOAP, as in Zato."""
        channel = self._inbound.channel
        return channel.data_format if channel.soap is None else 'xml'

    def bunchified(self) -> Any:
        """The payload with a Bunch in place of every dict."""
        return bunchify(self.payload)
