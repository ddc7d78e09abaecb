"""The driver's own structures agree with pymqi's, which come from IBM's headers."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import mqi_loopback
from zatotx.plugins.ibm_mq.wire.descriptor import MessageDescriptor, pack_descriptor, unpack_descriptor

mqi_loopback.install()
GIVEN = MessageDescriptor(
    message_type=1, report=2, expiry=3, feedback=4, encoding=273, ccsid=500, format='MQHRF2', priority=5, persistence=0,
    message_id=bytes(range(24)), correlation_id=bytes(range(24, 48)), reply_to_queue='REPLY',
    reply_to_queue_manager='QM2',
)  # fmt: skip


class DescriptorTests(SynchronousTestCase):
    def setUp(self) -> None:
        import pymqi

        self.mqi: Any = pymqi

    def test_packed(self) -> None:
        """pymqi reads each field where the driver has written it."""
        fields = self.mqi.MD(Version=2)
        fields.unpack(pack_descriptor(GIVEN))
        self.assertEqual(
            (fields.StrucId, fields.Version, fields.MsgType, fields.Report, fields.Expiry, fields.Feedback,
             fields.Encoding, fields.CodedCharSetId, fields.Format, fields.Priority, fields.Persistence, fields.MsgId,
             fields.CorrelId),
            (b'MD  ', 2, 1, 2, 3, 4, 273, 500, b'MQHRF2  ', 5, 0, bytes(range(24)), bytes(range(24, 48))),
        )  # fmt: skip
        self.assertEqual((fields.ReplyToQ.rstrip(b'\0'), fields.ReplyToQMgr.rstrip(b'\0')), (b'REPLY', b'QM2'))
        self.assertEqual((fields.MsgSeqNumber, fields.Offset, fields.MsgFlags, fields.OriginalLength), (1, 0, 0, -1))

    def test_unpacked(self) -> None:
        """The driver reads each field where pymqi has written it."""
        fields = self.mqi.MD(Version=2, BackoutCount=7, UserIdentifier=b'app  ', PutApplType=28, PutApplName=b'java  ',
                             PutDate=b'20260102', PutTime=b'03040506', ReplyToQ=b'REPLY  ')  # fmt: skip
        found = unpack_descriptor(fields.pack())
        self.assertEqual(
            (found.backout_count, found.user, found.application_type, found.application, found.put_date, found.put_time,
             found.reply_to_queue), (7, 'app', 28, 'java', '20260102', '03040506', 'REPLY'),
        )  # fmt: skip
        self.assertEqual(unpack_descriptor(pack_descriptor(GIVEN)), GIVEN)
