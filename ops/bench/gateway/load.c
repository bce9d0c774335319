/* The callers of the gateway benchmark: one thread, epoll, connections that stay open.
 *
 *   load unary PORT PATH HEADERS CONNECTIONS SECONDS   asks again as soon as it is answered
 *   load sse   PORT PATH HEADERS CONNECTIONS SECONDS   opens that many streams and counts their events
 *   load idle  PORT PATH HEADERS CONNECTIONS 1         one request each, then idle until its standard input ends
 *
 * The first second is not counted. Ends with one line of JSON. HEADERS: further header lines, each with its CR LF.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 16 * 1024, EVENTS = 512, BODY = 1000, AT_ONCE = 64, SAMPLES = 4000000 };
static const long long WARM_NS = 1000000000LL;

struct caller { int descriptor, size, busy; long long asked_ns; char *arrived; };

static char request[8192];
static int request_size, port, queue, streaming;
static long answered, counted, chunks, errors; /* counted: since the warm-up. */
static float *samples_us;
static long long counted_from_ns;

static long long now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int by_size(const void *one, const void *other) {
    float a = *(const float *)one, b = *(const float *)other;
    return (a > b) - (a < b);
}

static void connect_to_it(struct caller *caller) {
    struct sockaddr_in there = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    int on = 1;
    struct linger at_once = {1, 0};
    caller->descriptor = socket(AF_INET, SOCK_STREAM, 0);
    if (caller->descriptor < 0 || connect(caller->descriptor, (void *)&there, sizeof there)) perror("load: connect"), exit(1);
    setsockopt(caller->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(caller->descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = caller};
    epoll_ctl(queue, EPOLL_CTL_ADD, caller->descriptor, &interest);
    caller->size = caller->busy = 0;
}

static void ask(struct caller *caller) {
    caller->size = 0;
    caller->busy = 1;
    caller->asked_ns = now_ns();
    if (send(caller->descriptor, request, request_size, MSG_NOSIGNAL) != request_size) errors++;
}

/* Whether the whole answer stands there: by its length, or by its last chunk. */
static int complete(struct caller *caller) {
    caller->arrived[caller->size] = 0;
    char *end = strstr(caller->arrived, "\r\n\r\n");
    if (!end) return 0;
    char *length = strcasestr(caller->arrived, "\ncontent-length:");
    if (length && length < end) return caller->size >= end + 4 - caller->arrived + atoi(length + 16);
    return caller->size > 7 && !memcmp(caller->arrived + caller->size - 5, "0\r\n\r\n", 5);
}

/* True when an answer has come to its end. Streams have none. */
static int hear(struct caller *caller) {
    ssize_t got = recv(caller->descriptor, caller->arrived + caller->size, ROOM - caller->size, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got <= 0) {
        errors++;
        close(caller->descriptor);
        connect_to_it(caller);
        return 1;
    }
    long long now = now_ns();
    if (streaming && caller->size >= 12) { /* Past the head: only to be counted. */
        char *at = caller->arrived + caller->size, *after = at + got;
        if (now >= counted_from_ns)
            while ((at = memchr(at, '~', after - at))) chunks++, at++;
        return 0;
    }
    caller->size += (int)got;
    if (streaming && caller->size >= 12) {
        if (memcmp(caller->arrived + 9, "200", 3)) errors++;
        return 0;
    }
    if (!complete(caller)) return 0;
    if (memcmp(caller->arrived + 9, "200", 3)) errors++;
    answered++;
    if (now >= counted_from_ns) {
        if (counted < SAMPLES) samples_us[counted] = (now - caller->asked_ns) / 1e3f;
        counted++;
    }
    caller->busy = 0;
    return 1;
}

static void report(double seconds) {
    long kept = counted < SAMPLES ? counted : SAMPLES;
    qsort(samples_us, kept, sizeof *samples_us, by_size);
    printf("{\"answered\": %ld, \"per_s\": %.1f, \"chunks_per_s\": %.1f, \"errors\": %ld, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           answered, counted / seconds, chunks / seconds, errors, kept ? samples_us[kept / 2] : 0,
           kept ? samples_us[kept * 99 / 100] : 0);
}

static void write_request(const char *path, const char *headers) {
    char body[BODY + 1];
    int used = snprintf(body, sizeof body, "{\"model\":\"m\",\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"",
                        streaming ? "true" : "false");
    memset(body + used, 'x', BODY - used);
    memcpy(body + BODY - 4, "\"}]}", 5);
    request_size = snprintf(request, sizeof request,
                            "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
                            path, port, headers, BODY, body);
}

int main(int count, char **words) {
    if (count != 7) return fprintf(stderr, "usage: load unary|sse|idle PORT PATH HEADERS CONNECTIONS SECONDS\n"), 2;
    int connections = atoi(words[5]), idle = !strcmp(words[1], "idle"), asked = 0, done = 0;
    double seconds = atof(words[6]);
    streaming = !strcmp(words[1], "sse");
    port = atoi(words[2]);
    write_request(words[3], words[4]);
    samples_us = malloc(SAMPLES * sizeof *samples_us);
    queue = epoll_create1(0);
    struct caller *callers = calloc(connections, sizeof *callers);
    for (int each = 0; each < connections; each++) {
        callers[each].arrived = malloc((idle ? 2048 : ROOM) + 1);
        connect_to_it(&callers[each]);
    }
    counted_from_ns = idle ? 0 : now_ns() + WARM_NS;
    long long until_ns = counted_from_ns + (long long)(seconds * 1e9);
    while (asked < connections && (!idle || asked < AT_ONCE)) ask(&callers[asked++]);
    struct epoll_event happened[EVENTS];
    while (idle ? done < connections : now_ns() < until_ns) {
        int ready = epoll_wait(queue, happened, EVENTS, idle ? 10000 : 100);
        if (idle && ready == 0) return fprintf(stderr, "load: no answer within 10 s\n"), 1;
        for (int each = 0; each < ready; each++) {
            struct caller *caller = happened[each].data.ptr;
            if (!hear(caller)) continue;
            if (!idle)
                ask(caller);
            else if (++done, asked < connections)
                ask(&callers[asked++]);
        }
    }
    report(seconds);
    fflush(stdout);
    struct pollfd end = {.fd = 0, .events = POLLIN};
    if (idle) poll(&end, 1, -1);
    return 0;
}
