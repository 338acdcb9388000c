"""Level triggering on the kernel's own epoll: what the model of it is compared with.

mio's sockets are edge-triggered, so no milestone can show it. The course's server in Python can: here it runs in
this process, its two sets of flags with or without EPOLLET, and its sockets and its epoll note each call.
"""

import fcntl
import importlib.util
import select
import socket
import struct
import termios
import time

# A level-triggered loop can spin. The model stops after that many turns, too.
MOST_TURNS = 12
# Seconds. Only ends a test that hangs.
DEADLINE = 30
FIN_WAIT2 = 5

# The milestone, the model's mistake, and what the clients do.
SCENES = [
    (4, "", ["alice connects", "bob connects", "alice sends hel", "alice sends lo\nwor", "bob half-closes", "alice sends ld\n"]),
    (2, "", ["alice connects", "alice sends hello\n", "alice sends again\n"]),
    (3, "", ["alice connects", "bob connects", "alice sends hello\n"]),
    (1, "", ["server stopped", "alice connects", "bob connects", "server continued"]),
    (4, "accepts-once", ["server stopped", "alice connects", "bob connects", "carol connects", "server continued", "dave connects"]),
]


def action_of(line):
    actor, does, *text = line.split(" ", 2)
    return {"actor": actor, "does": does, **({"text": text[0]} if text else {})}


class AtRest(Exception):
    """The next wait would block, or the loop spins."""


class Noted:
    """A socket or epoll of the server. What is not noted goes straight through."""

    def __init__(self, real, stage):
        self.real, self.stage = real, stage

    def __getattr__(self, name):
        return getattr(self.real, name)


class Listener(Noted):
    def accept(self):
        try:
            connection, address = self.real.accept()
        except BlockingIOError:
            self.stage.note("accept4", "listener", "EAGAIN")
            raise
        self.stage.pending -= 1
        name = self.stage.names[address[1]]
        self.stage.descriptors[connection.fileno()] = name
        self.stage.note("accept4", "listener", name)
        return Connection(connection, self.stage), ("127.0.0.1", "xxxxx")


class Connection(Noted):
    def recv(self, size):
        return self.moved("read", lambda: self.real.recv(size), len)

    def send(self, data):
        return self.moved("write", lambda: self.real.send(data), int)

    def moved(self, call, move, count):
        name = self.stage.descriptors[self.real.fileno()]
        try:
            result = move()
        except BlockingIOError:
            self.stage.note(call, name, "EAGAIN")
            raise
        self.stage.note(call, name, count(result))
        return result

    def close(self):
        self.stage.note("close", self.stage.descriptors[self.real.fileno()], 0)
        self.real.close()


class Epoll(Noted):
    turns = 0

    def poll(self):
        events = self.real.poll(0)
        if not events or self.turns == MOST_TURNS:
            raise AtRest
        self.turns += 1
        shown = sorted([self.stage.descriptors[descriptor], words(flags)] for descriptor, flags in events)
        self.stage.note("epoll_wait", None, shown)
        return events

    def register(self, connection, flags):
        self.changed("ADD", connection, f"{words(flags)} {trigger(flags)}")
        self.real.register(connection, flags)

    def modify(self, connection, flags):
        self.changed("MOD", connection, f"{words(flags)} {trigger(flags)}")
        self.real.modify(connection, flags)

    def unregister(self, connection):
        self.changed("DEL", connection, "")
        self.real.unregister(connection)

    def changed(self, operation, connection, interest):
        name = self.stage.descriptors[connection.fileno()]
        self.stage.note("epoll_ctl", name, f"{operation} {interest}".strip())


def words(flags):
    names = ((select.EPOLLIN, "READABLE"), (select.EPOLLOUT, "WRITABLE"))
    return " | ".join(name for flag, name in names if flags & flag)


def trigger(flags):
    return "edge" if flags & select.EPOLLET else "level"


class Stage:
    def __init__(self, workspace, milestone, mistake, trigger):
        spec = importlib.util.spec_from_file_location("chat", workspace / "docs/examples/chat.py")
        chat = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(chat)
        chat.READABLE = select.EPOLLIN | (select.EPOLLET if trigger == "edge" else 0)
        chat.READABLE_AND_WRITABLE = chat.READABLE | select.EPOLLOUT
        chat.print = lambda line: self.note("stdout", None, line)
        self.steps, self.names, self.clients, self.pending, self.is_stopped = [], {}, {}, 0, False
        listener = chat.listen("127.0.0.1:0")
        self.server = chat.Server(listener, milestone)
        self.server.listener = Listener(listener, self)
        self.server.epoll = Epoll(self.server.epoll, self)
        self.descriptors = {listener.fileno(): "listener"}
        if mistake == "accepts-once":
            self.server.accept = self.accept_once

    def accept_once(self):
        connection, _ = self.server.listener.accept()
        self.note("stdout", None, "Accepted connection from 127.0.0.1:xxxxx")
        self.server.register(connection)

    def note(self, call, on, result):
        self.steps.append([call, on, result])

    def act(self, actor, does, text=""):
        """Returns what the server does after it."""
        self.steps = []
        if actor == "server":
            self.is_stopped = does == "stopped"
        elif does == "connects":
            self.connect(actor)
        elif does == "sends":
            self.clients[actor].sendall(text.encode())
            wait(lambda: fcntl.ioctl(self.clients[actor], termios.TIOCOUTQ, b"\0" * 4) == b"\0" * 4)
        else:
            self.clients[actor].shutdown(socket.SHUT_WR)
            wait(lambda: tcp_info(self.clients[actor], 0, "B") == FIN_WAIT2)
        if not self.is_stopped:
            self.run()
        return self.steps

    def connect(self, name):
        client = socket.socket()
        client.bind(("127.0.0.1", 0))
        self.names[client.getsockname()[1]] = name
        client.connect(self.server.listener.getsockname())
        self.clients[name] = client
        self.pending += 1
        # Of a listener this is the number of pending connections (tcp_get_info in Linux).
        wait(lambda: tcp_info(self.server.listener, 24, "I") == self.pending)

    def run(self):
        self.server.epoll.turns = 0
        try:
            self.server.run()
        except AtRest:
            pass


def tcp_info(connection, offset, kind):
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return struct.unpack_from(kind, info, offset)[0]


def wait(is_so):
    end = time.monotonic() + DEADLINE
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("the kernel has not delivered what was sent")
        time.sleep(0.001)


def record(workspace, milestone, mistake, actions, trigger):
    stage = Stage(workspace, milestone, mistake, trigger)
    return [stage.act(**action) for action in actions]


def noted(steps):
    """The model's steps in the same form, for each action."""
    groups = []
    for step in steps:
        if step["actor"] != "server" or step.get("does") in ("stopped", "continued"):
            groups.append([])
        elif step.get("call") == "epoll_wait":
            # The server in Python does not ask for EPOLLRDHUP.
            events = [[name, readiness.replace(" | READ_CLOSED", "")] for name, readiness in step["events"]]
            groups[-1].append(["epoll_wait", None, sorted(events)])
        elif "call" in step:
            groups[-1].append([step["call"], step["on"], step["result"]])
        elif "stdout" in step:
            groups[-1].append(["stdout", None, step["stdout"]])
    return groups
