#!/usr/bin/env bash
# Shows the system calls of a milestone while two clients connect, one sends a line, and both
# disconnect. docs/src/kernel.md quotes this output. Needs strace.
#
#     docs/strace.sh milestone-1-accept
#
# It leaves out what precedes the first call to epoll, iterations in which nothing happened, writes to
# stderr, other threads than the first, port numbers, and the addresses of buffers.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --quiet --package book-checks --example calls -- "$@"
