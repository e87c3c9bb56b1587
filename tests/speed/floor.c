/* The floor: what reading streams costs in C, where a client keeps nothing of what it reads.
 *
 *   floor PORT STREAMS REQUESTS TOKENS
 *
 * One thread, one epoll set; each readable connection is read at once, and only the end of an answer is looked for.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static const char END[] = "0\r\n\r\n";
static char in[1 << 16], tails[1 << 16][sizeof END - 1];
static int epoll, left, next, tokens;

static void or_die(int failed, const char *what) {
    if (failed) {
        perror(what);
        exit(1);
    }
}

static int ask(int fd) {
    char body[256], out[512];
    if (next == left) return 0;
    int length = snprintf(body, sizeof body, "{\"model\":\"truth\",\"stream\":true,\"max_tokens\":%d,\"messages\":[]}", tokens);
    int bytes = snprintf(out, sizeof out,
                         "POST /v1/chat/completions HTTP/1.1\r\nHost: truth\r\nContent-Type: application/json\r\n"
                         "X-Request-Id: %d\r\nContent-Length: %d\r\n\r\n%s", next++, length, body);
    or_die(send(fd, out, bytes, 0) != bytes, "send");
    return 1;
}

/* Whether the bytes read so far end as a chunked body does; a read may bring less than that. */
static int ends(int fd, const char *data, size_t bytes) {
    char *tail = tails[fd];
    size_t kept = sizeof tails[0];
    if (bytes >= kept) {
        memcpy(tail, data + bytes - kept, kept);
    } else {
        memmove(tail, tail + bytes, kept - bytes);
        memcpy(tail + kept - bytes, data, bytes);
    }
    return memcmp(tail, END, kept) == 0;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int streams = atoi(argv[2]), one = 1, open = 0;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    left = atoi(argv[3]);
    tokens = atoi(argv[4]);
    epoll = epoll_create1(0);
    for (int i = 0; i < streams; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        or_die(fd < 0 || fd >= 1 << 16 || connect(fd, (struct sockaddr *)&to, sizeof to), "connect");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
        open += ask(fd);
    }
    while (open) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            ssize_t bytes = recv(fd, in, sizeof in, 0);
            or_die(bytes <= 0, "recv");
            if (ends(fd, in, bytes) && !ask(fd)) {
                close(fd);
                open--;
            }
        }
    }
    return 0;
}
