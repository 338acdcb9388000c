"""The strangers of chapter 5: python3 strangers.py NAME."""

import socket
import sys
import time


def connect():
    return socket.create_connection(("127.0.0.1", 8080))


def silent():
    """Never reads."""
    client = connect()
    time.sleep(300)
    client.close()


def slow():
    """Reads 30 KB a second."""
    client = connect()
    while client.recv(3000):
        time.sleep(0.1)


def half():
    """Closes its sending half, and then receives what is queued for it."""
    client = connect()
    input("Press Enter to close the sending half. ")
    client.shutdown(socket.SHUT_WR)
    received = 0
    while data := client.recv(65536):
        received += len(data)
    print(received, "bytes")


def talk():
    """Says hello five thousand times, one line at a time."""
    client = connect()
    for number in range(5000):
        client.sendall(b"hello %d\n" % number)
        time.sleep(0.0005)


def halves():
    """Nine hundred clients begin a line, and do not finish it."""
    clients = [connect() for _ in range(900)]
    for client in clients:
        try:
            client.sendall(b"x" * 60000)
        except OSError:
            pass  # The server has closed it.
    time.sleep(10)


def crowd():
    """Forty clients from one address."""
    clients = [connect() for _ in range(40)]
    time.sleep(60)
    del clients


STRANGERS = {f.__name__: f for f in (silent, slow, half, talk, halves, crowd)}

if len(sys.argv) != 2 or sys.argv[1] not in STRANGERS:
    sys.exit("usage: strangers.py " + "|".join(STRANGERS))
STRANGERS[sys.argv[1]]()
