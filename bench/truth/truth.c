/* The ground-truth server: an OpenAI-compatible endpoint that knows, to the microsecond, when it sent each token.
 *
 * Strategy: one thread, one epoll set, one heap of streams ordered by when their next bytes are due. A stream is a
 * list of steps: step 0 (head and role chunk) goes out when the request has been read, steps 1..n carry the tokens,
 * the last one the finish and usage chunks. A step's instant is computed from the request's arrival, never from the
 * step before it, so lateness does not add up. A step is formatted into the connection's buffer and sent in one
 * send(), or in `--split` pieces; a piece the kernel will not take yet is simply due again a little later.
 * The clock is read just before each send() and kept in memory; the log is written when that is full and at exit,
 * because a write to disk may take longer than many tokens are apart.
 *
 * Usage: truth [--port N] [--ttft-ms X] [--gap-ms X] [--tokens N] [--framing chunked|close|length] [--eol lf|crlf]
 *   [--role-chunk yes|no] [--tokens-per-event N] [--split N] [--usage yes|no] [--jitter-pct X] [--nodelay yes|no]
 *   [--lifeline yes|no] [--log FILE] [--faults SPEC[,SPEC...]]
 * Asked for `"stream":false` it makes the same tokens in the same time and sends them as one document at the end.
 * With `--nodelay no` its connections keep Nagle's algorithm, as TGI's do: what is small waits until the client has
 * acknowledged what went before.
 * SPEC is what happens to every Nth stream:  stall@TOKEN:MS/N  reset@TOKEN/N  cut@TOKEN/N  error@TOKEN/N
 *   garbage@TOKEN/N  status:CODE/N  empty/N.  The first SPEC that applies wins.
 * A stream's number, in the log and for faults (number + 1 divides by N), is its `x-request-id` where that is a decimal
 * of at most 12 digits or ends in one after a hyphen, as a UUID may, else its order of arrival from 0.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000LL
#define PIECE_GAP_NS 200000LL  /* between the pieces of a split event */
#define BLOCKED_NS 1000000LL   /* until a send the kernel refused is tried again */
#define SPIN_NS 60000LL        /* waking up takes about this long: wake early and spin the rest */
#define BURST 32               /* sends between two looks at the sockets, so that arrivals are not starved */
#define OUT_BYTES 4096
#define IN_BYTES_MAX (64 << 20)
#define TOKENS_PER_EVENT_MAX 64
#define SPLIT_MAX 16
#define FAULTS_MAX 16
#define LOG_BYTES (200 << 20)  /* kept in memory; a minute and more at 100,000 events/s */

typedef enum { NONE, STALL, RESET, CUT, ERROR, GARBAGE, STATUS, EMPTY } FaultKind;
static const char *const fault_names[] = {"none", "stall", "reset", "cut", "error", "garbage", "status", "empty", NULL};
typedef struct { FaultKind kind; int token, value, every; } Fault;

typedef enum { CHUNKED, CLOSE, LENGTH } Framing;

static struct {
    int port, tokens, tokens_per_event, split, faults;
    int64_t ttft_ns, gap_ns;
    double jitter;
    Framing framing;
    const char *eol, *log;
    bool role_chunk, usage, nodelay, lifeline;
    Fault fault[FAULTS_MAX];
} opt = {.tokens = 64, .tokens_per_event = 1, .split = 1, .ttft_ns = 200 * NS_PER_MS, .gap_ns = 20 * NS_PER_MS,
         .eol = "\n", .role_chunk = true, .usage = true, .nodelay = true};

typedef struct {
    int fd;       /* -1: hung up, to be freed once the heap holds it no more */
    bool queued;  /* in the heap */
    char *in;
    size_t in_bytes, in_room;
    int64_t read_ns;  /* when the last bytes of the request came */

    bool streaming, close_after;
    bool whole;       /* the answer is asked for as one document, which goes out when its last token is due */
    uint32_t stream;  /* order of arrival */
    int64_t number;   /* the client's name for it */
    int tokens, prompt_tokens, step, last_step;
    Fault fault;

    char out[OUT_BYTES];  /* the step being sent */
    size_t out_bytes, out_sent;
    int piece;
    char *digits;  /* the first token's number in `out` while that holds a whole content event, else NULL */
} Connection;

/* A sent event; or, with token = REQUEST, a stream's arrival: due_ns is its number, sent_ns when it had been read. */
typedef struct { int64_t due_ns, sent_ns; uint32_t stream; int32_t token; } Record;
enum { REQUEST = -1 };

static uint64_t tokens_total, requests_total;
static uint32_t streams;
static int running, epoll_fd;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

/* --- the log ------------------------------------------------------------------------------------------------------ */

static FILE *log_file;
static char log_memory[LOG_BYTES];

static void log_open(void) {
    if (!opt.log) return;
    if (!(log_file = fopen(opt.log, "w"))) die("cannot write %s: %m", opt.log);
    setvbuf(log_file, log_memory, _IOFBF, sizeof log_memory);
}

static void log_add(Record record) {
    if (log_file && fwrite_unlocked(&record, sizeof record, 1, log_file) != 1) die("cannot write %s: %m", opt.log);
}

static void log_close(void) {
    if (log_file && fclose(log_file)) die("cannot write %s: %m", opt.log);
}

/* --- the heap: which connection is due next ----------------------------------------------------------------------- */

typedef struct { int64_t due_ns; Connection *c; } Due;
static Due *heap;
static size_t heap_size, heap_room;

static void heap_push(Connection *c, int64_t due_ns) {
    if (heap_size == heap_room) {
        heap_room = heap_room ? 2 * heap_room : 1024;
        if (!(heap = realloc(heap, heap_room * sizeof *heap))) die("out of memory");
    }
    size_t i = heap_size++;
    for (size_t up; i && heap[up = (i - 1) / 2].due_ns > due_ns; i = up) heap[i] = heap[up];
    heap[i] = (Due){due_ns, c};
    c->queued = true;
}

static Connection *heap_pop(void) {
    Connection *first = heap[0].c;
    Due last = heap[--heap_size];
    size_t i = 0;
    for (size_t down; (down = 2 * i + 1) < heap_size; i = down) {
        if (down + 1 < heap_size && heap[down + 1].due_ns < heap[down].due_ns) down++;
        if (heap[down].due_ns >= last.due_ns) break;
        heap[i] = heap[down];
    }
    heap[i] = last;
    first->queued = false;
    return first;
}

/* --- what a step says --------------------------------------------------------------------------------------------- */

static void put(Connection *c, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(c->out + c->out_bytes, OUT_BYTES - c->out_bytes, format, args);
    va_end(args);
    if (n < 0 || c->out_bytes + n >= OUT_BYTES) die("a step does not fit %d bytes", OUT_BYTES);
    c->out_bytes += n;
}

/* One SSE event, an HTTP chunk of its own when the framing is chunked. */
static void put_event(Connection *c, const char *data) {
    if (opt.framing == CHUNKED) put(c, "%zx\r\n", strlen("data: ") + strlen(data) + 2 * strlen(opt.eol));
    put(c, "data: %s%s%s", data, opt.eol, opt.eol);
    if (opt.framing == CHUNKED) put(c, "\r\n");
}

static void put_chunk(Connection *c, const char *choices, const char *usage) {
    char data[OUT_BYTES];
    snprintf(data, sizeof data, "{\"id\":\"chatcmpl-truth-%08u\",\"object\":\"chat.completion.chunk\","
             "\"created\":1750000000,\"model\":\"truth\",\"system_fingerprint\":\"truth\",\"choices\":[%s]%s}",
             c->stream, choices, usage);
    put_event(c, data);
}

static int last_token(const Connection *c, int token) {
    int end = token + opt.tokens_per_event;
    return (end < c->tokens ? end : c->tokens) - 1;
}

/* Every token's text has the same width, so that the next event of a stream differs only in these digits. */
static void put_tokens(Connection *c, int token) {
    int last = last_token(c, token);
    if (c->whole) {
        c->out_bytes = 0;
        for (; token <= last; token++) put(c, " t%06d", token);
        return;
    }
    bool whole = last - token + 1 == opt.tokens_per_event;
    if (!c->digits || !whole) {
        char choice[TOKENS_PER_EVENT_MAX * 8 + 128] = "{\"index\":0,\"delta\":{\"content\":\"";
        char *end = choice + strlen(choice);
        for (int i = token; i <= last; i++) end = stpcpy(end, " t000000");
        strcpy(end, "\"},\"logprobs\":null,\"finish_reason\":null}");
        c->out_bytes = 0;
        put_chunk(c, choice, "");
        c->digits = strstr(c->out, " t000000") + 2;
    }
    for (char *digits = c->digits; token <= last; token++, digits += 8)
        for (int i = 5, n = token; i >= 0; i--, n /= 10) digits[i] = '0' + n % 10;
    if (!whole) c->digits = NULL;
}

static void put_body_end(Connection *c) {
    if (opt.framing == CHUNKED) put(c, "0\r\n\r\n");
}

static void put_tail(Connection *c) {
    char choice[96], usage[128];
    const char *finish = c->fault.kind == EMPTY ? "stop" : "length";
    snprintf(usage, sizeof usage, ",\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d,\"total_tokens\":%d}",
             c->prompt_tokens, c->tokens, c->prompt_tokens + c->tokens);
    if (c->whole) {
        put(c, "\"},\"finish_reason\":\"%s\"}]%s}", finish, opt.usage ? usage : "");
        return;
    }
    snprintf(choice, sizeof choice, "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"%s\"}", finish);
    put_chunk(c, choice, "");
    if (opt.usage) put_chunk(c, "", usage);
    put_event(c, "[DONE]");
    put_body_end(c);
}

static int token_of(int step) { return (step - 1) * opt.tokens_per_event; }

static bool hits(const Connection *c, FaultKind kind, int token) {
    return c->fault.kind == kind && token <= c->fault.token && c->fault.token <= last_token(c, token);
}

static bool carries_tokens(const Connection *c, int step) {
    int token = token_of(step);
    return step > 0 && token < c->tokens && !hits(c, ERROR, token) && !hits(c, GARBAGE, token);
}

static void put_body(Connection *c, int step) {
    int token = token_of(step);
    if (carries_tokens(c, step)) {
        put_tokens(c, token);
    } else if (step == 0) {
        if (c->whole)
            put(c, "{\"id\":\"chatcmpl-truth-%08u\",\"object\":\"chat.completion\",\"created\":1750000000,"
                   "\"model\":\"truth\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"",
                c->stream);
        else if (opt.role_chunk)
            put_chunk(c, "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null},"
                         "\"finish_reason\":null}", "");
    } else if (hits(c, ERROR, token)) {
        put_event(c, "{\"error\":{\"message\":\"injected\",\"type\":\"server_error\",\"code\":500}}");
        put_body_end(c);
    } else if (hits(c, GARBAGE, token)) {
        put_event(c, "{\"id\":\"chatcmpl-truth\",\"choices\":[{\"index\":0,\"del");
    } else {
        put_tail(c);
    }
}

static void format_step(Connection *c, int step) {
    if (!carries_tokens(c, step)) {
        c->out_bytes = 0;
        c->digits = NULL;
    }
    put_body(c, step);
}

static size_t body_bytes(Connection *c) {
    size_t bytes = 0;
    for (int step = 0; step <= c->last_step; step++) {
        format_step(c, step);
        bytes += c->out_bytes;
    }
    return bytes;
}

static void put_opening(Connection *c) {
    char framing[64] = "Connection: close";
    if (opt.framing == CHUNKED) strcpy(framing, "Transfer-Encoding: chunked");
    if (opt.framing == LENGTH || c->whole) snprintf(framing, sizeof framing, "Content-Length: %zu", body_bytes(c));
    const char *type = c->whole ? "application/json" : "text/event-stream; charset=utf-8";
    c->out_bytes = 0;
    put(c, "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%s\r\n\r\n", type, framing);
    put_body(c, 0);
}

/* --- sending it --------------------------------------------------------------------------------------------------- */

static void take_requests(Connection *c);

static void hang_up(Connection *c) {
    if (c->streaming) running--;
    c->streaming = false;
    close(c->fd);
    c->fd = -1;
}

static void reset(Connection *c) {
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    hang_up(c);
}

static void end_stream(Connection *c) {
    c->streaming = false;
    running--;
    if (c->close_after) return hang_up(c);
    c->read_ns = now_ns();  /* a request sent ahead of its turn arrives now */
    take_requests(c);
}

/* A number in [0, 1) that depends on nothing but the stream's number and the token (the splitmix64 finaliser). */
static double noise(int64_t number, int token) {
    uint64_t x = ((uint64_t)number << 24) + token + 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return ((x ^ x >> 31) >> 11) * 0x1p-53;
}

static int64_t due_ns(const Connection *c) {
    int token = token_of(c->step);
    if (token >= c->tokens) token = c->tokens ? token_of(c->step - 1) : 0;  /* the tail follows the last event */
    if (c->whole) token = c->tokens ? c->tokens - 1 : 0;
    int64_t due = c->read_ns + opt.ttft_ns + token * opt.gap_ns;
    if (opt.jitter > 0) due += opt.gap_ns * opt.jitter * noise(c->number, token);
    if (c->fault.kind == STALL && last_token(c, token) >= c->fault.token) due += c->fault.value * NS_PER_MS;
    return due;
}

/* Sends what is due of the connection's stream and puts it back into the heap; may hang up, never frees. */
static void advance(Connection *c) {
    int token = token_of(c->step);
    bool opening = c->step == 0;
    if (hits(c, RESET, token)) return reset(c);
    if (hits(c, CUT, token)) return hang_up(c);
    if (c->out_sent == 0) opening ? put_opening(c) : format_step(c, c->step);

    int64_t due = opening && !c->whole ? c->read_ns : due_ns(c) + c->piece * PIECE_GAP_NS;
    int pieces = opening ? 1 : opt.split;
    size_t piece_end = c->out_bytes * (c->piece + 1) / pieces;
    int64_t sent_ns = now_ns();
    ssize_t n = send(c->fd, c->out + c->out_sent, piece_end - c->out_sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) return hang_up(c);
    if (n > 0) c->out_sent += n;
    if (c->out_sent < piece_end) return heap_push(c, sent_ns + BLOCKED_NS);
    if (++c->piece < pieces) return heap_push(c, due + PIECE_GAP_NS);

    if (carries_tokens(c, c->step)) {
        log_add((Record){due, sent_ns, c->stream, token});
        tokens_total += last_token(c, token) - token + 1;
    }
    c->piece = 0;
    c->out_sent = 0;
    if (c->step++ == c->last_step) end_stream(c);
    else heap_push(c, due_ns(c));
}

/* --- taking requests ---------------------------------------------------------------------------------------------- */

static void reply(Connection *c, int status, const char *type, const char *body) {
    c->out_bytes = 0;
    put(c, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s", status,
        status == 200 ? "OK" : "Error", type, strlen(body), body);
    ssize_t n = send(c->fd, c->out, c->out_bytes, MSG_NOSIGNAL);
    if (n != (ssize_t)c->out_bytes || c->close_after) hang_up(c);
}

static void reply_error(Connection *c, int status, const char *message) {
    char body[256];
    snprintf(body, sizeof body, "{\"error\":{\"message\":\"%s\",\"type\":\"server_error\",\"code\":%d}}",
             message, status);
    reply(c, status, "application/json", body);
}

static void reply_metrics(Connection *c) {
    char body[512];
    snprintf(body, sizeof body,
             "# TYPE truth:generation_tokens_total counter\ntruth:generation_tokens_total %llu\n"
             "# TYPE truth:requests_total counter\ntruth:requests_total %llu\n"
             "# TYPE truth:requests_running gauge\ntruth:requests_running %d\n",
             (unsigned long long)tokens_total, (unsigned long long)requests_total, running);
    reply(c, 200, "text/plain; version=0.0.4", body);
}

/* A completion of one token, at once: enough for a client that wants a prompt counted. */
static void reply_whole(Connection *c, int prompt_tokens) {
    char body[512];
    snprintf(body, sizeof body,
             "{\"id\":\"chatcmpl-truth\",\"object\":\"chat.completion\",\"created\":1750000000,\"model\":\"truth\","
             "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\" t000000\"},"
             "\"finish_reason\":\"length\"}],"
             "\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":1,\"total_tokens\":%d}}",
             prompt_tokens, prompt_tokens + 1);
    reply(c, 200, "application/json", body);
}

/* Where a key's value begins. Inside a JSON string its quotes would be escaped, so only a key can match. */
static const char *json_value(const char *json, const char *key) {
    for (const char *p = json; (p = strstr(p, key));) {
        p += strlen(key);
        p += strspn(p, " \t\r\n");
        if (*p == ':') return p + 1 + strspn(p + 1, " \t\r\n");
    }
    return NULL;
}

static int count_prompt_words(const char *json) {
    int words = 0;
    for (const char *p = json; (p = json_value(p, "\"content\""));) {
        bool inside = false;
        if (*p != '"') continue;
        while (*++p && *p != '"') {
            bool escape = *p == '\\' && p[1];
            bool space = escape ? strchr("ntr", p[1]) != NULL : *p == ' ';
            if (!space && !inside) words++;
            inside = !space;
            if (escape) p++;
        }
    }
    return words;
}

static void start_stream(Connection *c, int64_t number, int tokens, int prompt_tokens, bool whole) {
    c->stream = streams++;
    c->whole = whole;
    c->number = number >= 0 ? number : c->stream;
    c->fault = (Fault){0};
    for (int i = 0; i < opt.faults && !c->fault.kind; i++)
        if ((c->number + 1) % opt.fault[i].every == 0) c->fault = opt.fault[i];
    log_add((Record){c->number, c->read_ns, c->stream, REQUEST});
    if (c->fault.kind == STATUS) return reply_error(c, c->fault.value, "injected");
    if (whole && (c->fault.kind == ERROR || c->fault.kind == GARBAGE)) c->fault.kind = NONE;  /* those are events */

    c->tokens = c->fault.kind == EMPTY ? 0 : tokens;
    c->prompt_tokens = prompt_tokens;
    c->last_step = (c->tokens + opt.tokens_per_event - 1) / opt.tokens_per_event + 1;
    if (c->fault.kind == ERROR && c->fault.token < c->tokens) c->last_step = c->fault.token / opt.tokens_per_event + 1;
    c->close_after |= opt.framing == CLOSE;
    c->step = c->piece = 0;
    c->out_sent = 0;
    c->digits = NULL;
    c->streaming = true;
    running++;
    if (whole) heap_push(c, due_ns(c));
    else advance(c);
}

static const char *header(const char *head, const char *name) {
    const char *p = strcasestr(head, name);
    return p ? p + strlen(name) + strspn(p + strlen(name), " ") : NULL;
}

/* 42 of "42" and of "00000000-0000-4000-8000-000000000042"; -1 where there is none. */
static int64_t last_number(const char *value) {
    const char *end = value + strcspn(value, "\r"), *first = end;
    while (first > value && first[-1] >= '0' && first[-1] <= '9') first--;
    bool alone = first == value || first[-1] == '-';
    return alone && first < end && end - first <= 12 ? atoll(first) : -1;
}

static void answer(Connection *c, const char *head, const char *body) {
    const char *connection = header(head, "\r\nconnection:");
    c->close_after = connection && strncasecmp(connection, "close", 5) == 0;
    if (!strncmp(head, "GET /health ", 12)) return reply(c, 200, "application/json", "{\"status\":\"ok\"}");
    if (!strncmp(head, "GET /metrics ", 13)) return reply_metrics(c);
    if (!strncmp(head, "GET /v1/models ", 15))
        return reply(c, 200, "application/json", "{\"object\":\"list\",\"data\":[{\"id\":\"truth\","
                     "\"object\":\"model\",\"created\":1750000000,\"owned_by\":\"truth\"}]}");
    if (strncmp(head, "POST /v1/chat/completions ", 26)) return reply_error(c, 404, "no such path");

    requests_total++;
    const char *stream = json_value(body, "\"stream\""), *max = json_value(body, "\"max_tokens\"");
    if (!max) max = json_value(body, "\"max_completion_tokens\"");
    bool whole = stream && !strncmp(stream, "false", 5);
    if (!whole && (!stream || strncmp(stream, "true", 4))) return reply_whole(c, count_prompt_words(body));
    int tokens = max ? atoi(max) : opt.tokens;
    if (tokens < 1 || tokens > 999999) return reply_error(c, 400, "max_tokens must be 1 to 999999");
    const char *id = header(head, "\r\nx-request-id:");
    start_stream(c, id ? last_number(id) : -1, tokens, count_prompt_words(body), whole);
}

static void take_requests(Connection *c) {
    while (c->fd >= 0 && !c->streaming && c->in_bytes) {
        char *head_end = memmem(c->in, c->in_bytes, "\r\n\r\n", 4);
        if (!head_end) return;
        *head_end = '\0';
        const char *length = header(c->in, "\r\ncontent-length:");
        c->close_after = header(c->in, "\r\ntransfer-encoding:") != NULL;
        if (c->close_after) return reply_error(c, 411, "the request needs a Content-Length");
        size_t bytes = head_end + 4 - c->in + (length ? strtoul(length, NULL, 10) : 0);
        if (c->in_bytes < bytes) {
            *head_end = '\r';
            return;
        }
        char next = c->in[bytes];
        c->in[bytes] = '\0';
        answer(c, c->in, head_end + 4);
        c->in[bytes] = next;
        memmove(c->in, c->in + bytes, c->in_bytes -= bytes);
    }
}

static void on_readable(Connection *c) {
    if (c->in_room - c->in_bytes < 16384) {
        c->in_room = 2 * c->in_room + 32768;
        if (c->in_room > IN_BYTES_MAX || !(c->in = realloc(c->in, c->in_room))) die("a request is too long");
    }
    ssize_t n = recv(c->fd, c->in + c->in_bytes, c->in_room - c->in_bytes - 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return hang_up(c);
    c->in_bytes += n;
    if (c->streaming) return;  /* read_ns still names the running stream's arrival */
    c->read_ns = now_ns();
    take_requests(c);
}

static void reap(Connection *c) {
    if (c->fd >= 0 || c->queued) return;
    free(c->in);
    free(c);
}

/* --- the loop ----------------------------------------------------------------------------------------------------- */

static void watch(int fd, uint32_t events, void *tag) {
    struct epoll_event event = {.events = events, .data.ptr = tag};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl: %m");
}

static void accept_all(int listener) {
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){opt.nodelay}, sizeof(int));
        Connection *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        watch(fd, EPOLLIN, c);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, size) || listen(fd, 4096)) die("cannot listen on port %d: %m", port);
    getsockname(fd, (struct sockaddr *)&address, &size);
    printf("listening %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static int terminations(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC);
}

/* How long epoll may wait (0 or for ever); arms the timer for the head of the heap when that is worth sleeping for. */
static int wait_ms(int timer) {
    if (!heap_size) return -1;
    int64_t wake_ns = heap[0].due_ns - SPIN_NS;
    if (wake_ns <= now_ns()) return 0;
    struct itimerspec at = {.it_value = {.tv_sec = wake_ns / 1000000000, .tv_nsec = wake_ns % 1000000000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
    return -1;
}

static void serve(void) {
    static int listener, timer, signals, lifeline = STDIN_FILENO;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    signals = terminations();
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    listener = listen_on(opt.port);
    watch(signals, EPOLLIN, &signals);
    watch(timer, EPOLLIN | EPOLLET, &timer);  /* edge: a wake-up need not be read, arming it again clears it */
    watch(listener, EPOLLIN, &listener);
    if (opt.lifeline) watch(lifeline, 0, &lifeline);  /* a hang-up is always reported */
    for (;;) {
        for (int sends = 0; sends < BURST && heap_size && heap[0].due_ns <= now_ns(); sends++) {
            Connection *c = heap_pop();
            if (c->fd >= 0) advance(c);
            reap(c);
        }
        struct epoll_event events[64];
        int n = epoll_wait(epoll_fd, events, 64, wait_ms(timer));
        for (int i = 0; i < n; i++) {
            void *tag = events[i].data.ptr;
            if (tag == &signals || tag == &lifeline) return;
            if (tag == &listener) accept_all(listener);
            if (tag == &listener || tag == &timer) continue;
            on_readable(tag);
            reap(tag);
        }
    }
}

/* --- the options -------------------------------------------------------------------------------------------------- */

static double number(const char *name, const char *text, double low, double high) {
    char *end;
    double value = strtod(text, &end);
    bool whole = end != text && !*end;
    if (!whole || !(value >= low && value <= high)) die("%s %s: a number from %g to %g", name, text, low, high);
    return value;
}

static int choice(const char *name, const char *text, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(text, words[i])) return i;
    die("%s: no such value: %s", name, text);
    return -1;
}

static bool yes(const char *name, const char *text) {
    return choice(name, text, (const char *const[]){"no", "yes", NULL});
}

/* NAME[@TOKEN][:VALUE[ms]]/EVERY */
static Fault parse_fault(char *spec) {
    char name[16], *p = spec + strcspn(spec, "@:/");
    snprintf(name, sizeof name, "%.*s", (int)(p - spec), spec);
    Fault fault = {.kind = choice("--faults", name, fault_names)};
    if (*p == '@') fault.token = strtol(p + 1, &p, 10);
    if (*p == ':') fault.value = strtol(p + 1, &p, 10);
    if (!strncmp(p, "ms", 2)) p += 2;
    if (*p == '/') fault.every = strtol(p + 1, &p, 10);
    if (*p || fault.every < 1) die("--faults: %s is not NAME[@TOKEN][:VALUE]/EVERY", spec);
    return fault;
}

static void parse(const char *name, char *value) {
    static const char *const framings[] = {"chunked", "close", "length", NULL}, *const eols[] = {"lf", "crlf", NULL};
    if (!strcmp(name, "--port")) opt.port = number(name, value, 0, 65535);
    else if (!strcmp(name, "--ttft-ms")) opt.ttft_ns = number(name, value, 0, 3.6e6) * NS_PER_MS;
    else if (!strcmp(name, "--gap-ms")) opt.gap_ns = number(name, value, 0, 3.6e6) * NS_PER_MS;
    else if (!strcmp(name, "--tokens")) opt.tokens = number(name, value, 1, 999999);
    else if (!strcmp(name, "--tokens-per-event")) opt.tokens_per_event = number(name, value, 1, TOKENS_PER_EVENT_MAX);
    else if (!strcmp(name, "--split")) opt.split = number(name, value, 1, SPLIT_MAX);
    else if (!strcmp(name, "--jitter-pct")) opt.jitter = number(name, value, 0, 100) / 100;
    else if (!strcmp(name, "--framing")) opt.framing = choice(name, value, framings);
    else if (!strcmp(name, "--eol")) opt.eol = choice(name, value, eols) ? "\r\n" : "\n";
    else if (!strcmp(name, "--role-chunk")) opt.role_chunk = yes(name, value);
    else if (!strcmp(name, "--usage")) opt.usage = yes(name, value);
    else if (!strcmp(name, "--nodelay")) opt.nodelay = yes(name, value);
    else if (!strcmp(name, "--lifeline")) opt.lifeline = yes(name, value);
    else if (!strcmp(name, "--log")) opt.log = value;
    else if (!strcmp(name, "--faults"))
        for (char *spec = strtok(value, ","); spec; spec = strtok(NULL, ",")) {
            if (opt.faults == FAULTS_MAX) die("--faults: at most %d", FAULTS_MAX);
            opt.fault[opt.faults++] = parse_fault(spec);
        }
    else die("no such option: %s", name);
}

int main(int argc, char **argv) {
    if (argc % 2 == 0) die("every option takes a value; see the top of truth.c");
    for (int i = 1; i < argc; i += 2) parse(argv[i], argv[i + 1]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    setpriority(PRIO_PROCESS, 0, -20);  /* where that is allowed: the judge waits for nobody */
    log_open();
    serve();
    log_close();
    return 0;
}
