/* Constants of programmable command formats that MQI clients in C use. */
#ifndef MQI_LOOPBACK_CMQCFC_H
#define MQI_LOOPBACK_CMQCFC_H

#define MQRCCF_COMMAND_FAILED 3008
#define MQIACF_Q_ATTRS 1002

#endif
