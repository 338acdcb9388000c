#!/usr/bin/env python3
"""The course's chat server in Python, with the module `selectors`.

    python3 chat_selectors.py [--chapter N] [ADDRESS]

N, from 1 to 4, selects the chapter; the default is 4. A selector is level-triggered: it reports a
socket for as long as it is ready. One `accept` or `recv` for each event is therefore enough, because
whatever is left is reported again. But the loop never sleeps while a socket is ready for something
that nobody is going to do, so the server must not ask for that.
"""

import ipaddress
import os
import selectors
import socket
import sys
from selectors import EVENT_READ, EVENT_WRITE


def complain(text):
    print(text, file=sys.stderr)


def parse(address):
    """Return the host and port of an address such as 127.0.0.1:8080 or [::1]:8080."""
    host, _, port = address.rpartition(":")
    is_ipv6 = host.startswith("[") and host.endswith("]")
    ip = ipaddress.IPv6Address(host[1:-1]) if is_ipv6 else ipaddress.IPv4Address(host)
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(port)
    return str(ip), int(port)


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
        self.clients = set()
        self.next_token = 1
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, EVENT_READ)

    def run(self):
        while True:
            for key, events in self.selector.select():
                if key.fileobj is self.listener:
                    self.accept()
                else:
                    self.serve(key.data, events)

    def serve(self, client, events):
        if self.chapter == 2:
            print(f"Client event for {client.token}")
            # The bytes stay unread, so they would be reported forever.
            return self.selector.unregister(client.connection)
        if events & EVENT_READ:
            self.read(client)
        if events & EVENT_WRITE and client in self.clients:
            self.write(client)

    def accept(self):
        try:
            connection, address = self.listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has given up
        except OSError as error:
            complain(f"Failed to accept: {error}")
            # No descriptor is left, probably, and the connection stays pending, so it would be
            # reported forever. The next client that disconnects turns this on again.
            if self.clients:
                self.selector.unregister(self.listener)
            return
        print(f"Accepted connection from {show(address)}")
        if self.chapter == 1:
            connection.close()
        else:
            self.register(connection)

    def register(self, connection):
        connection.setblocking(False)  # not inherited from the listener
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection, f"Token({self.next_token})")
        self.next_token += 1
        self.clients.add(client)
        self.selector.register(connection, EVENT_READ, client)
        print(f"Registered client with {client.token}")

    def read(self, client):
        try:
            chunk = client.connection.recv(4096)
        except BlockingIOError:
            return  # an event is only a hint
        except OSError as error:
            complain(f"Read error from {client.token}: {error}")
            return self.disconnect(client)
        if not chunk:
            # The client may have closed only its sending half: send what is queued for it.
            self.write(client)
            return self.disconnect(client)

        end = chunk.rfind(b"\n") + 1
        client.half_line += chunk[:end]
        if end:
            self.broadcast(client, client.half_line)
            client.half_line = bytearray()
        else:
            print(f"Buffering partial message from {client.token}")
        client.half_line += chunk[end:]

    def broadcast(self, sender, lines):
        for client in self.clients - {sender}:
            # In chapter 3 nothing is sent, so a socket with room would be reported forever.
            if self.chapter == 4 and not client.queue:
                self.selector.modify(client.connection, EVENT_READ | EVENT_WRITE, client)
            client.queue += lines
        print(f"Broadcast {len(lines)} bytes from {sender.token}")

    def write(self, client):
        if self.chapter < 4:
            return
        while client.queue:
            try:
                sent = client.connection.send(client.queue)
            except BlockingIOError:
                # EVENT_WRITE stays on: an event reports when there is room.
                return print(f"Write would block for {client.token}")
            except OSError as error:
                complain(f"Write error for {client.token}: {error}")
                return self.disconnect(client)
            print(f"Wrote {sent} bytes to {client.token}")
            del client.queue[:sent]
        # A socket has room nearly always, and would be reported forever.
        self.selector.modify(client.connection, EVENT_READ, client)

    def disconnect(self, client):
        if client not in self.clients:
            return
        self.clients.remove(client)
        self.selector.unregister(client.connection)  # before it is closed and has no number
        client.connection.close()
        print(f"Client {client.token} disconnected")
        if self.listener not in self.selector.get_map():
            self.selector.register(self.listener, EVENT_READ)  # a descriptor is free now


def listen(address):
    try:
        host, port = parse(address)
    except ValueError:
        sys.exit(f'Error: "{address}" is not an address such as "127.0.0.1:8080"')
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)  # with SO_REUSEADDR
    except OSError as error:
        sys.exit(f"Error: cannot listen on {address}\n\n{os.strerror(error.errno)}")
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
