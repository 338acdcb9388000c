// The course's chat server in C, with nothing but the C library and epoll(7).
//
//     gcc -std=c11 -Wall -Wextra -Werror -O2 -o chat chat.c
//     ./chat [--chapter N] [--level-triggered] [ADDRESS]
//
// N, from 1 to 4, selects the chapter; the default is 4. With --level-triggered, EPOLLET is left out,
// to show the difference: in chapters 2 and 3 the server then never sleeps.

#define _GNU_SOURCE // accept4, memrchr
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = 4096, EVENTS = 1024, BACKLOG = 1024, ADDRESS_TEXT = INET6_ADDRSTRLEN + 8 };

// Prints the two lines of an error that ends the server.
static _Noreturn void fail(const char *what, int error) {
    fprintf(stderr, "Error: %s\n\n%s\n", what, strerror(error));
    exit(EXIT_FAILURE);
}

// Bytes that come in at the end and go out at the front. Like the course's chapters 1 to 4, it has no
// limit.
struct buffer {
    char *bytes;
    size_t start, end, capacity;
};

static size_t length(const struct buffer *buffer) {
    return buffer->end - buffer->start;
}

static const char *front(const struct buffer *buffer) {
    return buffer->bytes + buffer->start;
}

// Makes room at the end and returns where it begins.
static char *reserve(struct buffer *buffer, size_t more) {
    if (buffer->capacity - buffer->end < more && buffer->start >= length(buffer) + more) {
        // At most as many bytes are moved as have gone out since the last move.
        memmove(buffer->bytes, front(buffer), length(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->capacity - buffer->end < more) {
        // Doubled, so that the cost of copying stays in proportion to the bytes.
        buffer->capacity = 2 * (buffer->end + more);
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (buffer->bytes == NULL)
            fail("out of memory", errno);
    }
    return buffer->bytes + buffer->end;
}

static void append(struct buffer *buffer, const char *bytes, size_t count) {
    memcpy(reserve(buffer, count), bytes, count);
    buffer->end += count;
}

struct client {
    int socket;
    unsigned long token;
    struct buffer input; // what has been read and not been broadcast
    struct buffer queue; // what has to be sent
    struct client *next, *previous;
};

struct server {
    int epoll, listener, chapter;
    uint32_t trigger; // EPOLLET, or 0
    unsigned long next_token;
    struct client *clients;
};

// Accepts an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080, and no names.
static bool parse(const char *text, struct sockaddr_storage *address) {
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    if (colon == NULL || (size_t)(colon - text) >= sizeof host)
        return false;
    size_t host_length = colon - text;
    memcpy(host, text, host_length);
    host[host_length] = '\0';

    const char *digits = colon + 1;
    size_t digit_count = strspn(digits, "0123456789");
    if (digit_count == 0 || digit_count > 5 || digits[digit_count] != '\0')
        return false;
    long port = strtol(digits, NULL, 10);
    if (port > 65535)
        return false;

    *address = (struct sockaddr_storage){0};
    if (host[0] == '[' && host[host_length - 1] == ']') {
        host[host_length - 1] = '\0';
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

static const char *show(const struct sockaddr_storage *address, char text[ADDRESS_TEXT]) {
    char host[INET6_ADDRSTRLEN];
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT, "[%s]:%d", host, ntohs(v6->sin6_port));
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        snprintf(text, ADDRESS_TEXT, "%s:%d", host, ntohs(v4->sin_port));
    }
    return text;
}

// Adds a socket to epoll (EPOLL_CTL_ADD), or changes what epoll reports about it (EPOLL_CTL_MOD). The
// listener is the only one without a client.
static int ask_epoll(const struct server *server, int operation, int socket, uint32_t events,
                     struct client *client) {
    struct epoll_event event = {.events = events | server->trigger, .data.ptr = client};
    return epoll_ctl(server->epoll, operation, socket, &event);
}

static void ask_for(const struct server *server, struct client *client, uint32_t events) {
    if (ask_epoll(server, EPOLL_CTL_MOD, client->socket, events, client) < 0)
        fail("epoll_ctl", errno);
}

static void register_client(struct server *server, int socket) {
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        fail("out of memory", errno);
    *client = (struct client){.socket = socket, .next = server->clients};
    if (ask_epoll(server, EPOLL_CTL_ADD, socket, EPOLLIN, client) < 0) {
        fprintf(stderr, "Failed to register: %s\n", strerror(errno));
        close(socket);
        free(client);
        return;
    }
    // Small lines are sent at once. Without it they are only slower, so a failure does no harm.
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    client->token = server->next_token++;
    if (client->next != NULL)
        client->next->previous = client;
    server->clients = client;
    printf("Registered client with Token(%lu)\n", client->token);
}

// Accepts until no connection is pending: one event may cover several.
static void accept_clients(struct server *server) {
    for (;;) {
        struct sockaddr_storage address;
        socklen_t size = sizeof address;
        // A connection does not inherit O_NONBLOCK from the listener (accept(2)).
        int socket = accept4(server->listener, (struct sockaddr *)&address, &size,
                             SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (socket < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (socket < 0) {
            if (errno != EAGAIN)
                fprintf(stderr, "Failed to accept: %s\n", strerror(errno));
            return;
        }
        char text[ADDRESS_TEXT];
        printf("Accepted connection from %s\n", show(&address, text));
        if (server->chapter == 1)
            close(socket);
        else
            register_client(server, socket);
    }
}

static void disconnect(struct server *server, struct client *client) {
    if (client->previous != NULL)
        client->previous->next = client->next;
    else
        server->clients = client->next;
    if (client->next != NULL)
        client->next->previous = client->previous;
    // Closing the only descriptor of a socket also removes it from epoll (epoll(7)).
    close(client->socket);
    printf("Client Token(%lu) disconnected\n", client->token);
    free(client->input.bytes);
    free(client->queue.bytes);
    free(client);
    // At the descriptor limit accept4 has failed, and no event will report the pending connections
    // again. A descriptor is free now: try to accept one of them.
    accept_clients(server);
}

// Sends what is queued. Returns false if the connection is broken.
static bool write_queue(const struct server *server, struct client *client) {
    if (server->chapter < 4 || length(&client->queue) == 0)
        return true;
    while (length(&client->queue) > 0) {
        // Without MSG_NOSIGNAL, sending to a client that has closed would end the server (SIGPIPE).
        ssize_t sent =
            send(client->socket, front(&client->queue), length(&client->queue), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN) {
            // EPOLLOUT stays on: an event reports when there is room.
            printf("Write would block for Token(%lu)\n", client->token);
            return true;
        }
        if (sent < 0) {
            fprintf(stderr, "Write error for Token(%lu): %s\n", client->token, strerror(errno));
            return false;
        }
        printf("Wrote %zd bytes to Token(%lu)\n", sent, client->token);
        client->queue.start += sent;
    }
    ask_for(server, client, EPOLLIN);
    return true;
}

static void broadcast(const struct server *server, const struct client *sender, size_t count) {
    for (struct client *client = server->clients; client != NULL; client = client->next) {
        if (client == sender)
            continue;
        if (length(&client->queue) == 0)
            ask_for(server, client, EPOLLIN | EPOLLOUT);
        append(&client->queue, front(&sender->input), count);
    }
    printf("Broadcast %zu bytes from Token(%lu)\n", count, sender->token);
}

// Reads until the socket is empty, because edge-triggered epoll will not report these bytes again.
// `*lines` becomes the length of all complete lines. Returns what the last recv returned.
static ssize_t drain(struct client *client, size_t *lines) {
    for (;;) {
        char *chunk = reserve(&client->input, CHUNK);
        ssize_t count = recv(client->socket, chunk, CHUNK, 0);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count;
        client->input.end += count;
        // Only the new bytes are searched, or a long line would cost quadratic time.
        const char *newline = memrchr(chunk, '\n', count);
        if (newline != NULL)
            *lines = newline + 1 - front(&client->input);
    }
}

// Returns false if nothing more can come from the client.
static bool read_lines(const struct server *server, struct client *client) {
    size_t before = length(&client->input), lines = 0;
    ssize_t last = drain(client, &lines);
    int error = errno;
    if (lines > 0) {
        broadcast(server, client, lines);
        client->input.start += lines;
    } else if (length(&client->input) > before) {
        printf("Buffering partial message from Token(%lu)\n", client->token);
    }
    if (last < 0 && error == EAGAIN)
        return true;
    if (last < 0)
        fprintf(stderr, "Read error from Token(%lu): %s\n", client->token, strerror(error));
    else
        // End of file. The client may have closed only its sending half.
        write_queue(server, client);
    return false;
}

static void serve(struct server *server, struct client *client, uint32_t events) {
    if (server->chapter == 2) {
        printf("Client event for Token(%lu)\n", client->token);
        return;
    }
    // EPOLLHUP and EPOLLERR come without being asked for. They count as readable: recv finds out
    // what has happened.
    bool is_open = true;
    if (events & ~EPOLLOUT)
        is_open = read_lines(server, client);
    if (is_open && events & EPOLLOUT)
        is_open = write_queue(server, client);
    if (!is_open)
        disconnect(server, client);
}

static void run(struct server *server) {
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(server->epoll, events, EVENTS, -1);
        if (count < 0 && errno != EINTR)
            fail("epoll_wait", errno);
        // One call reports a socket at most once, and only its own event frees a client. So no
        // pointer in this array is stale.
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL)
                accept_clients(server);
            else
                serve(server, events[i].data.ptr, events[i].events);
        }
    }
}

static int listen_on(const char *text) {
    struct sockaddr_storage address;
    if (!parse(text, &address)) {
        fprintf(stderr, "Error: \"%s\" is not an address such as \"127.0.0.1:8080\"\n", text);
        exit(EXIT_FAILURE);
    }
    int listener = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // Connections of a server that has just ended would keep the port for a minute (TIME_WAIT).
    if (listener >= 0)
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, BACKLOG) < 0) {
        int error = errno;
        char what[128];
        snprintf(what, sizeof what, "cannot listen on %s", text);
        fail(what, error);
    }
    socklen_t size = sizeof address;
    getsockname(listener, (struct sockaddr *)&address, &size);
    char shown[ADDRESS_TEXT];
    fprintf(stderr, "Listening on %s\n", show(&address, shown));
    return listener;
}

int main(int count, char **arguments) {
    // Each line must be written at once, even to a pipe.
    setvbuf(stdout, NULL, _IOLBF, 0);
    struct server server = {.chapter = 4, .trigger = EPOLLET, .next_token = 1};
    int next = 1;
    if (next + 1 < count && strcmp(arguments[next], "--chapter") == 0) {
        server.chapter = atoi(arguments[next + 1]);
        next += 2;
    }
    if (next < count && strcmp(arguments[next], "--level-triggered") == 0) {
        server.trigger = 0;
        next++;
    }
    if (next + 1 < count) {
        fprintf(stderr, "Error: expected at most one address, but \"%s\" follows\n",
                arguments[next + 1]);
        return EXIT_FAILURE;
    }
    server.listener = listen_on(next < count ? arguments[next] : "127.0.0.1:8080");
    server.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (server.epoll < 0 || ask_epoll(&server, EPOLL_CTL_ADD, server.listener, EPOLLIN, NULL) < 0)
        fail("epoll", errno);
    run(&server);
}
