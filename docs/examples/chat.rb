#!/usr/bin/env ruby
# frozen_string_literal: true

# The course's chat server in Ruby, with nothing but the standard library.
#
#     ruby chat.rb [--chapter N] [ADDRESS]
#
# N, from 1 to 4, selects the chapter; the default is 4. IO.select is level-triggered: it reports a
# socket for as long as it is ready. One accept or read for each event is therefore enough, because
# whatever is left is reported again. But the loop never sleeps while a socket is ready for something
# that nobody is going to do, so the server must not ask for that.

require 'ipaddr'
require 'socket'

class Client
  attr_reader :socket, :token, :queue
  attr_accessor :half_line

  def initialize(socket, token)
    @socket = socket
    @token = token
    @half_line = String.new # the bytes since the last newline
    @queue = [] # the strings to be sent
  end

  # What IO.select calls, so that it takes a client as it is, and returns it.
  def to_io = socket
end

class Server
  def initialize(listener, chapter)
    @listener = listener
    @chapter = chapter
    @clients = []
    @next_token = 1
    @readers = [listener] # what IO.select watches for reading
  end

  def run
    loop do
      readable, writable = IO.select(@readers, writers)
      readable.each { |io| io == @listener ? accept : serve(io) }
      # Reading may have closed some of these.
      (writable & @clients).each { |client| write(client) }
    end
  end

  private

  # A socket has room nearly always, and would be reported forever: ask only while bytes are queued.
  # In chapter 3 nothing is sent, so not even then.
  def writers
    @chapter == 4 ? @clients.reject { |client| client.queue.empty? } : []
  end

  def serve(client)
    return read(client) unless @chapter == 2

    puts "Client event for #{client.token}"
    @readers.delete(client) # the bytes stay unread, so they would be reported forever
  end

  def accept
    socket, address = @listener.accept_nonblock(exception: false)
    return if socket == :wait_readable # the client has given up

    puts "Accepted connection from #{address.inspect_sockaddr}"
    @chapter == 1 ? socket.close : register(socket)
  rescue Errno::ECONNABORTED, Errno::EINTR
    # No error of the server's. What is still pending is reported again.
  rescue SystemCallError => e
    warn "Failed to accept: #{e.message}"
    # No descriptor is left, probably, and the connection stays pending, so it would be reported
    # forever. The next client that disconnects puts the listener back.
    @readers.delete(@listener) if @clients.any?
  end

  def register(socket)
    socket.setsockopt(:TCP, :NODELAY, 1)
    client = Client.new(socket, "Token(#{@next_token})")
    @next_token += 1
    @clients << client
    @readers << client
    puts "Registered client with #{client.token}"
  end

  def read(client)
    chunk = client.socket.read_nonblock(4096, exception: false)
    case chunk
    when :wait_readable then nil # an event is only a hint
    when String then take_lines(client, chunk)
    when nil # end of file
      # The client may have closed only its sending half: send what is queued for it.
      write(client)
      disconnect(client)
    end
  rescue Errno::EINTR
    # Nothing is lost: the bytes are reported again.
  rescue SystemCallError => e
    warn "Read error from #{client.token}: #{e.message}"
    disconnect(client)
  end

  def take_lines(client, chunk)
    *lines, rest = chunk.rpartition("\n")
    if lines.join.empty?
      puts "Buffering partial message from #{client.token}"
    else
      broadcast(client, client.half_line + lines.join)
      client.half_line = String.new
    end
    client.half_line << rest
  end

  def broadcast(sender, lines)
    @clients.each { |client| client.queue << lines unless client == sender }
    puts "Broadcast #{lines.bytesize} bytes from #{sender.token}"
  end

  def write(client)
    return if @chapter < 4

    while (lines = client.queue.first)
      count = client.socket.write_nonblock(lines, exception: false)
      return puts "Write would block for #{client.token}" if count == :wait_writable

      puts "Wrote #{count} bytes to #{client.token}"
      client.queue.shift
      client.queue.unshift(lines.byteslice(count..)) if count < lines.bytesize
    end
  rescue Errno::EINTR
    # Nothing is lost: as long as bytes are queued, an event reports that there is room.
  rescue SystemCallError => e
    warn "Write error for #{client.token}: #{e.message}"
    disconnect(client)
  end

  def disconnect(client)
    return unless @clients.delete(client)

    @readers.delete(client) # IO.select raises an IOError for a closed socket
    client.socket.close
    puts "Client #{client.token} disconnected"
    @readers |= [@listener] # a descriptor is free now
  end
end

# The host and port of an address such as 127.0.0.1:8080 or [::1]:8080.
def parse(address)
  host, port = address.match(/\A\[?([\h.:]+?)\]?:(\d+)\z/)&.captures
  raise ArgumentError unless host && IPAddr.new(host) && port.to_i < 65_536

  [host, port]
end

def listen(address)
  listener = Addrinfo.tcp(*parse(address)).listen # with SO_REUSEADDR
  warn "Listening on #{listener.local_address.inspect_sockaddr}"
  listener
rescue ArgumentError
  abort "Error: #{address.inspect} is not an address such as \"127.0.0.1:8080\""
rescue SystemCallError => e
  abort "Error: cannot listen on #{address}\n\n#{e.message}"
end

$stdout.sync = true # each line must be written at once, even to a pipe
chapter = 4
chapter = ARGV.shift(2).last.to_i if ARGV.first == '--chapter'
abort "Error: expected at most one address, but #{ARGV[1].inspect} follows" if ARGV.size > 1
begin
  Server.new(listen(ARGV.fetch(0, '127.0.0.1:8080')), chapter).run
rescue Interrupt
  # Ctrl-C
end
