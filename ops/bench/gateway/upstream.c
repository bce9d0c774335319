/* The model server of the gateway benchmark: one thread, epoll, HTTP/1.1 with keep-alive, nothing computed.
 *
 *   upstream CHUNK_GAP_MS PORT...
 *
 * A body with "stream": true is answered by server-sent events, CHUNK_GAP_MS apart, until the caller leaves; each event
 * holds one '~' for the reader to count. Everything else is answered at once by the same JSON of about 200 bytes.
 * A stream that its reader does not drain pauses: no event is made while the last one is still in hand.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DESCRIPTORS = 20000, ROOM = 32 * 1024, EVENTS = 512 };

struct caller {
    char *arrived;
    int size, life; /* life: tells a stale timer of an earlier connection with the same descriptor. */
    const char *unsent;
    int unsent_size, streams;
};
struct tick { long long due_ns; int descriptor, life; };

static struct caller callers[DESCRIPTORS];
static struct tick ticks[DESCRIPTORS]; /* A ring; one gap for all streams keeps it sorted. */
static unsigned first_tick, next_tick;
static long long gap_ns;
static char answer[1024], event[512];
static int answer_size, event_size;

static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n";

static long long now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static void hang_up(int descriptor) {
    struct caller *caller = &callers[descriptor];
    caller->life++;
    caller->size = caller->unsent_size = caller->streams = 0;
    close(descriptor);
}

static void say(int descriptor, const char *text, int size) {
    ssize_t sent = send(descriptor, text, size, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(descriptor);
        return;
    }
    if (sent < 0) sent = 0;
    callers[descriptor].unsent = text + sent;
    callers[descriptor].unsent_size = size - (int)sent;
}

static void remind(int descriptor, long long due_ns) {
    ticks[next_tick++ % DESCRIPTORS] = (struct tick){due_ns, descriptor, callers[descriptor].life};
}

static void stream_on(struct tick tick, long long now) {
    struct caller *caller = &callers[tick.descriptor];
    if (caller->life != tick.life) return;
    if (caller->unsent_size)
        say(tick.descriptor, caller->unsent, caller->unsent_size);
    else
        say(tick.descriptor, event, event_size);
    /* Late streams do not catch up in bursts of more than a few events. */
    long long due_ns = tick.due_ns + gap_ns;
    if (callers[tick.descriptor].life == tick.life) remind(tick.descriptor, due_ns < now - 4 * gap_ns ? now : due_ns);
}

/* The size of the request that stands at the beginning; 0 while it is not complete. */
static int request_size(struct caller *caller) {
    caller->arrived[caller->size] = 0;
    char *end = strstr(caller->arrived, "\r\n\r\n");
    if (!end) return 0;
    int head = (int)(end - caller->arrived) + 4;
    char *length = strcasestr(caller->arrived, "\ncontent-length:");
    if (length && length < end) {
        int size = head + atoi(length + 16);
        return caller->size >= size ? size : 0;
    }
    char *coding = strcasestr(caller->arrived, "\ntransfer-encoding:");
    if (!coding || coding > end) return head;
    char *last = memmem(end, caller->arrived + caller->size - end, "\r\n0\r\n\r\n", 7);
    return last ? (int)(last - caller->arrived) + 7 : 0;
}

static void serve(int descriptor, long long now) {
    struct caller *caller = &callers[descriptor];
    ssize_t got = recv(descriptor, caller->arrived + caller->size, ROOM - caller->size, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) hang_up(descriptor);
        return;
    }
    caller->size += (int)got;
    int life = caller->life, size;
    while (caller->life == life && !caller->streams && (size = request_size(caller)) > 0) {
        char *end = strstr(caller->arrived, "\r\n\r\n");
        int rest = size - (int)(end - caller->arrived);
        if (memmem(end, rest, "\"stream\":true", 13) || memmem(end, rest, "\"stream\": true", 14)) {
            caller->streams = 1;
            say(descriptor, STREAM_HEAD, sizeof STREAM_HEAD - 1);
            if (caller->life == life) remind(descriptor, now + gap_ns);
        } else {
            say(descriptor, answer, answer_size);
        }
        if (caller->life != life) return;
        caller->size -= size;
        memmove(caller->arrived, caller->arrived + size, caller->size);
    }
    if (caller->size >= ROOM) hang_up(descriptor);
}

static int listen_at(int port) {
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in here = {AF_INET, htons(port), {htonl(INADDR_LOOPBACK)}, {0}};
    if (bind(listening, (void *)&here, sizeof here) || listen(listening, 4096)) perror("upstream"), exit(1);
    return listening;
}

static void welcome(int listening, int poll) {
    int descriptor, on = 1;
    while ((descriptor = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (descriptor >= DESCRIPTORS) {
            close(descriptor);
            continue;
        }
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (!callers[descriptor].arrived) callers[descriptor].arrived = malloc(ROOM + 1);
        struct epoll_event interest = {.events = EPOLLIN, .data.fd = descriptor};
        epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &interest);
    }
}

static void write_texts(void) {
    const char *body = "{\"id\":\"c1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,"
                       "\"message\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":\"stop\"}],"
                       "\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"total_tokens\":10}}";
    answer_size = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                           strlen(body), body);
    const char *data = "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\","
                       "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"~\"},\"finish_reason\":null}]}\n\n";
    event_size = snprintf(event, sizeof event, "%zx\r\n%s\r\n", strlen(data), data);
}

int main(int count, char **words) {
    if (count < 3) return fprintf(stderr, "usage: upstream CHUNK_GAP_MS PORT...\n"), 2;
    gap_ns = (long long)(atof(words[1]) * 1e6);
    write_texts();
    int poll = epoll_create1(0), last_listening = 0;
    struct epoll_event interest = {.events = EPOLLIN}, happened[EVENTS];
    for (int each = 2; each < count; each++) {
        interest.data.fd = last_listening = listen_at(atoi(words[each]));
        epoll_ctl(poll, EPOLL_CTL_ADD, last_listening, &interest);
    }
    for (;;) {
        struct timespec wait, *until = NULL;
        if (first_tick != next_tick) {
            long long left_ns = ticks[first_tick % DESCRIPTORS].due_ns - now_ns();
            if (left_ns < 0) left_ns = 0;
            wait = (struct timespec){left_ns / 1000000000, left_ns % 1000000000};
            until = &wait;
        }
        int ready = epoll_pwait2(poll, happened, EVENTS, until, NULL);
        long long now = now_ns();
        for (int each = 0; each < ready; each++) {
            if (happened[each].data.fd <= last_listening)
                welcome(happened[each].data.fd, poll);
            else
                serve(happened[each].data.fd, now);
        }
        for (unsigned last = next_tick; first_tick != last && ticks[first_tick % DESCRIPTORS].due_ns <= now;)
            stream_on(ticks[first_tick++ % DESCRIPTORS], now);
    }
}
