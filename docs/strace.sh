#!/usr/bin/env bash
# Shows the system calls of a milestone while two clients connect, one sends a line, and both
# disconnect. docs/src/kernel.md shows this output. Needs strace.
#
#     docs/strace.sh milestone-1-accept
#
# The output is abridged: it leaves out what precedes the first call to epoll, iterations in which
# nothing happened, writes to stderr, port numbers, and the addresses of buffers.
set -euo pipefail
cd "$(dirname "$0")/.."

milestone=${1:?"expected a milestone, such as milestone-1-accept"}
cargo build --quiet -p "$milestone"
target=$(cargo metadata --no-deps --format-version=1 | grep -o '"target_directory":"[^"]*"' | cut -d'"' -f4)

work=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -r "$work"' EXIT

calls=epoll_create1,epoll_ctl,epoll_wait,socket,bind,listen,accept4,setsockopt,read,recvfrom,write,sendto,close
# With `--daemonize`, the process started here is the server, not strace: `$!` is the server's.
strace --daemonize --output="$work/calls" --trace="$calls" --string-limit=60 \
    "$target/debug/$milestone" 127.0.0.1:0 >"$work/stdout" 2>"$work/stderr" &
server=$!

# await FILE PATTERN COUNT: waits until COUNT lines of FILE match PATTERN.
await() {
    for _ in {1..2000}; do
        if [ "$(grep --count --extended-regexp "$2" "$work/$1" || true)" -ge "$3" ]; then return; fi
        sleep 0.01
    done
    echo "fewer than $3 lines of $1 matched '$2' within 20 s" >&2
    exit 1
}

# What the server prints when a client connects, when it sends a line, and when it disconnects.
# Milestone 1 prints nothing for the last two, and milestone 2 prints the same for both.
first_gone=1
case $milestone in
milestone-1-*) come='^Accepted' spoken='' gone='' ;;
milestone-2-*) come='^Registered' spoken='^Client event' gone=$spoken first_gone=2 ;;
milestone-3-*) come='^Registered' spoken='^Broadcast' gone='disconnected$' ;;
*) come='^Registered' spoken='^Wrote' gone='disconnected$' ;;
esac

await stderr '^Listening on' 1
address=$(sed --quiet 's/^Listening on //p' "$work/stderr")
exec {alice}<>"/dev/tcp/${address%:*}/${address##*:}"
await stdout "$come" 1
exec {bob}<>"/dev/tcp/${address%:*}/${address##*:}"
await stdout "$come" 2
if [ -n "$spoken" ]; then
    echo 'Hello from A' >&"$alice"
    await stdout "$spoken" 1
fi
if [ "$spoken" = '^Wrote' ]; then read -r -u "$bob"; fi
exec {alice}>&-
if [ -n "$gone" ]; then await stdout "$gone" "$first_gone"; fi
exec {bob}>&-
if [ -n "$gone" ]; then await stdout "$gone" $((first_gone + 1)); fi
# Once everything has been handled, the loop waits again.
rounds=$(grep --count epoll_wait "$work/calls")
await calls epoll_wait $((rounds + 1))

# A call that is still in progress has no result yet.
sed --quiet '/^epoll_create1/,$p' "$work/calls" |
    grep ' = ' |
    grep --invert-match --extended-regexp '^epoll_wait.* = 0$|^write\(2,' |
    sed --regexp-extended \
        -e 's/data=\{u32=[0-9]+, u64=([0-9]+)\}/data=\1/g' \
        -e 's/\{sa_family=AF_INET, sin_port=htons\([0-9]+\), sin_addr=inet_addr\("127.0.0.1"\)\}/{127.0.0.1:xxxxx}/' \
        -e 's/127\.0\.0\.1:[0-9]+/127.0.0.1:xxxxx/' \
        -e 's/0x[0-9a-f]+/…/' -e 's/ \(Resource temporarily unavailable\)//' \
        -e 's/ +=/ =/'
