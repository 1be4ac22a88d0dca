/* The floor of a download: TLS on N connections in one thread, ranged GETs, every byte received and thrown away.
 *
 * cc -O2 -o receive_only receive_only.c -lssl -lcrypto
 * receive_only HOST PORT PATH SIZE CONNECTIONS PART_BYTES [plain]
 * HOST is an IPv4 address; certificates are not verified. OpenSSL reads ahead unless "plain", as it does by itself.
 * Prints one line: bytes received, wall seconds, CPU seconds (user + system).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024, HEAD = 16 * 1024 };

typedef struct {
    SSL *ssl;
    int fd;
    long long left;
    int in_head, head_used;
    char head[HEAD];
} Connection;

static const char *path, *host;
static long long size, part, next_start, received;

static void die(const char *what) { perror(what); exit(1); }

static int ask(Connection *c) {
    char text[4096];
    if (next_start >= size) return 0;
    long long stop = next_start + part < size ? next_start + part : size;
    int n = snprintf(text, sizeof text,
                     "GET %s HTTP/1.1\r\nHost: %s\r\nRange: bytes=%lld-%lld\r\n\r\n", path, host, next_start, stop - 1);
    c->left = stop - next_start;
    c->in_head = 1;
    c->head_used = 0;
    next_start = stop;
    if (SSL_write(c->ssl, text, n) != n) { fprintf(stderr, "short write\n"); exit(1); }
    return 1;
}

/* 1 = go on, 0 = nothing more to ask */
static int take(Connection *c, char *buffer, int n) {
    if (c->in_head) {
        int room = HEAD - 1 - c->head_used, use = n < room ? n : room;
        memcpy(c->head + c->head_used, buffer, use);
        c->head_used += use;
        c->head[c->head_used] = 0;
        char *end = strstr(c->head, "\r\n\r\n");
        if (!end) return 1;
        if (strncmp(c->head, "HTTP/1.1 206", 12)) { fprintf(stderr, "%.60s\n", c->head); exit(1); }
        n = c->head_used - (int)(end + 4 - c->head) + (n - use);
        c->in_head = 0;
    }
    c->left -= n;
    received += n;
    return c->left > 0 ? 1 : ask(c);
}

int main(int argc, char **argv) {
    if (argc < 7) { fprintf(stderr, "receive_only HOST PORT PATH SIZE CONNECTIONS PART_BYTES [plain]\n"); return 2; }
    host = argv[1]; path = argv[3]; size = atoll(argv[4]); part = atoll(argv[6]);
    int count = atoi(argv[5]), alive = 0, epoll = epoll_create1(0);
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(context, SSL_MODE_AUTO_RETRY);
    if (argc == 7) {
        SSL_CTX_set_read_ahead(context, 1);
        SSL_CTX_set_default_read_buffer_len(context, 128 * 1024);
    }
    static char buffer[BUFFER];
    struct timespec began, ended;
    clock_gettime(CLOCK_MONOTONIC, &began);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, host, &address.sin_addr);
    for (int i = 0; i < count; i++) {
        Connection *c = calloc(1, sizeof *c);
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->ssl = SSL_new(context);
        SSL_set_fd(c->ssl, c->fd);
        if (SSL_connect(c->ssl) != 1) { fprintf(stderr, "TLS failed\n"); return 1; }
        if (!ask(c)) continue;
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
        alive++;
    }
    struct epoll_event events[64];
    while (alive) {
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            Connection *c = events[i].data.ptr;
            for (;;) {
                int got = SSL_read(c->ssl, buffer, BUFFER);
                if (got > 0) {
                    if (take(c, buffer, got)) continue;
                    epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
                    alive--;
                    break;
                }
                if (SSL_get_error(c->ssl, got) == SSL_ERROR_WANT_READ) break;
                fprintf(stderr, "connection lost\n");
                return 1;
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("%lld %.3f %.3f\n", received, ended.tv_sec - began.tv_sec + (ended.tv_nsec - began.tv_nsec) / 1e9,
           used.ru_utime.tv_sec + used.ru_utime.tv_usec / 1e6 + used.ru_stime.tv_sec + used.ru_stime.tv_usec / 1e6);
    return 0;
}
