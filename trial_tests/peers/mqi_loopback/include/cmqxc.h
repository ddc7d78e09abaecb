/* The channel definition of MQCONNX: names and layout of the published interface of IBM MQ, version 11 of MQCD. */
#ifndef MQI_LOOPBACK_CMQXC_H
#define MQI_LOOPBACK_CMQXC_H

#include "cmqc.h"

typedef struct tagMQCD {
    MQCHAR20 ChannelName;
    MQLONG Version, ChannelType, TransportType;
    MQCHAR64 Desc;
    MQCHAR48 QMgrName, XmitQName;
    MQCHAR20 ShortConnectionName, MCAName;
    MQCHAR8 ModeName;
    MQCHAR64 TpName;
    MQLONG BatchSize, DiscInterval, ShortRetryCount, ShortRetryInterval, LongRetryCount, LongRetryInterval;
    MQCHAR128 SecurityExit, MsgExit, SendExit, ReceiveExit;
    MQLONG SeqNumberWrap, MaxMsgLength, PutAuthority, DataConversion;
    MQCHAR32 SecurityUserData, MsgUserData, SendUserData, ReceiveUserData;
    /* version 2 */
    MQCHAR12 UserIdentifier, Password, MCAUserIdentifier;
    MQLONG MCAType;
    MQCHAR264 ConnectionName;
    MQCHAR12 RemoteUserIdentifier, RemotePassword;
    /* version 3 */
    MQCHAR128 MsgRetryExit;
    MQCHAR32 MsgRetryUserData;
    MQLONG MsgRetryCount, MsgRetryInterval;
    /* version 4 */
    MQLONG HeartbeatInterval, BatchInterval, NonPersistentMsgSpeed, StrucLength, ExitNameLength, ExitDataLength,
        MsgExitsDefined, SendExitsDefined, ReceiveExitsDefined;
    MQPTR MsgExitPtr, MsgUserDataPtr, SendExitPtr, SendUserDataPtr, ReceiveExitPtr, ReceiveUserDataPtr;
    /* version 5 */
    MQPTR ClusterPtr;
    MQLONG ClustersDefined, NetworkPriority;
    /* version 6 */
    MQLONG LongMCAUserIdLength, LongRemoteUserIdLength;
    MQPTR LongMCAUserIdPtr, LongRemoteUserIdPtr;
    MQBYTE40 MCASecurityId, RemoteSecurityId;
    /* version 7 */
    MQCHAR32 SSLCipherSpec;
    MQPTR SSLPeerNamePtr;
    MQLONG SSLPeerNameLength, SSLClientAuth, KeepAliveInterval;
    MQCHAR48 LocalAddress;
    MQLONG BatchHeartbeat;
    /* version 8 */
    MQLONG HdrCompList[2], MsgCompList[16];
    MQLONG CLWLChannelRank, CLWLChannelPriority, CLWLChannelWeight, ChannelMonitoring, ChannelStatistics;
    /* version 9 */
    MQLONG SharingConversations, PropertyControl, MaxInstances, MaxInstancesPerClient, ClientChannelWeight,
        ConnectionAffinity;
    /* version 10 */
    MQLONG BatchDataLimit, UseDLQ, DefReconnect;
    /* version 11 */
    MQCHAR64 CertificateLabel;
} MQCD, *PMQCD;
#define MQCD_VERSION_7 7
#define MQCD_CURRENT_LENGTH 1984
#define MQCHT_CLNTCONN 6
#define MQXPT_TCP 2

#endif
