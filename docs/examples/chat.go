//go:build linux

// The course's chat server in Go, with nothing but the standard library.
//
//	go build chat.go
//	./chat [--chapter N] [ADDRESS]
//
// N, from 1 to 4, selects the chapter; the default is 4. The package net would be shorter, with a
// goroutine for each client. But net hides epoll, which is what the course is about, and registers
// every socket for reading and writing. Hence the package syscall, and one goroutine.
package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"syscall"
)

const (
	// The constant syscall.EPOLLET is negative, and the field that it is for has no sign.
	edgeTriggered = 1 << 31

	readable            = syscall.EPOLLIN | edgeTriggered
	readableAndWritable = readable | syscall.EPOLLOUT

	chunkSize = 4096
)

type client struct {
	socket int
	token  string
	input  []byte // what has been read and not been broadcast
	queue  []byte // what has to be sent
}

type server struct {
	epoll, listener int
	chapter         int
	clients         map[int]*client // by file descriptor, which is what epoll reports
	nextToken       int
}

func main() {
	chapter, address, err := parseArguments(os.Args[1:])
	if err != nil {
		fail(err)
	}
	listener, err := listen(address)
	if err != nil {
		fail(err)
	}
	s := &server{listener: listener, chapter: chapter, clients: map[int]*client{}, nextToken: 1}
	fail(s.run())
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "Error:", err)
	os.Exit(1)
}

func complain(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

func parseArguments(arguments []string) (chapter int, address string, err error) {
	chapter, address = 4, "127.0.0.1:8080"
	if len(arguments) > 1 && arguments[0] == "--chapter" {
		if chapter, err = strconv.Atoi(arguments[1]); err != nil {
			return 0, "", err
		}
		arguments = arguments[2:]
	}
	if len(arguments) > 1 {
		return 0, "", fmt.Errorf("expected at most one address, but %q follows", arguments[1])
	}
	if len(arguments) == 1 {
		address = arguments[0]
	}
	return chapter, address, nil
}

func listen(text string) (int, error) {
	address, err := netip.ParseAddrPort(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not an address such as \"127.0.0.1:8080\"", text)
	}
	listener, err := bind(address)
	if err != nil {
		return 0, fmt.Errorf("cannot listen on %s: %w", text, err)
	}
	bound, err := syscall.Getsockname(listener)
	if err != nil {
		return 0, err
	}
	complain("Listening on %s", show(bound))
	return listener, nil
}

func bind(address netip.AddrPort) (int, error) {
	family := syscall.AF_INET
	var wanted syscall.Sockaddr
	if address.Addr().Is4() {
		wanted = &syscall.SockaddrInet4{Port: int(address.Port()), Addr: address.Addr().As4()}
	} else {
		family = syscall.AF_INET6
		wanted = &syscall.SockaddrInet6{Port: int(address.Port()), Addr: address.Addr().As16()}
	}
	const kind = syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	listener, err := syscall.Socket(family, kind, 0)
	if err != nil {
		return 0, err
	}
	// Connections of a server that has just ended would keep the port for a minute (TIME_WAIT).
	err = syscall.SetsockoptInt(listener, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err != nil {
		return 0, err
	}
	if err = syscall.Bind(listener, wanted); err != nil {
		return 0, err
	}
	return listener, syscall.Listen(listener, 1024)
}

func show(address syscall.Sockaddr) string {
	switch a := address.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)).String()
	}
	return "an unknown address"
}

func (s *server) run() (err error) {
	if s.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err = s.control(syscall.EPOLL_CTL_ADD, s.listener, readable); err != nil {
		return err
	}
	events := make([]syscall.EpollEvent, 1024)
	for {
		// This blocks a thread, not the whole program: the runtime starts another one if it needs it.
		count, err := syscall.EpollWait(s.epoll, events, -1)
		// Go interrupts its own threads with SIGURG, so this happens without any Ctrl-Z.
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		for _, event := range events[:count] {
			if int(event.Fd) == s.listener {
				s.accept()
			} else if c, ok := s.clients[int(event.Fd)]; ok {
				s.serve(c, event.Events)
			}
		}
	}
}

func (s *server) control(operation, socket int, events uint32) error {
	event := syscall.EpollEvent{Events: events, Fd: int32(socket)}
	return syscall.EpollCtl(s.epoll, operation, socket, &event)
}

func (s *server) serve(c *client, events uint32) {
	if s.chapter == 2 {
		fmt.Println("Client event for", c.token)
		return
	}
	// EPOLLHUP and EPOLLERR come without being asked for. They count as readable: Read finds out what
	// has happened.
	isOpen := true
	if events&^syscall.EPOLLOUT != 0 {
		isOpen = s.read(c)
	}
	if isOpen && events&syscall.EPOLLOUT != 0 {
		isOpen = s.write(c)
	}
	if !isOpen {
		s.disconnect(c)
	}
}

// accept accepts until no connection is pending: one event may cover several.
func (s *server) accept() {
	for {
		// A connection does not inherit O_NONBLOCK from the listener (accept(2)).
		const flags = syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
		socket, address, err := syscall.Accept4(s.listener, flags)
		switch err {
		case nil:
		case syscall.EAGAIN:
			return
		case syscall.EINTR, syscall.ECONNABORTED:
			continue
		default:
			complain("Failed to accept: %v", err)
			return
		}
		fmt.Println("Accepted connection from", show(address))
		if s.chapter == 1 {
			syscall.Close(socket)
		} else if err := s.register(socket); err != nil {
			complain("Failed to register: %v", err)
			syscall.Close(socket)
		}
	}
}

func (s *server) register(socket int) error {
	err := syscall.SetsockoptInt(socket, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	if err != nil {
		return err
	}
	if err := s.control(syscall.EPOLL_CTL_ADD, socket, readable); err != nil {
		return err
	}
	c := &client{socket: socket, token: fmt.Sprintf("Token(%d)", s.nextToken)}
	s.nextToken++
	s.clients[socket] = c
	fmt.Println("Registered client with", c.token)
	return nil
}

// read broadcasts the complete lines that have come. It returns false if nothing more can come.
func (s *server) read(c *client) bool {
	before := len(c.input)
	lines, err := c.drain()
	if lines > 0 {
		s.broadcast(c, c.input[:lines])
		c.input = append([]byte(nil), c.input[lines:]...)
	} else if len(c.input) > before {
		fmt.Println("Buffering partial message from", c.token)
	}
	switch {
	case err == syscall.EAGAIN:
		return true
	case err != nil:
		complain("Read error from %s: %v", c.token, err)
	default:
		// End of file. The client may have closed only its sending half: send what is queued for it.
		s.write(c)
	}
	return false
}

// drain reads until the socket is empty, because edge-triggered epoll will not report these bytes
// again. It returns the length of all complete lines, and the error that ended the reading: nil at
// end of file.
func (c *client) drain() (lines int, err error) {
	chunk := make([]byte, chunkSize)
	for {
		count, err := syscall.Read(c.socket, chunk)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || count == 0 {
			return lines, err
		}
		// Only the new bytes are searched, or a long line would cost quadratic time.
		if newline := bytes.LastIndexByte(chunk[:count], '\n'); newline >= 0 {
			lines = len(c.input) + newline + 1
		}
		c.input = append(c.input, chunk[:count]...)
	}
}

func (s *server) broadcast(sender *client, lines []byte) {
	for _, c := range s.clients {
		if c == sender {
			continue
		}
		if len(c.queue) == 0 {
			s.askFor(c, readableAndWritable)
		}
		c.queue = append(c.queue, lines...)
	}
	fmt.Printf("Broadcast %d bytes from %s\n", len(lines), sender.token)
}

// write sends what is queued. It returns false if the connection is broken.
func (s *server) write(c *client) bool {
	if s.chapter < 4 || len(c.queue) == 0 {
		return true
	}
	for len(c.queue) > 0 {
		// If the client has closed, this is the error EPIPE. The runtime lets SIGPIPE end the program
		// for stdout and stderr only.
		sent, err := syscall.Write(c.socket, c.queue)
		switch err {
		case nil:
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			// EPOLLOUT stays on: an event reports when there is room.
			fmt.Println("Write would block for", c.token)
			return true
		default:
			complain("Write error for %s: %v", c.token, err)
			return false
		}
		fmt.Printf("Wrote %d bytes to %s\n", sent, c.token)
		c.queue = c.queue[sent:]
	}
	s.askFor(c, readable)
	return true
}

// askFor changes what epoll reports about a client. This cannot fail for a socket that is registered.
func (s *server) askFor(c *client, events uint32) {
	if err := s.control(syscall.EPOLL_CTL_MOD, c.socket, events); err != nil {
		panic(err)
	}
}

func (s *server) disconnect(c *client) {
	delete(s.clients, c.socket)
	// Closing the only descriptor of a socket also removes it from epoll (epoll(7)).
	syscall.Close(c.socket)
	fmt.Println("Client", c.token, "disconnected")
	// At the descriptor limit accept has failed, and no event will report the pending connections
	// again. A descriptor is free now: try to accept one of them.
	s.accept()
}
