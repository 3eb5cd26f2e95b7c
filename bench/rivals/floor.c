/*
 * The least that a TCP proxy on io_uring asks of the kernel, so that real proxies can be read
 * against it.
 *
 *     floor LISTEN_PORT SERVER_PORT[-LAST] THREADS [single|multi]
 *
 * A client of 127.0.0.1:LISTEN_PORT is joined with 127.0.0.1:SERVER_PORT (servers in turns);
 * `single` asks for each receive anew, `multi` receives until it is told otherwise.
 *
 * It is no gateway. There are no limits (a client too many is lost), no timeouts, no counts, no
 * drain, no balance, no log; whatever goes wrong ends the connection, and a reset arrives as any
 * end; a ring's connections share its buffers, and stand still where all wait for a side that does
 * not read (`multi` takes as many as there are, `single` one for each direction); bytes are copied,
 * never spliced. An orderly end is kept: FIN stays FIN, and each direction ends by itself.
 *
 * Each thread has a listener, a ring and connections of its own. Sockets lie in the ring's table of
 * files: a client in a slot of the lower half, its server in the same place of the upper half.
 * Needs Linux 6.7, and no newer headers than those of 6.1: what these lack is written as a number.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 4096,
    CQ_ENTRIES = 16384,
    BACKLOG = 65535,
    MOST_SLOTS = 19000,
    BUFFERS = 1024,
    BUFFER_BYTES = 16384,
    NONE = BUFFERS,
    SOCKET_SETSOCKOPT = 3, /* SOCKET_URING_OP_SETSOCKOPT, Linux 6.7 */
};

/* What a completion is of. QUIET ones and OPTION complete only when they fail. */
enum op { QUIET, OPTION, ACCEPT, CONNECT, RECEIVE, SEND, WRITABLE, SHUTDOWN, CANCEL };

/* One direction of a connection: lane 0 receives from the client, lane 1 from the server. */
struct lane {
    unsigned short first, last; /* received and not yet sent, in order; NONE: nothing */
    unsigned sent;              /* bytes of the first */
    bool receiving, sending;    /* sending: a send is in flight, or what follows: */
    bool waiting;               /* for the socket to be WRITABLE */
    bool ended, shut;           /* FIN received; and passed on, after all bytes */
};

struct conn {
    struct lane lanes[2];
    unsigned pending; /* operations that still complete, and lanes that wait for a buffer */
    bool connecting, closing;
};

struct worker {
    int ring, listener;
    unsigned *sq_tail, *cq_head, *cq_tail, tail, queued, next_server;
    bool accepting;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
    struct io_uring_buf_ring *pool;
    unsigned char *bytes;
    unsigned short pool_tail, next[BUFFERS];
    unsigned length[BUFFERS], held; /* held: buffers that are not in the pool */
    struct conn conns[MOST_SLOTS / 2];
    /* Lanes that found no buffer: (conn, lane), first come first served. */
    unsigned hungry[MOST_SLOTS], hungry_first, hungry_count;
};

static struct sockaddr_in address, servers[256];
static unsigned server_count, half;
static bool multi;
static const int ON = 1;

static void check(bool is_good, const char *what)
{
    if (!is_good) {
        fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

/* The ring. */

static void enter(struct worker *w, unsigned want, unsigned flags)
{
    __atomic_store_n(w->sq_tail, w->tail, __ATOMIC_RELEASE);
    flags |= IORING_ENTER_REGISTERED_RING;
    int done = syscall(__NR_io_uring_enter, w->ring, w->queued, want, flags, NULL, 0);
    check(done >= 0 || errno == EINTR || errno == EAGAIN || errno == EBUSY, "io_uring_enter");
    w->queued -= done > 0 ? done : 0;
}

static struct io_uring_sqe *
operation(struct worker *w, int opcode, int fd, enum op op, unsigned index, unsigned lane)
{
    while (w->queued == SQ_ENTRIES)
        enter(w, 0, 0);
    struct io_uring_sqe *sqe = &w->sqes[w->tail++ % SQ_ENTRIES];
    w->queued++;
    memset(sqe, 0, sizeof *sqe);
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->user_data = (unsigned long long)index << 8 | lane << 4 | op;
    if (op <= OPTION)
        sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
    else if (op != ACCEPT)
        w->conns[index].pending++;
    return sqe;
}

/* On the socket that a lane receives from (side = lane) or sends to (side = !lane). */
static struct io_uring_sqe *
on_socket(struct worker *w, int opcode, unsigned side, enum op op, unsigned index, unsigned lane)
{
    struct io_uring_sqe *sqe = operation(w, opcode, index + side * half, op, index, lane);
    sqe->flags |= IOSQE_FIXED_FILE;
    return sqe;
}

static void give_back(struct worker *w, unsigned short id)
{
    struct io_uring_buf *buffer = &w->pool->bufs[w->pool_tail % BUFFERS];
    buffer->addr = (unsigned long)(w->bytes + (size_t)id * BUFFER_BYTES);
    buffer->len = BUFFER_BYTES;
    buffer->bid = id;
    __atomic_store_n(&w->pool->tail, ++w->pool_tail, __ATOMIC_RELEASE);
    w->held--;
}

/* Connections. */

static void accept_clients(struct worker *w)
{
    struct io_uring_sqe *sqe = operation(w, IORING_OP_ACCEPT, w->listener, ACCEPT, 0, 0);
    sqe->ioprio = IORING_ACCEPT_MULTISHOT;
    sqe->file_index = IORING_FILE_INDEX_ALLOC;
    w->accepting = true;
}

/* These three run in their order while they are submitted; without a socket, CONNECT fails. */
static void open_server(struct worker *w, unsigned index)
{
    struct conn *conn = &w->conns[index];
    memset(conn, 0, sizeof *conn);
    conn->lanes[0].first = conn->lanes[1].first = NONE;
    struct io_uring_sqe *sqe = operation(w, IORING_OP_SOCKET, AF_INET, QUIET, 0, 0);
    sqe->off = SOCK_STREAM;
    sqe->file_index = index + half + 1;
    sqe = on_socket(w, IORING_OP_URING_CMD, 1, OPTION, index, 0);
    sqe->cmd_op = SOCKET_SETSOCKOPT;
    sqe->addr = (unsigned long long)TCP_NODELAY << 32 | IPPROTO_TCP; /* optname, level */
    sqe->splice_fd_in = sizeof ON;                                   /* optlen */
    sqe->addr3 = (unsigned long)&ON;                                 /* optval */
    sqe = on_socket(w, IORING_OP_CONNECT, 1, CONNECT, index, 0);
    sqe->addr = (unsigned long)&servers[w->next_server++ % server_count];
    sqe->off = sizeof servers[0];
    conn->connecting = true;
}

static void receive(struct worker *w, unsigned index, unsigned lane)
{
    struct io_uring_sqe *sqe = on_socket(w, IORING_OP_RECV, lane, RECEIVE, index, lane);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->ioprio = multi ? IORING_RECV_MULTISHOT : 0;
    w->conns[index].lanes[lane].receiving = true;
}

static void send_first(struct worker *w, unsigned index, unsigned lane)
{
    struct lane *one = &w->conns[index].lanes[lane];
    struct io_uring_sqe *sqe = on_socket(w, IORING_OP_SEND, !lane, SEND, index, lane);
    sqe->addr = (unsigned long)(w->bytes + (size_t)one->first * BUFFER_BYTES + one->sent);
    sqe->len = w->length[one->first] - one->sent;
    sqe->msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    one->sending = true;
}

static void cancel(struct worker *w, enum op op, unsigned index, unsigned lane)
{
    struct io_uring_sqe *sqe = operation(w, IORING_OP_ASYNC_CANCEL, -1, CANCEL, index, lane);
    sqe->addr = (unsigned long long)index << 8 | lane << 4 | op;
}

/* From now on nothing is begun; what still waits is cancelled. */
static void end(struct worker *w, unsigned index)
{
    struct conn *conn = &w->conns[index];
    if (conn->closing)
        return;
    conn->closing = true;
    if (conn->connecting)
        cancel(w, CONNECT, index, 0);
    for (unsigned lane = 0; lane < 2; lane++) {
        if (conn->lanes[lane].receiving)
            cancel(w, RECEIVE, index, lane);
        if (conn->lanes[lane].waiting)
            cancel(w, WRITABLE, index, lane);
    }
}

/*
 * Of a connection that is closing. What nobody sends any more goes back at once, as lanes that wait
 * for a buffer keep it from being closed; it is when nothing is in flight. The server's slot goes
 * first: the client's is then free for the next.
 */
static void clear(struct worker *w, unsigned index)
{
    struct conn *conn = &w->conns[index];
    for (unsigned lane = 0; lane < 2; lane++) {
        struct lane *one = &conn->lanes[lane];
        for (; one->first != NONE && !one->sending; one->first = w->next[one->first])
            give_back(w, one->first);
    }
    if (conn->pending > 0)
        return;
    operation(w, IORING_OP_CLOSE, 0, QUIET, 0, 0)->file_index = index + half + 1;
    operation(w, IORING_OP_CLOSE, 0, QUIET, 0, 0)->file_index = index + 1;
    if (!w->accepting)
        accept_clients(w);
}

/* A lane has ended and everything is sent. */
static void pass_end_on(struct worker *w, unsigned index, unsigned lane)
{
    w->conns[index].lanes[lane].shut = true;
    if (w->conns[index].lanes[!lane].shut)
        end(w, index);
    else
        on_socket(w, IORING_OP_SHUTDOWN, !lane, SHUTDOWN, index, lane)->len = SHUT_WR;
}

/* Completions. */

static void received(struct worker *w, unsigned index, unsigned lane, int bytes, unsigned flags)
{
    struct conn *conn = &w->conns[index];
    struct lane *one = &conn->lanes[lane];
    one->receiving = flags & IORING_CQE_F_MORE;
    unsigned short id = flags >> IORING_CQE_BUFFER_SHIFT;
    if (flags & IORING_CQE_F_BUFFER) {
        w->held++;
        if (bytes <= 0 || conn->closing)
            give_back(w, id);
    }
    if (conn->closing)
        return;
    if (bytes > 0) {
        w->length[id] = bytes;
        w->next[id] = NONE;
        if (one->first == NONE)
            one->first = id;
        else
            w->next[one->last] = id;
        one->last = id;
        if (!one->sending)
            send_first(w, index, lane);
        if (multi && !one->receiving)
            receive(w, index, lane);
    } else if (bytes == 0) {
        one->ended = true;
        if (one->first == NONE)
            pass_end_on(w, index, lane);
    } else if (bytes == -ENOBUFS) {
        conn->pending++;
        w->hungry[(w->hungry_first + w->hungry_count++) % MOST_SLOTS] = index << 1 | lane;
    } else {
        end(w, index);
    }
}

static void sent(struct worker *w, unsigned index, unsigned lane, int bytes)
{
    struct lane *one = &w->conns[index].lanes[lane];
    one->sending = false;
    if (w->conns[index].closing)
        return;
    if (bytes < 0 && bytes != -EAGAIN) {
        end(w, index);
        return;
    }
    one->sent += bytes > 0 ? bytes : 0;
    unsigned short id = one->first;
    if (one->sent < w->length[id]) {
        on_socket(w, IORING_OP_POLL_ADD, !lane, WRITABLE, index, lane)->poll32_events = POLLOUT;
        one->sending = one->waiting = true;
        return;
    }
    one->sent = 0;
    one->first = w->next[id];
    give_back(w, id);
    if (one->first != NONE)
        send_first(w, index, lane);
    else if (one->ended)
        pass_end_on(w, index, lane);
    else if (!multi)
        receive(w, index, lane);
}

static void completed(struct worker *w, unsigned long long what, int result, unsigned flags)
{
    enum op op = what & 15;
    unsigned lane = what >> 4 & 1, index = what >> 8;
    struct conn *conn = &w->conns[index];
    errno = -result;
    check(op != OPTION || result == -EBADF, "TCP_NODELAY (needs Linux 6.7)");
    if (op <= OPTION)
        return;
    if (op == ACCEPT) {
        if (result >= 0)
            open_server(w, result);
        w->accepting = flags & IORING_CQE_F_MORE;
        /* A full table loses a client each time: the next close asks again. */
        if (!w->accepting && result != -ENFILE)
            accept_clients(w);
        return;
    }
    if (!(flags & IORING_CQE_F_MORE))
        conn->pending--;
    if (op == RECEIVE) {
        received(w, index, lane, result, flags);
    } else if (op == SEND) {
        sent(w, index, lane, result);
    } else if (op == CONNECT) {
        conn->connecting = false;
        if (result == 0 && !conn->closing) {
            receive(w, index, 0);
            receive(w, index, 1);
        }
    } else if (op == WRITABLE) {
        conn->lanes[lane].sending = conn->lanes[lane].waiting = false;
        if (result > 0 && !conn->closing)
            send_first(w, index, lane);
    }
    if (result < 0 && op != RECEIVE && op != SEND && op != CANCEL)
        end(w, index);
    if (conn->closing)
        clear(w, index);
}

/* As many lanes that found no buffer as there are buffers now; whether more could have one. */
static bool feed(struct worker *w)
{
    unsigned room = BUFFERS - w->held;
    for (; w->hungry_count > 0 && room > 0; room--, w->hungry_count--) {
        unsigned one = w->hungry[w->hungry_first++];
        w->hungry_first %= MOST_SLOTS;
        struct conn *conn = &w->conns[one >> 1];
        conn->pending--;
        if (!conn->closing)
            receive(w, one >> 1, one & 1);
        else
            clear(w, one >> 1);
    }
    return w->hungry_count > 0 && w->held < BUFFERS;
}

/* Start. */

static void *map(int fd, size_t bytes, off_t at)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED | MAP_POPULATE;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, at);
    check(memory != MAP_FAILED, "mmap");
    return memory;
}

static void do_register(int ring, unsigned what, void *argument, unsigned count, const char *name)
{
    check(syscall(__NR_io_uring_register, ring, what, argument, count) >= 0, name);
}

static void set_up_ring(struct worker *w)
{
    struct io_uring_params p = { .cq_entries = CQ_ENTRIES };
    p.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE
        | IORING_SETUP_SUBMIT_ALL;
    int fd = syscall(__NR_io_uring_setup, SQ_ENTRIES, &p);
    check(fd >= 0, "io_uring_setup");
    unsigned char *sq = map(fd, p.sq_off.array + SQ_ENTRIES * 4, IORING_OFF_SQ_RING);
    unsigned char *cq = map(fd, p.cq_off.cqes + CQ_ENTRIES * 16, IORING_OFF_CQ_RING);
    w->sqes = map(fd, SQ_ENTRIES * sizeof *w->sqes, IORING_OFF_SQES);
    w->sq_tail = (unsigned *)(sq + p.sq_off.tail);
    w->cq_head = (unsigned *)(cq + p.cq_off.head);
    w->cq_tail = (unsigned *)(cq + p.cq_off.tail);
    w->cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    for (unsigned i = 0; i < SQ_ENTRIES; i++)
        ((unsigned *)(sq + p.sq_off.array))[i] = i;

    struct io_uring_rsrc_register table = { .nr = half * 2, .flags = IORING_RSRC_REGISTER_SPARSE };
    do_register(fd, IORING_REGISTER_FILES2, &table, sizeof table, "a table of files");
    struct io_uring_file_index_range lower = { .len = half };
    do_register(fd, IORING_REGISTER_FILE_ALLOC_RANGE, &lower, 0, "its lower half");

    w->bytes = map(-1, (size_t)BUFFERS * BUFFER_BYTES, 0);
    w->pool = map(-1, BUFFERS * sizeof(struct io_uring_buf), 0);
    struct io_uring_buf_reg pool = { .ring_addr = (unsigned long)w->pool, .ring_entries = BUFFERS };
    do_register(fd, IORING_REGISTER_PBUF_RING, &pool, 1, "a ring of buffers");
    w->held = BUFFERS;
    for (unsigned id = 0; id < BUFFERS; id++)
        give_back(w, id);

    struct io_uring_rsrc_update own = { .offset = -1U, .data = fd };
    do_register(fd, IORING_REGISTER_RING_FDS, &own, 1, "the ring itself");
    w->ring = own.offset;
}

static struct sockaddr_in loopback(int port)
{
    struct in_addr host = { htonl(INADDR_LOOPBACK) };
    return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = host };
}

static void *run(void *unused)
{
    (void)unused;
    struct worker *w = map(-1, sizeof *w, 0);
    set_up_ring(w);
    w->listener = socket(AF_INET, SOCK_STREAM, 0);
    check(w->listener >= 0, "socket");
    setsockopt(w->listener, SOL_SOCKET, SO_REUSEPORT, &ON, sizeof ON);
    setsockopt(w->listener, IPPROTO_TCP, TCP_NODELAY, &ON, sizeof ON); /* clients inherit it */
    check(bind(w->listener, (struct sockaddr *)&address, sizeof address) == 0, "bind");
    check(listen(w->listener, BACKLOG) == 0, "listen");
    accept_clients(w);
    for (;;) {
        bool more = feed(w);
        enter(w, more ? 0 : 1, IORING_ENTER_GETEVENTS);
        unsigned head = *w->cq_head;
        while (head != __atomic_load_n(w->cq_tail, __ATOMIC_ACQUIRE)) {
            struct io_uring_cqe cqe = w->cqes[head % CQ_ENTRIES];
            __atomic_store_n(w->cq_head, ++head, __ATOMIC_RELEASE);
            completed(w, cqe.user_data, cqe.res, cqe.flags);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    int port = count > 3 ? atoi(arguments[1]) : 0, threads = port ? atoi(arguments[3]) : 0;
    int first = 0, last = 0, ports = port ? sscanf(arguments[2], "%d-%d", &first, &last) : 0;
    last = ports == 1 ? first : last;
    multi = count == 5 && strcmp(arguments[4], "multi") == 0;
    bool is_known = count == 4 || multi || (count == 5 && strcmp(arguments[4], "single") == 0);
    if (!is_known || threads < 1 || first < 1 || last < first || last - first > 255) {
        fprintf(stderr, "floor LISTEN_PORT SERVER_PORT[-LAST] THREADS [single|multi]\n");
        return 2;
    }
    address = loopback(port);
    while (first <= last)
        servers[server_count++] = loopback(first++);
    struct rlimit files;
    check(getrlimit(RLIMIT_NOFILE, &files) == 0, "getrlimit");
    files.rlim_cur = files.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &files) == 0, "setrlimit");
    half = (files.rlim_cur < MOST_SLOTS ? files.rlim_cur : MOST_SLOTS) / 2;
    pthread_t thread;
    while (--threads > 0)
        check(pthread_create(&thread, NULL, run, NULL) == 0, "pthread_create");
    run(NULL);
}
