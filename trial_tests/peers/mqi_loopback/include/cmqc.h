/* The part of the Message Queue Interface that MQI clients in C use: names, values and layouts of the published
   interface of IBM MQ (levels 5.0 to 9.2), for the client library of mqi_loopback. */
#ifndef MQI_LOOPBACK_CMQC_H
#define MQI_LOOPBACK_CMQC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MQENTRY
#define MQPOINTER *

/* Elementary types. On 64-bit systems MQLONG has 32 bits. */
typedef uint8_t MQBYTE, *PMQBYTE;
typedef MQBYTE MQBYTE8[8], MQBYTE16[16], MQBYTE24[24], MQBYTE32[32], MQBYTE40[40], MQBYTE128[128];
typedef char MQCHAR, *PMQCHAR;
typedef MQCHAR MQCHAR4[4], MQCHAR8[8], MQCHAR12[12], MQCHAR20[20], MQCHAR28[28], MQCHAR32[32], MQCHAR48[48],
    MQCHAR64[64], MQCHAR128[128], MQCHAR256[256], MQCHAR264[264];
typedef int32_t MQLONG, *PMQLONG;
typedef uint32_t MQULONG, *PMQULONG;
typedef int8_t MQINT8, *PMQINT8;
typedef int16_t MQINT16, *PMQINT16;
typedef int32_t MQINT32, *PMQINT32;
typedef int64_t MQINT64, *PMQINT64;
typedef float MQFLOAT32, *PMQFLOAT32;
typedef double MQFLOAT64, *PMQFLOAT64;
typedef MQLONG MQBOOL, *PMQBOOL;
typedef void *MQPTR, **PMQPTR, *PMQVOID, **PPMQVOID;
typedef MQLONG MQHCONN, *PMQHCONN;
typedef MQLONG MQHOBJ, *PMQHOBJ;
typedef MQINT64 MQHMSG, *PMQHMSG;

#define MQHC_DEF_HCONN 0
#define MQHC_UNUSABLE_HCONN (-1)
#define MQHO_UNUSABLE_HOBJ (-1)
#define MQHO_NONE 0
#define MQHM_UNUSABLE_HMSG (-1)
#define MQHM_NONE 0

/* Command levels. */
#define MQCMDL_LEVEL_500 500
#define MQCMDL_LEVEL_510 510
#define MQCMDL_LEVEL_520 520
#define MQCMDL_LEVEL_530 530
#define MQCMDL_LEVEL_600 600
#define MQCMDL_LEVEL_700 700
#define MQCMDL_LEVEL_710 710
#define MQCMDL_LEVEL_750 750
#define MQCMDL_LEVEL_800 800
#define MQCMDL_LEVEL_801 801

/* Completion codes. */
#define MQCC_OK 0
#define MQCC_WARNING 1
#define MQCC_FAILED 2
#define MQCC_UNKNOWN (-1)

/* Reason codes that the library itself gives. The queue manager's are in qmgr.py. */
#define MQRC_NONE 0
#define MQRC_CONNECTION_BROKEN 2009
#define MQRC_ENVIRONMENT_ERROR 2012
#define MQRC_HCONN_ERROR 2018
#define MQRC_OD_ERROR 2044
#define MQRC_STORAGE_NOT_AVAILABLE 2071
#define MQRC_MD_ERROR 2026
#define MQRC_GMO_ERROR 2186
#define MQRC_PMO_ERROR 2173
#define MQRC_CALL_IN_PROGRESS 2219
#define MQRC_CD_ERROR 2277
#define MQRC_FUNCTION_NOT_SUPPORTED 2298
#define MQRC_STRING_TRUNCATED 2311
#define MQRC_KEY_REPOSITORY_ERROR 2381
#define MQRC_HOST_NOT_AVAILABLE 2538

/* Ranges of the selectors of MQINQ and MQSET. */
#define MQIA_FIRST 1
#define MQIA_LAST 2000
#define MQCA_FIRST 2001
#define MQCA_LAST 4000

/* Types of message properties. */
#define MQTYPE_AS_SET 0x00000000
#define MQTYPE_NULL 0x00000002
#define MQTYPE_BOOLEAN 0x00000004
#define MQTYPE_BYTE_STRING 0x00000008
#define MQTYPE_INT8 0x00000010
#define MQTYPE_INT16 0x00000020
#define MQTYPE_INT32 0x00000040
#define MQTYPE_LONG MQTYPE_INT32
#define MQTYPE_INT64 0x00000080
#define MQTYPE_FLOAT32 0x00000100
#define MQTYPE_FLOAT64 0x00000200
#define MQTYPE_STRING 0x00000400

/* A string of variable length. */
typedef struct tagMQCHARV {
    MQPTR VSPtr;
    MQLONG VSOffset, VSBufSize, VSLength, VSCCSID;
} MQCHARV, *PMQCHARV;
#define MQVS_NULL_TERMINATED (-1)
#define MQCHARV_DEFAULT 0, 0, 0, 0, (-3)

/* Options of MQBEGIN. */
typedef struct tagMQBO {
    MQCHAR4 StrucId;
    MQLONG Version, Options;
} MQBO, *PMQBO;
#define MQBO_DEFAULT {'B', 'O', ' ', ' '}, 1, 0

/* Security parameters of MQCONNX. */
typedef struct tagMQCSP {
    MQCHAR4 StrucId;
    MQLONG Version, AuthenticationType;
    MQBYTE Reserved1[4];
    MQPTR CSPUserIdPtr;
    MQLONG CSPUserIdOffset, CSPUserIdLength;
    MQBYTE8 Reserved2;
    MQPTR CSPPasswordPtr;
    MQLONG CSPPasswordOffset, CSPPasswordLength;
} MQCSP, *PMQCSP;
#define MQCSP_AUTH_NONE 0
#define MQCSP_AUTH_USER_ID_AND_PWD 1
#define MQCSP_DEFAULT {'C', 'S', 'P', ' '}, 1, MQCSP_AUTH_NONE, {0, 0, 0, 0}, 0, 0, 0, {0}, 0, 0, 0

/* TLS of MQCONNX. */
typedef struct tagMQSCO {
    MQCHAR4 StrucId;
    MQLONG Version;
    MQCHAR256 KeyRepository, CryptoHardware;
    MQLONG AuthInfoRecCount, AuthInfoRecOffset;
    MQPTR AuthInfoRecPtr;
    MQLONG KeyResetCount, FipsRequired;
    MQLONG EncryptionPolicySuiteB[4];
    MQLONG CertificateValPolicy;
    MQCHAR64 CertificateLabel;
} MQSCO, *PMQSCO;

/* Options of MQCONNX, with the connection identifier and the CCDT that later versions add. */
typedef struct tagMQCNO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, ClientConnOffset;
    MQPTR ClientConnPtr;
    MQBYTE128 ConnTag;
    PMQSCO SSLConfigPtr;
    MQLONG SSLConfigOffset;
    MQBYTE24 ConnectionId;
    MQLONG SecurityParmsOffset;
    PMQCSP SecurityParmsPtr;
    PMQCHAR CCDTUrlPtr;
    MQLONG CCDTUrlOffset, CCDTUrlLength;
    MQBYTE8 Reserved;
} MQCNO, *PMQCNO;
#define MQCNO_NONE 0x00000000
#define MQCNO_HANDLE_SHARE_NONE 0x00000020
#define MQCNO_HANDLE_SHARE_BLOCK 0x00000040
#define MQCNO_HANDLE_SHARE_NO_BLOCK 0x00000080
#define MQCNO_VERSION_1 1
#define MQCNO_VERSION_2 2
#define MQCNO_VERSION_5 5
#define MQCNO_VERSION_6 6
#define MQCNO_DEFAULT {'C', 'N', 'O', ' '}, MQCNO_VERSION_1, MQCNO_NONE, 0, 0, {0}, 0, 0, {0}, 0, 0, 0, 0, 0, {0}

/* Object descriptor. */
typedef struct tagMQOD {
    MQCHAR4 StrucId;
    MQLONG Version, ObjectType;
    MQCHAR48 ObjectName, ObjectQMgrName, DynamicQName;
    MQCHAR12 AlternateUserId;
    MQLONG RecsPresent, KnownDestCount, UnknownDestCount, InvalidDestCount, ObjectRecOffset, ResponseRecOffset;
    MQPTR ObjectRecPtr, ResponseRecPtr;
    MQBYTE40 AlternateSecurityId;
    MQCHAR48 ResolvedQName, ResolvedQMgrName;
    MQCHARV ObjectString, SelectionString, ResObjectString;
    MQLONG ResolvedType;
} MQOD, *PMQOD;
#define MQOD_LENGTH_1 168
#define MQOD_CURRENT_LENGTH 424

/* Message descriptor. */
typedef struct tagMQMD {
    MQCHAR4 StrucId;
    MQLONG Version, Report, MsgType, Expiry, Feedback, Encoding, CodedCharSetId;
    MQCHAR8 Format;
    MQLONG Priority, Persistence;
    MQBYTE24 MsgId, CorrelId;
    MQLONG BackoutCount;
    MQCHAR48 ReplyToQ, ReplyToQMgr;
    MQCHAR12 UserIdentifier;
    MQBYTE32 AccountingToken;
    MQCHAR32 ApplIdentityData;
    MQLONG PutApplType;
    MQCHAR28 PutApplName;
    MQCHAR8 PutDate, PutTime;
    MQCHAR4 ApplOriginData;
    MQBYTE24 GroupId;
    MQLONG MsgSeqNumber, Offset, MsgFlags, OriginalLength;
} MQMD, *PMQMD;
#define MQMD_LENGTH_1 324
#define MQMD_LENGTH_2 364

/* Options of MQPUT and MQPUT1. */
typedef struct tagMQPMO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, Timeout;
    MQHOBJ Context;
    MQLONG KnownDestCount, UnknownDestCount, InvalidDestCount;
    MQCHAR48 ResolvedQName, ResolvedQMgrName;
    MQLONG RecsPresent, PutMsgRecFields, PutMsgRecOffset, ResponseRecOffset;
    MQPTR PutMsgRecPtr, ResponseRecPtr;
    MQHMSG OriginalMsgHandle, NewMsgHandle;
    MQLONG Action, PubLevel;
} MQPMO, *PMQPMO;
#define MQPMO_LENGTH_1 128
#define MQPMO_CURRENT_LENGTH 184

/* Options of MQGET. */
typedef struct tagMQGMO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, WaitInterval, Signal1, Signal2;
    MQCHAR48 ResolvedQName;
    MQLONG MatchOptions;
    MQCHAR GroupStatus, SegmentStatus, Segmentation, Reserved1;
    MQBYTE16 MsgToken;
    MQLONG ReturnedLength, Reserved2;
    MQHMSG MsgHandle;
} MQGMO, *PMQGMO;
#define MQGMO_LENGTH_1 72

/* Subscriptions, message handles and their properties: their calls are refused with MQRC_FUNCTION_NOT_SUPPORTED. */
typedef struct tagMQSD {
    MQCHAR4 StrucId;
    MQLONG Version, Options;
    MQCHAR48 ObjectName;
    MQCHAR12 AlternateUserId;
    MQBYTE40 AlternateSecurityId;
    MQLONG SubExpiry;
    MQCHARV ObjectString, SubName, SubUserData;
    MQBYTE24 SubCorrelId;
    MQLONG PubPriority;
    MQBYTE32 PubAccountingToken;
    MQCHAR32 PubApplIdentityData;
    MQCHARV SelectionString;
    MQLONG SubLevel;
    MQCHARV ResObjectString;
} MQSD, *PMQSD;
typedef struct tagMQSRO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, NumPubs;
} MQSRO, *PMQSRO;
typedef struct tagMQCMHO {
    MQCHAR4 StrucId;
    MQLONG Version, Options;
} MQCMHO, *PMQCMHO;
typedef struct tagMQSMPO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, ValueEncoding, ValueCCSID;
} MQSMPO, *PMQSMPO;
typedef struct tagMQIMPO {
    MQCHAR4 StrucId;
    MQLONG Version, Options, RequestedEncoding, RequestedCCSID, ReturnedEncoding, ReturnedCCSID, Reserved1;
    MQCHARV ReturnedName;
    MQCHAR8 TypeString;
} MQIMPO, *PMQIMPO;
#define MQIMPO_DEFAULT {'I', 'M', 'P', 'O'}, 1, 0, 0x222, (-3), 0x222, 0, 0, {MQCHARV_DEFAULT}, {0}
typedef struct tagMQPD {
    MQCHAR4 StrucId;
    MQLONG Version, Options, Support, Context, CopyOptions;
} MQPD, *PMQPD;
#define MQPD_DEFAULT {'P', 'D', ' ', ' '}, 1, 0, 1, 0, 0x16

/* Calls. */
void MQENTRY MQCONN(PMQCHAR pQMgrName, PMQHCONN pHconn, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQCONNX(PMQCHAR pQMgrName, PMQCNO pConnectOpts, PMQHCONN pHconn, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQDISC(PMQHCONN pHconn, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQOPEN(MQHCONN Hconn, PMQVOID pObjDesc, MQLONG Options, PMQHOBJ pHobj, PMQLONG pCompCode,
                    PMQLONG pReason);
void MQENTRY MQCLOSE(MQHCONN Hconn, PMQHOBJ pHobj, MQLONG Options, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQPUT(MQHCONN Hconn, MQHOBJ Hobj, PMQVOID pMsgDesc, PMQVOID pPutMsgOpts, MQLONG BufferLength,
                   PMQVOID pBuffer, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQPUT1(MQHCONN Hconn, PMQVOID pObjDesc, PMQVOID pMsgDesc, PMQVOID pPutMsgOpts, MQLONG BufferLength,
                    PMQVOID pBuffer, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQGET(MQHCONN Hconn, MQHOBJ Hobj, PMQVOID pMsgDesc, PMQVOID pGetMsgOpts, MQLONG BufferLength,
                   PMQVOID pBuffer, PMQLONG pDataLength, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQBEGIN(MQHCONN Hconn, PMQVOID pBeginOptions, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQCMIT(MQHCONN Hconn, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQBACK(MQHCONN Hconn, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQINQ(MQHCONN Hconn, MQHOBJ Hobj, MQLONG SelectorCount, PMQLONG pSelectors, MQLONG IntAttrCount,
                   PMQLONG pIntAttrs, MQLONG CharAttrLength, PMQCHAR pCharAttrs, PMQLONG pCompCode,
                   PMQLONG pReason);
void MQENTRY MQSET(MQHCONN Hconn, MQHOBJ Hobj, MQLONG SelectorCount, PMQLONG pSelectors, MQLONG IntAttrCount,
                   PMQLONG pIntAttrs, MQLONG CharAttrLength, PMQCHAR pCharAttrs, PMQLONG pCompCode,
                   PMQLONG pReason);
void MQENTRY MQSUB(MQHCONN Hconn, PMQVOID pSubDesc, PMQHOBJ pHobj, PMQHOBJ pHsub, PMQLONG pCompCode,
                   PMQLONG pReason);
void MQENTRY MQCRTMH(MQHCONN Hconn, PMQVOID pCrtMsgHOpts, PMQHMSG pHmsg, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQSETMP(MQHCONN Hconn, MQHMSG Hmsg, PMQVOID pSetPropOpts, PMQVOID pName, PMQVOID pPropDesc, MQLONG Type,
                     MQLONG ValueLength, PMQVOID pValue, PMQLONG pCompCode, PMQLONG pReason);
void MQENTRY MQINQMP(MQHCONN Hconn, MQHMSG Hmsg, PMQVOID pInqPropOpts, PMQVOID pName, PMQVOID pPropDesc, PMQLONG pType,
                     MQLONG ValueLength, PMQVOID pValue, PMQLONG pDataLength, PMQLONG pCompCode, PMQLONG pReason);

#ifdef __cplusplus
}
#endif
#endif
