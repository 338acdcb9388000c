#!/usr/bin/env python3
"""The course's chat server in Python, with nothing but the standard library.

    python3 chat.py [--chapter N] [ADDRESS]

N, from 1 to 4, selects the chapter; the default is 4. The module `selectors` would be shorter, but
it is level-triggered. Chapters 2 and 3 leave bytes unread and sockets writable on purpose, so with
it the server would never sleep. Hence `select.epoll`, edge-triggered.
"""

import ipaddress
import os
import select
import socket
import sys

READABLE = select.EPOLLIN | select.EPOLLET
READABLE_AND_WRITABLE = READABLE | select.EPOLLOUT


def complain(text):
    print(text, file=sys.stderr)


def parse(address):
    """Return the host, port and family of an address such as 127.0.0.1:8080 or [::1]:8080."""
    host, _, port = address.rpartition(":")
    is_ipv6 = host.startswith("[") and host.endswith("]")
    ip = ipaddress.IPv6Address(host[1:-1]) if is_ipv6 else ipaddress.IPv4Address(host)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(port)
    return (str(ip), int(port)), socket.AF_INET6 if is_ipv6 else socket.AF_INET


def show(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Client:
    def __init__(self, connection, token):
        self.connection = connection
        self.token = token
        self.half_line = bytearray()  # the bytes since the last newline
        self.queue = bytearray()  # the bytes to be sent


class Server:
    def __init__(self, listener, chapter):
        self.listener = listener
        self.chapter = chapter
        self.clients = {}  # by file descriptor, which is what epoll reports
        self.next_token = 1
        self.epoll = select.epoll()
        self.epoll.register(listener, READABLE)

    def run(self):
        while True:
            # A signal is not an error: Python retries the call by itself (PEP 475).
            for descriptor, events in self.epoll.poll():
                if descriptor == self.listener.fileno():
                    self.accept()
                elif client := self.clients.get(descriptor):
                    self.serve(client, events)

    def serve(self, client, events):
        if self.chapter == 2:
            print(f"Client event for {client.token}")
            return
        # End of file and errors count as readable: `recv` finds out which.
        if events & ~select.EPOLLOUT:
            self.read(client)
        if events & select.EPOLLOUT and client.connection.fileno() in self.clients:
            self.write(client)

    def accept(self):
        """Accept until no connection is pending: one event may cover several."""
        while True:
            try:
                connection, address = self.listener.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                return complain(f"Failed to accept: {error}")
            print(f"Accepted connection from {show(address)}")
            if self.chapter == 1:
                connection.close()
            else:
                self.register(connection)

    def register(self, connection):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.epoll.register(connection, READABLE)
        client = Client(connection, f"Token({self.next_token})")
        self.next_token += 1
        self.clients[connection.fileno()] = client
        print(f"Registered client with {client.token}")

    def read(self, client):
        lines, ended = bytearray(), False
        before = len(client.half_line)
        while not ended:
            try:
                chunk = client.connection.recv(4096)
            except BlockingIOError:
                break
            except OSError as error:
                complain(f"Read error from {client.token}: {error}")
                client.queue.clear()  # nothing more can be sent
                ended = True
                break
            ended = not chunk
            end = chunk.rfind(b"\n") + 1
            if end:
                lines += client.half_line + chunk[:end]
                client.half_line.clear()
            client.half_line += chunk[end:]

        if lines:
            self.broadcast(client, lines)
        elif len(client.half_line) > before:
            print(f"Buffering partial message from {client.token}")
        if ended:
            # The client may have closed only its sending half: send what is queued for it.
            self.write(client)
            self.disconnect(client)

    def broadcast(self, sender, lines):
        for client in self.clients.values():
            if client is sender:
                continue
            if not client.queue:
                self.epoll.modify(client.connection, READABLE_AND_WRITABLE)
            client.queue += lines
        print(f"Broadcast {len(lines)} bytes from {sender.token}")

    def write(self, client):
        if self.chapter < 4:
            return
        while client.queue:
            try:
                sent = client.connection.send(client.queue)
            except BlockingIOError:
                # WRITABLE stays on: an event reports when there is room.
                return print(f"Write would block for {client.token}")
            except OSError as error:
                complain(f"Write error for {client.token}: {error}")
                return self.disconnect(client)
            print(f"Wrote {sent} bytes to {client.token}")
            del client.queue[:sent]
        self.epoll.modify(client.connection, READABLE)

    def disconnect(self, client):
        if self.clients.pop(client.connection.fileno(), None) is None:
            return
        self.epoll.unregister(client.connection)
        client.connection.close()
        print(f"Client {client.token} disconnected")
        # At the descriptor limit `accept` has failed, and no event will report the pending
        # connections again. A descriptor is free now: try to accept one of them.
        self.accept()


def listen(address):
    try:
        at, family = parse(address)
    except ValueError:
        sys.exit(f'Error: "{address}" is not an address such as "127.0.0.1:8080"')
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(at)
    except OSError as error:
        sys.exit(f"Error: cannot listen on {address}\n\n{os.strerror(error.errno)}")
    listener.listen(1024)
    listener.setblocking(False)
    return listener


def main(arguments):
    # Each line must be written at once, even to a pipe.
    sys.stdout.reconfigure(line_buffering=True)
    chapter = 4
    if arguments[:1] == ["--chapter"]:
        chapter = int(arguments[1])
        arguments = arguments[2:]
    if len(arguments) > 1:
        sys.exit(f'Error: expected at most one address, but "{arguments[1]}" follows')
    listener = listen(arguments[0] if arguments else "127.0.0.1:8080")
    complain(f"Listening on {show(listener.getsockname())}")
    Server(listener, chapter).run()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        pass
