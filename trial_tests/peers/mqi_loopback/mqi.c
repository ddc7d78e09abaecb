/* The client library of mqi_loopback: the Message Queue Interface, each call of which becomes one request to the queue
   manager (qmgr.py) over a Unix socket. `qmgr.py` describes the format of requests and replies.

   A conname `host(port)` stands for the socket `$MQI_LOOPBACK_DIR/<port>.sock`. A handle belongs to the thread that
   made it, unless MQCNO_HANDLE_SHARE_BLOCK or MQCNO_HANDLE_SHARE_NO_BLOCK says otherwise, as with IBM's client. A call
   returns when the queue manager has answered, however long that takes. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmqc.h"
#include "cmqxc.h"
#include "cmqcfc.h"
#include "cmqbc.h"

#define MAX_CONNECTIONS 4096
#define MAX_CONNAMES 16
#define REPLY_HEAD 8 /* completion code and reason */

enum { OP_CONN = 1, OP_DISC, OP_OPEN, OP_CLOSE, OP_PUT, OP_PUT1, OP_GET, OP_CMIT, OP_BACK, OP_INQ, OP_SET };

const char *mqi_loopback_version = "1"; /* tells this library from IBM's */

typedef struct {
    char *data;
    size_t size, capacity;
} Buffer;

typedef struct {
    pthread_mutex_t lock;
    pthread_t owner;
    MQLONG share;
    int socket; /* -1: the connection is broken */
    Buffer request, reply;
} Connection;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static Connection *table[MAX_CONNECTIONS]; /* the handle is the index plus one */

/* Buffers. An allocation that fails ends the process, as nothing useful can follow. */

static void reserve(Buffer *buffer, size_t capacity) {
    if (capacity <= buffer->capacity)
        return;
    buffer->capacity = capacity * 2;
    buffer->data = realloc(buffer->data, buffer->capacity);
    if (!buffer->data)
        abort();
}

static void append(Buffer *buffer, const void *data, size_t size) {
    reserve(buffer, buffer->size + size);
    if (size)
        memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
}

static void append_long(Buffer *buffer, MQLONG value) { append(buffer, &value, sizeof value); }

static void append_sized(Buffer *buffer, const void *data, MQLONG size) {
    append_long(buffer, size);
    append(buffer, data, (size_t)size);
}

static void begin(Buffer *buffer, uint8_t operation) {
    buffer->size = 0;
    append_long(buffer, 0); /* the length of the request, see `exchange` */
    append(buffer, &operation, 1);
}

/* Sockets. */

static int send_all(int socket, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(socket, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return 0;
        data += sent;
        size -= (size_t)sent;
    }
    return 1;
}

static int receive_all(int socket, char *data, size_t size) {
    while (size) {
        ssize_t received = recv(socket, data, size, 0);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return 0;
        data += received;
        size -= (size_t)received;
    }
    return 1;
}

static int connect_port(int port) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *directory = getenv("MQI_LOOPBACK_DIR");
    int descriptor;
    if (!directory || snprintf(address.sun_path, sizeof address.sun_path, "%s/%d.sock", directory, port) >=
                          (int)sizeof address.sun_path)
        return -1;
    descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor >= 0 && connect(descriptor, (struct sockaddr *)&address, sizeof address)) {
        close(descriptor);
        return -1;
    }
    return descriptor;
}

static void fail(PMQLONG completion, PMQLONG reason, MQLONG code) {
    *completion = MQCC_FAILED;
    *reason = code;
}

/* Send the request, and receive its reply. Returns the reply behind its head and its size; NULL: the connection is
   broken, or the call failed without a reply of its own. */
static char *exchange(Connection *connection, size_t *size, PMQLONG completion, PMQLONG reason) {
    MQLONG length = (MQLONG)(connection->request.size - sizeof(MQLONG));
    int well = connection->socket >= 0;
    memcpy(connection->request.data, &length, sizeof length);
    well = well && send_all(connection->socket, connection->request.data, connection->request.size);
    well = well && receive_all(connection->socket, (char *)&length, sizeof length) && length >= REPLY_HEAD;
    if (well) {
        reserve(&connection->reply, (size_t)length);
        well = receive_all(connection->socket, connection->reply.data, (size_t)length);
    }
    if (!well) {
        if (connection->socket >= 0)
            close(connection->socket);
        connection->socket = -1;
        fail(completion, reason, MQRC_CONNECTION_BROKEN);
        return NULL;
    }
    memcpy(completion, connection->reply.data, sizeof *completion);
    memcpy(reason, connection->reply.data + sizeof *completion, sizeof *reason);
    *size = (size_t)length - REPLY_HEAD;
    return connection->reply.data + REPLY_HEAD;
}

/* Handles. */

static Connection *acquire(MQHCONN handle, PMQLONG completion, PMQLONG reason) {
    Connection *connection = NULL;
    pthread_mutex_lock(&table_lock);
    if (handle > 0 && handle <= MAX_CONNECTIONS)
        connection = table[handle - 1];
    pthread_mutex_unlock(&table_lock);
    if (!connection || (connection->share == MQCNO_HANDLE_SHARE_NONE &&
                        !pthread_equal(connection->owner, pthread_self()))) {
        fail(completion, reason, MQRC_HCONN_ERROR);
        return NULL;
    }
    if (connection->share == MQCNO_HANDLE_SHARE_NO_BLOCK) {
        if (pthread_mutex_trylock(&connection->lock)) {
            fail(completion, reason, MQRC_CALL_IN_PROGRESS);
            return NULL;
        }
    } else
        pthread_mutex_lock(&connection->lock);
    return connection;
}

static void release(Connection *connection) { pthread_mutex_unlock(&connection->lock); }

static void discard(Connection *connection) {
    if (connection->socket >= 0)
        close(connection->socket);
    free(connection->request.data);
    free(connection->reply.data);
    pthread_mutex_destroy(&connection->lock);
    free(connection);
}

static MQHCONN store(Connection *connection) {
    int index;
    pthread_mutex_lock(&table_lock);
    for (index = 0; index < MAX_CONNECTIONS && table[index]; index++)
        ;
    if (index < MAX_CONNECTIONS)
        table[index] = connection;
    pthread_mutex_unlock(&table_lock);
    return index < MAX_CONNECTIONS ? index + 1 : MQHC_UNUSABLE_HCONN;
}

/* MQCONN, MQCONNX, MQDISC. */

/* The ports of 'host(port),host(port)'; returns how many there are. */
static int parse_connames(const char *text, size_t size, int *ports) {
    char copy[sizeof(MQCHAR264) + 1] = {0}, *rest = copy, *name;
    int count = 0;
    memcpy(copy, text, size < sizeof(MQCHAR264) ? size : sizeof(MQCHAR264));
    while (count < MAX_CONNAMES && (name = strsep(&rest, ","))) {
        const char *bracket = strchr(name, '(');
        if (strspn(name, " ") < strlen(name))
            ports[count++] = bracket ? atoi(bracket + 1) : 1414;
    }
    return count;
}

static int key_repository_exists(const MQSCO *sco) {
    char path[sizeof(MQCHAR256) + 5] = {0};
    size_t length;
    memcpy(path, sco->KeyRepository, sizeof(MQCHAR256));
    for (length = strlen(path); length && path[length - 1] == ' '; length--)
        path[length - 1] = 0;
    strcat(path, ".kdb");
    return length && access(path, R_OK) == 0;
}

static void append_padded(Buffer *buffer, const char *text, size_t size) {
    MQCHAR64 padded = {0};
    if (text)
        strncpy(padded, text, size);
    append(buffer, padded, size);
}

static void append_credentials(Buffer *buffer, const MQCNO *options) {
    const MQCSP *csp = options->Version >= MQCNO_VERSION_5 ? options->SecurityParmsPtr : NULL;
    if (csp && csp->AuthenticationType == MQCSP_AUTH_USER_ID_AND_PWD) {
        append_sized(buffer, csp->CSPUserIdPtr, csp->CSPUserIdLength);
        append_sized(buffer, csp->CSPPasswordPtr, csp->CSPPasswordLength);
    } else {
        append_long(buffer, 0);
        append_long(buffer, 0);
    }
}

static int split_mqserver(MQCD *channel) { /* MQSERVER=CHANNEL/TCP/host(port) */
    const char *server = getenv("MQSERVER"), *slash = server ? strchr(server, '/') : NULL, *name;
    if (!slash || !(name = strchr(slash + 1, '/')))
        return 0;
    memset(channel, 0, sizeof *channel);
    memcpy(channel->ChannelName, server, (size_t)(slash - server) < 20 ? (size_t)(slash - server) : 20);
    memcpy(channel->ConnectionName, name + 1, strnlen(name + 1, sizeof channel->ConnectionName));
    return 1;
}

void MQCONNX(PMQCHAR name, PMQCNO options, PMQHCONN handle, PMQLONG completion, PMQLONG reason) {
    static const MQLONG sharing =
        MQCNO_HANDLE_SHARE_NONE | MQCNO_HANDLE_SHARE_BLOCK | MQCNO_HANDLE_SHARE_NO_BLOCK;
    MQCD from_environment, *channel = options->Version >= MQCNO_VERSION_2 ? options->ClientConnPtr : NULL;
    int ports[MAX_CONNAMES], count, index, uses_tls;
    Connection *connection;
    size_t size;
    *handle = MQHC_UNUSABLE_HCONN;
    if (!channel && split_mqserver(&from_environment))
        channel = &from_environment;
    if (!channel) {
        fail(completion, reason, MQRC_CD_ERROR);
        return;
    }
    uses_tls = channel->Version >= MQCD_VERSION_7 && channel->SSLCipherSpec[0] && channel->SSLCipherSpec[0] != ' ';
    if (uses_tls && !(options->SSLConfigPtr && key_repository_exists(options->SSLConfigPtr))) {
        fail(completion, reason, MQRC_KEY_REPOSITORY_ERROR);
        return;
    }
    connection = calloc(1, sizeof *connection);
    if (!connection) {
        fail(completion, reason, MQRC_STORAGE_NOT_AVAILABLE);
        return;
    }
    pthread_mutex_init(&connection->lock, NULL);
    connection->owner = pthread_self();
    connection->share = options->Options & sharing ? options->Options & sharing : MQCNO_HANDLE_SHARE_NONE;
    connection->socket = -1;
    begin(&connection->request, OP_CONN);
    append_padded(&connection->request, name, sizeof(MQCHAR48));
    append_long(&connection->request, options->Options);
    append(&connection->request, channel->ChannelName, sizeof channel->ChannelName);
    if (uses_tls)
        append(&connection->request, channel->SSLCipherSpec, sizeof channel->SSLCipherSpec);
    else
        append_padded(&connection->request, "", sizeof channel->SSLCipherSpec);
    append_credentials(&connection->request, options);
    fail(completion, reason, MQRC_HOST_NOT_AVAILABLE);
    count = parse_connames(channel->ConnectionName, sizeof channel->ConnectionName, ports);
    for (index = 0; index < count && *handle == MQHC_UNUSABLE_HCONN; index++) {
        connection->socket = connect_port(ports[index]);
        if (connection->socket >= 0 && exchange(connection, &size, completion, reason) &&
            *completion != MQCC_FAILED)
            *handle = store(connection);
        else if (connection->socket >= 0) {
            close(connection->socket);
            connection->socket = -1;
        }
    }
    if (*handle == MQHC_UNUSABLE_HCONN)
        discard(connection);
}

void MQCONN(PMQCHAR name, PMQHCONN handle, PMQLONG completion, PMQLONG reason) {
    MQCNO options = {MQCNO_DEFAULT};
    MQCONNX(name, &options, handle, completion, reason);
}

void MQDISC(PMQHCONN handle, PMQLONG completion, PMQLONG reason) {
    size_t size;
    Connection *connection = acquire(*handle, completion, reason);
    if (!connection)
        return;
    begin(&connection->request, OP_DISC);
    exchange(connection, &size, completion, reason);
    pthread_mutex_lock(&table_lock);
    table[*handle - 1] = NULL;
    pthread_mutex_unlock(&table_lock);
    release(connection);
    discard(connection);
    *handle = MQHC_UNUSABLE_HCONN;
}

/* Objects. */

void MQOPEN(MQHCONN handle, PMQVOID descriptor, MQLONG options, PMQHOBJ object, PMQLONG completion, PMQLONG reason) {
    size_t size;
    char *reply;
    Connection *connection = acquire(handle, completion, reason);
    *object = MQHO_UNUSABLE_HOBJ;
    if (!connection)
        return;
    begin(&connection->request, OP_OPEN);
    append_long(&connection->request, options);
    append(&connection->request, descriptor, MQOD_LENGTH_1);
    reply = exchange(connection, &size, completion, reason);
    if (reply && size == sizeof *object + MQOD_LENGTH_1) {
        memcpy(object, reply, sizeof *object);
        memcpy(descriptor, reply + sizeof *object, MQOD_LENGTH_1);
    }
    release(connection);
}

void MQCLOSE(MQHCONN handle, PMQHOBJ object, MQLONG options, PMQLONG completion, PMQLONG reason) {
    size_t size;
    Connection *connection = acquire(handle, completion, reason);
    if (!connection)
        return;
    begin(&connection->request, OP_CLOSE);
    append_long(&connection->request, *object);
    append_long(&connection->request, options);
    exchange(connection, &size, completion, reason);
    *object = MQHO_UNUSABLE_HOBJ;
    release(connection);
}

static MQLONG descriptor_length(const MQMD *descriptor) {
    if (memcmp(descriptor->StrucId, "MD  ", 4))
        return 0;
    return descriptor->Version == 1 ? MQMD_LENGTH_1 : descriptor->Version == 2 ? MQMD_LENGTH_2 : 0;
}

static void put(uint8_t operation, MQHCONN handle, MQHOBJ object, PMQVOID target, PMQVOID descriptor, PMQVOID options,
                MQLONG length, PMQVOID data, PMQLONG completion, PMQLONG reason) {
    size_t size;
    char *reply;
    MQLONG described = descriptor_length(descriptor);
    Connection *connection = acquire(handle, completion, reason);
    if (!connection)
        return;
    if (!described || memcmp(options, "PMO ", 4) || (target && memcmp(target, "OD  ", 4))) {
        fail(completion, reason, !described ? MQRC_MD_ERROR : target ? MQRC_OD_ERROR : MQRC_PMO_ERROR);
        release(connection);
        return;
    }
    begin(&connection->request, operation);
    if (target)
        append(&connection->request, target, MQOD_LENGTH_1);
    else
        append_long(&connection->request, object);
    append_sized(&connection->request, descriptor, described);
    append(&connection->request, options, MQPMO_LENGTH_1);
    append_sized(&connection->request, data, length);
    reply = exchange(connection, &size, completion, reason);
    if (reply && size == (size_t)described + MQPMO_LENGTH_1) {
        memcpy(descriptor, reply, (size_t)described);
        memcpy(options, reply + described, MQPMO_LENGTH_1);
    }
    release(connection);
}

void MQPUT(MQHCONN handle, MQHOBJ object, PMQVOID descriptor, PMQVOID options, MQLONG length, PMQVOID data,
           PMQLONG completion, PMQLONG reason) {
    put(OP_PUT, handle, object, NULL, descriptor, options, length, data, completion, reason);
}

void MQPUT1(MQHCONN handle, PMQVOID target, PMQVOID descriptor, PMQVOID options, MQLONG length, PMQVOID data,
            PMQLONG completion, PMQLONG reason) {
    put(OP_PUT1, handle, MQHO_NONE, target, descriptor, options, length, data, completion, reason);
}

static MQLONG options_length(const MQGMO *options) {
    static const MQLONG lengths[] = {0, 72, 80, 100, 112};
    if (memcmp(options->StrucId, "GMO ", 4) || options->Version < 1 || options->Version > 4)
        return 0;
    return lengths[options->Version];
}

void MQGET(MQHCONN handle, MQHOBJ object, PMQVOID descriptor, PMQVOID options, MQLONG capacity, PMQVOID data,
           PMQLONG length, PMQLONG completion, PMQLONG reason) {
    size_t size, head;
    char *reply;
    MQLONG described = descriptor_length(descriptor), optioned = options_length(options);
    Connection *connection = acquire(handle, completion, reason);
    *length = 0;
    if (!connection)
        return;
    if (!described || !optioned) {
        fail(completion, reason, described ? MQRC_GMO_ERROR : MQRC_MD_ERROR);
        release(connection);
        return;
    }
    begin(&connection->request, OP_GET);
    append_long(&connection->request, object);
    append_long(&connection->request, capacity);
    append_sized(&connection->request, descriptor, described);
    append_sized(&connection->request, options, optioned);
    reply = exchange(connection, &size, completion, reason);
    head = (size_t)described + (size_t)optioned + sizeof *length;
    if (reply && size >= head && size - head <= (size_t)capacity) {
        memcpy(descriptor, reply, (size_t)described);
        memcpy(options, reply + described, (size_t)optioned);
        memcpy(length, reply + described + optioned, sizeof *length);
        memcpy(data, reply + head, size - head);
    }
    release(connection);
}

void MQINQ(MQHCONN handle, MQHOBJ object, MQLONG count, PMQLONG selectors, MQLONG integer_count, PMQLONG integers,
           MQLONG text_length, PMQCHAR text, PMQLONG completion, PMQLONG reason) {
    size_t size, expected = (size_t)integer_count * sizeof(MQLONG) + (size_t)text_length;
    char *reply;
    Connection *connection = acquire(handle, completion, reason);
    if (!connection)
        return;
    begin(&connection->request, OP_INQ);
    append_long(&connection->request, object);
    append_long(&connection->request, integer_count);
    append_long(&connection->request, text_length);
    append_sized(&connection->request, selectors, count * (MQLONG)sizeof(MQLONG));
    reply = exchange(connection, &size, completion, reason);
    if (reply && size == expected) {
        memcpy(integers, reply, (size_t)integer_count * sizeof(MQLONG));
        if (text_length)
            memcpy(text, reply + (size_t)integer_count * sizeof(MQLONG), (size_t)text_length);
    }
    release(connection);
}

void MQSET(MQHCONN handle, MQHOBJ object, MQLONG count, PMQLONG selectors, MQLONG integer_count, PMQLONG integers,
           MQLONG text_length, PMQCHAR text, PMQLONG completion, PMQLONG reason) {
    size_t size;
    Connection *connection = acquire(handle, completion, reason);
    if (!connection)
        return;
    begin(&connection->request, OP_SET);
    append_long(&connection->request, object);
    append_sized(&connection->request, selectors, count * (MQLONG)sizeof(MQLONG));
    append_sized(&connection->request, integers, integer_count * (MQLONG)sizeof(MQLONG));
    append_sized(&connection->request, text, text_length);
    exchange(connection, &size, completion, reason);
    release(connection);
}

/* Units of work. */

static void end_unit(uint8_t operation, MQHCONN handle, PMQLONG completion, PMQLONG reason) {
    size_t size;
    Connection *connection = acquire(handle, completion, reason);
    if (!connection)
        return;
    begin(&connection->request, operation);
    exchange(connection, &size, completion, reason);
    release(connection);
}

void MQCMIT(MQHCONN handle, PMQLONG completion, PMQLONG reason) { end_unit(OP_CMIT, handle, completion, reason); }

void MQBACK(MQHCONN handle, PMQLONG completion, PMQLONG reason) { end_unit(OP_BACK, handle, completion, reason); }

void MQBEGIN(MQHCONN handle, PMQVOID options, PMQLONG completion, PMQLONG reason) {
    (void)handle, (void)options;
    fail(completion, reason, MQRC_ENVIRONMENT_ERROR); /* a client has no global units of work */
}

/* What this queue manager does not have. */

#define NOT_SUPPORTED fail(completion, reason, MQRC_FUNCTION_NOT_SUPPORTED)

void MQSUB(MQHCONN a, PMQVOID b, PMQHOBJ c, PMQHOBJ d, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c;
    *d = MQHO_UNUSABLE_HOBJ;
    NOT_SUPPORTED;
}

void MQCRTMH(MQHCONN a, PMQVOID b, PMQHMSG c, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b;
    *c = MQHM_UNUSABLE_HMSG;
    NOT_SUPPORTED;
}

void MQSETMP(MQHCONN a, MQHMSG b, PMQVOID c, PMQVOID d, PMQVOID e, MQLONG f, MQLONG g, PMQVOID h, PMQLONG completion,
             PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    NOT_SUPPORTED;
}

void MQINQMP(MQHCONN a, MQHMSG b, PMQVOID c, PMQVOID d, PMQVOID e, PMQLONG f, MQLONG g, PMQVOID h, PMQLONG length,
             PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)g, (void)h;
    *f = MQTYPE_NULL;
    *length = 0;
    NOT_SUPPORTED;
}

void mqAddByteString(MQHBAG a, MQLONG b, MQLONG c, PMQBYTE d, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d;
    NOT_SUPPORTED;
}

void mqAddInquiry(MQHBAG a, MQLONG b, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b;
    NOT_SUPPORTED;
}

void mqAddInteger(MQHBAG a, MQLONG b, MQLONG c, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c;
    NOT_SUPPORTED;
}

void mqAddIntegerFilter(MQHBAG a, MQLONG b, MQLONG c, MQLONG d, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d;
    NOT_SUPPORTED;
}

void mqAddString(MQHBAG a, MQLONG b, MQLONG c, PMQCHAR d, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d;
    NOT_SUPPORTED;
}

void mqAddStringFilter(MQHBAG a, MQLONG b, MQLONG c, PMQCHAR d, MQLONG e, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e;
    NOT_SUPPORTED;
}

void mqCountItems(MQHBAG a, MQLONG b, PMQLONG count, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b;
    *count = 0;
    NOT_SUPPORTED;
}

void mqCreateBag(MQLONG a, PMQHBAG bag, PMQLONG completion, PMQLONG reason) {
    (void)a;
    *bag = MQHB_UNUSABLE_HBAG;
    NOT_SUPPORTED;
}

void mqDeleteBag(PMQHBAG bag, PMQLONG completion, PMQLONG reason) {
    *bag = MQHB_UNUSABLE_HBAG;
    NOT_SUPPORTED;
}

void mqExecute(MQHCONN a, MQLONG b, MQHBAG c, MQHBAG d, MQHBAG e, MQHOBJ f, MQHOBJ g, PMQLONG completion,
               PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g;
    NOT_SUPPORTED;
}

void mqInquireBag(MQHBAG a, MQLONG b, MQLONG c, PMQHBAG bag, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c;
    *bag = MQHB_UNUSABLE_HBAG;
    NOT_SUPPORTED;
}

void mqInquireByteString(MQHBAG a, MQLONG b, MQLONG c, MQLONG d, PMQBYTE e, PMQLONG length, PMQLONG completion,
                         PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e;
    *length = 0;
    NOT_SUPPORTED;
}

void mqInquireInteger(MQHBAG a, MQLONG b, MQLONG c, PMQLONG value, PMQLONG completion, PMQLONG reason) {
    (void)a, (void)b, (void)c;
    *value = 0;
    NOT_SUPPORTED;
}

void mqInquireItemInfo(MQHBAG a, MQLONG b, MQLONG c, PMQLONG selector, PMQLONG type, PMQLONG completion,
                       PMQLONG reason) {
    (void)a, (void)b, (void)c;
    *selector = *type = 0;
    NOT_SUPPORTED;
}

void mqInquireString(MQHBAG a, MQLONG b, MQLONG c, MQLONG d, PMQCHAR e, PMQLONG length, PMQLONG f, PMQLONG completion,
                     PMQLONG reason) {
    (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
    *length = 0;
    NOT_SUPPORTED;
}
