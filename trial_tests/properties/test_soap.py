"""Properties of SOAP: the payload always comes from the Body, and output is always an envelope."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from lxml import etree
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.model.errors import BadRequest, ServiceError
from zatotx.model.message import ChannelSpec, ServiceResult
from zatotx.model.soap_message import SoapChannelSpec, SoapFault
from zatotx.plugins.http.soap.codec import SoapCodec
from zatotx.plugins.http.soap.outgoing.envelope_builder import wrap_in_envelope
from zatotx.security.wss import new_username_token
from zatotx.testing.pipeline_doubles import make_message
from zatotx.wire.soap import ws_security
from zatotx.wire.soap.envelope import NS_11, NS_12, VERSIONS, read_envelope, write_envelope
from zatotx.wire.soap.faults import read_fault
from zatotx.wire.soap.soap_action import soap_action
from zatotx.wire.xml import parser

CHANNEL = ChannelSpec(name='a', kind='http-soap', service='a', data_format='soap', soap=SoapChannelSpec())
TYPES = {b'1.1': {b'content-type': b'text/xml'}, b'1.2': {b'content-type': b'application/soap+xml'}}
NAMES = st.sampled_from([f'{{{ns}}}{name}' for ns in (NS_11, NS_12) for name in ('Envelope', 'Header', 'Body', 'Fault')]
                        + ['{u:a}a', 'b', f'{{{NS_11}}}other'])  # fmt: skip
TREES = st.recursive(
    st.tuples(NAMES, st.just(())), lambda inner: st.tuples(NAMES, st.lists(inner, max_size=4)), max_leaves=14
)
TEXT = st.text(max_size=30)
DETAILS = st.none() | TEXT | st.binary(max_size=20) | st.sampled_from(['<a/>', '<a>', '</detail>', '<!DOCTYPE a><a/>'])


def element(tree: Any) -> Any:
    made = etree.Element(tree[0])
    made.extend([element(child) for child in tree[1]])
    return made


def the_body_of(root: Any) -> list[Any] | None:
    """Returns the content of the Envelope's Body, by an independent implementation."""
    for namespace in (NS_11, NS_12):
        tags = [child.tag.replace(f'{{{namespace}}}', 's:') for child in root]
        if root.tag == f'{{{namespace}}}Envelope' and tags in (['s:Body'], ['s:Header', 's:Body']):
            return list(root[-1])
    return None


class ReadingTests(SynchronousTestCase):
    @holds(examples=300, tree=TREES, envelope=st.sampled_from([NS_11, NS_12]), wrap=st.booleans())
    def test_trees(self, tree: Any, envelope: str, wrap: bool) -> None:
        """A message is rejected, or its payload is the first element of the Envelope's own Body."""
        root = element(tree)
        if wrap:  # so that many are nearly right
            outer = etree.Element(f'{{{envelope}}}Envelope')
            outer.extend(list(root) or [root])
            root = outer
        inbound = make_message(etree.tostring(root), channel=CHANNEL)
        inside = the_body_of(root)
        try:
            payload = SoapCodec().decode(inbound)
        except ServiceError as fault:
            self.assertEqual(fault.status, 400)
            if inside is not None:  # refused though it has the form: it holds another message
                tags = [child.tag.rpartition('}') for child in inside]
                self.assertTrue(any(ns[1:] in (NS_11, NS_12) and name in ('Envelope', 'Header', 'Body')
                                    for ns, _, name in tags))  # fmt: skip
            return
        self.assertIsNotNone(inside)
        found = None if payload is None else parser.serialize_document(payload)
        self.assertEqual(found, etree.tostring(inside[0]) if inside else None)

    @holds(body=st.binary(max_size=60))
    def test_bytes(self, body: bytes) -> None:
        """Any bytes are a message or a Sender fault."""
        self.assertRaises(BadRequest, SoapCodec().decode, make_message(body, channel=CHANNEL))

    @holds(value=st.text(st.characters(exclude_categories=['Cs', 'Cc']), max_size=30))
    def test_actions(self, value: str) -> None:
        """An action is the same in the header field and the parameter."""
        action = value.replace('"', '').strip()
        quoted = action.replace('\\', '\\\\')
        found = soap_action({b'content-type': f'application/soap+xml; a=b;action="{quoted}"; c="d"'.encode()})
        self.assertEqual(found, action)
        self.assertEqual(soap_action({b'soapaction': f'"{action}"'.encode()}), action)


class WritingTests(SynchronousTestCase):
    @holds(reason=TEXT, detail=DETAILS, headers=st.sampled_from(list(TYPES.values())),
           code=st.sampled_from(['Client', 'Server', 'MustUnderstand']))  # fmt: skip
    def test_faults(self, reason: str, detail: Any, headers: Any, code: str) -> None:
        """Any fault of a service gives a valid fault response with the cid."""
        inbound = make_message(b'', channel=CHANNEL, headers=headers)
        fault = SoapFault(code, reason, detail)
        reply = SoapCodec().encode_error(fault, fault.details, inbound)
        found = read_fault(read_envelope(parser.parse_document(reply.body)).payload)
        assert found is not None
        self.assertEqual(found.code, {'Client': 'Sender', 'Server': 'Receiver'}.get(code, code))
        self.assertIn(inbound.cid.encode(), reply.body)

    @holds(value=TEXT | st.binary(max_size=30) | TEXT.map(lambda text: f'<a>{text}</a>'))
    def test_answers(self, value: Any) -> None:
        """Any result of a service is rejected or written inside one Body."""
        inbound = make_message(f'<s:Envelope xmlns:s="{NS_11}"><s:Body/></s:Envelope>'.encode(), channel=CHANNEL)
        codec = SoapCodec()
        codec.decode(inbound)
        try:
            reply = codec.encode(ServiceResult(value), inbound)
        except ValueError:
            return
        read_envelope(parser.parse_document(reply.body))


class OutgoingTests(SynchronousTestCase):
    @holds(text=TEXT, header=st.none() | TEXT, data=TEXT, version=st.sampled_from(['1.1', '1.2']), whole=st.booleans(),
           digest=st.booleans(), password=TEXT)
    def test_messages(self, text: str, header: str | None, data: str, version: str, whole: bool, digest: bool,
                      password: str) -> None:  # fmt: skip
        """Any outgoing message, with or without headers, has one token of the definition, first in the Header, and the
        unchanged content of the Body."""
        body = etree.Element('{u:a}a', b='c')
        headers = []
        try:
            body.text, body.tail = text, None
            if header is not None:
                headers = [etree.Element('{u:h}h')]
                headers[0].text = header
            parser.parse_document(etree.tostring(body))
            [parser.parse_document(etree.tostring(one)) for one in headers]
        except ValueError:
            return  # XML has no form for it
        soap = VERSIONS[version]
        given: Any = write_envelope(soap, etree.tostring(body), headers=headers) if whole else body
        ready = wrap_in_envelope(given, soap, () if whole else headers, split_for_token=True)
        token = new_username_token(data, password, is_digest=digest)
        root = parser.parse_document(
            ready.before_token + ws_security.write_security_header(token, soap) + ready.after_token
        )
        sent = read_envelope(root)
        security = ws_security.read_security_header(sent.headers, soap)
        self.assertEqual([one.tag for one in sent.headers], [ws_security.SECURITY, *(one.tag for one in headers)])
        self.assertEqual([one.nonce for one in security.tokens] if security else [], [token.nonce])
        payload: Any = sent.payload
        self.assertEqual((payload.tag, payload.get('b')), ('{u:a}a', 'c'))
        self.assertEqual((payload.text or '').replace('\r', '\n'), text.replace('\r', '\n'))
