import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.Queue;
import java.util.Set;

/**
 * The course's chat server in Java, with nothing but the standard library.
 *
 * <pre>
 * javac -d /tmp Chat.java
 * java -cp /tmp Chat [--chapter N] [ADDRESS]
 * </pre>
 *
 * N, from 1 to 4, selects the chapter; the default is 4. Java's Selector is level-triggered: it
 * reports a channel for as long as it is ready. One accept or read for each event is therefore
 * enough, because whatever is left is reported again. But the loop never sleeps while a channel
 * is ready for something that nobody is going to do, so the server must not ask for that.
 */
final class Chat {
    private static final class Client {
        final SocketChannel channel;
        final String token;
        SelectionKey key;
        final ByteArrayOutputStream halfLine = new ByteArrayOutputStream(); // since the last newline
        final Queue<ByteBuffer> queue = new ArrayDeque<>(); // the bytes to be sent

        Client(SocketChannel channel, String token) {
            this.channel = channel;
            this.token = token;
        }
    }

    private final int chapter;
    private final Selector selector;
    private final ServerSocketChannel listener;
    private final SelectionKey listenerKey;
    private final Set<Client> clients = new HashSet<>();
    private final ByteBuffer chunk = ByteBuffer.allocate(4096);
    private int nextToken = 1;

    private Chat(int chapter, InetSocketAddress address) throws IOException {
        this.chapter = chapter;
        // The first close opens descriptors of the JVM's own. When none is left, that is too late.
        SocketChannel.open().close();
        selector = Selector.open();
        listener = ServerSocketChannel.open();
        listener.bind(address, 1024); // otherwise, only 50 connections may be pending
        listener.configureBlocking(false);
        listenerKey = listener.register(selector, SelectionKey.OP_ACCEPT);
        System.err.println("Listening on " + show(listener.getLocalAddress()));
    }

    private void run() throws IOException {
        while (true) {
            // Calls serve in the order of the events. The set selectedKeys() has another one, and
            // keeps a key until it is removed by hand.
            selector.select(this::serve);
        }
    }

    private void serve(SelectionKey key) {
        if (key == listenerKey) {
            accept();
            return;
        }
        Client client = (Client) key.attachment();
        if (chapter == 2) {
            System.out.println("Client event for " + client.token);
            key.interestOps(0); // the bytes stay unread, so they would be reported forever
            return;
        }
        if (key.isReadable()) {
            read(client);
        }
        // The client may be gone now, and its key would throw a CancelledKeyException.
        if (key.isValid() && key.isWritable()) {
            write(client);
        }
    }

    private void accept() {
        SocketChannel channel;
        try {
            channel = listener.accept();
        } catch (IOException e) {
            System.err.println("Failed to accept: " + e.getMessage());
            // No descriptor is left, probably, and the connection stays pending, so it would be
            // reported forever. The next client that disconnects turns this on again.
            if (!clients.isEmpty()) {
                listenerKey.interestOps(0);
            }
            return;
        }
        if (channel == null) {
            return; // the client has given up
        }
        try {
            System.out.println("Accepted connection from " + show(channel.getRemoteAddress()));
            if (chapter == 1) {
                channel.close();
            } else {
                register(channel);
            }
        } catch (IOException e) {
            System.err.println("Failed to register: " + e.getMessage());
        }
    }

    private void register(SocketChannel channel) throws IOException {
        channel.configureBlocking(false); // not inherited from the listener
        channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
        Client client = new Client(channel, "Token(" + nextToken++ + ")");
        client.key = channel.register(selector, SelectionKey.OP_READ, client);
        clients.add(client);
        System.out.println("Registered client with " + client.token);
    }

    private void read(Client client) {
        int count;
        try {
            count = client.channel.read(chunk.clear());
        } catch (IOException e) {
            System.err.println("Read error from " + client.token + ": " + e.getMessage());
            disconnect(client);
            return;
        }
        if (count > 0) {
            takeLines(client, chunk.array(), count);
        } else if (count < 0) {
            // The client may have closed only its sending half: send what is queued for it.
            write(client);
            disconnect(client);
        }
    }

    private void takeLines(Client client, byte[] bytes, int count) {
        int end = count; // behind the last newline
        while (end > 0 && bytes[end - 1] != '\n') {
            end--;
        }
        client.halfLine.write(bytes, 0, end);
        if (end > 0) {
            broadcast(client, ByteBuffer.wrap(client.halfLine.toByteArray()));
            client.halfLine.reset();
        } else {
            System.out.println("Buffering partial message from " + client.token);
        }
        client.halfLine.write(bytes, end, count - end);
    }

    private void broadcast(Client sender, ByteBuffer lines) {
        for (Client client : clients) {
            if (client == sender) {
                continue;
            }
            // In chapter 3 nothing is sent, so a socket with room would be reported forever.
            if (chapter == 4 && client.queue.isEmpty()) {
                client.key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
            }
            client.queue.add(lines.duplicate()); // the same bytes, with a position of its own
        }
        System.out.println("Broadcast " + lines.remaining() + " bytes from " + sender.token);
    }

    private void write(Client client) {
        if (chapter < 4) {
            return;
        }
        try {
            while (!client.queue.isEmpty()) {
                ByteBuffer lines = client.queue.peek();
                int count = client.channel.write(lines);
                if (count == 0) {
                    System.out.println("Write would block for " + client.token);
                    return; // OP_WRITE stays on: an event reports when there is room
                }
                System.out.println("Wrote " + count + " bytes to " + client.token);
                if (!lines.hasRemaining()) {
                    client.queue.remove();
                }
            }
            // A socket has room nearly always, and would be reported forever.
            client.key.interestOps(SelectionKey.OP_READ);
        } catch (IOException e) {
            System.err.println("Write error for " + client.token + ": " + e.getMessage());
            disconnect(client);
        }
    }

    private void disconnect(Client client) {
        if (!clients.remove(client)) {
            return;
        }
        try {
            client.channel.close();
        } catch (IOException e) {
            System.err.println("Failed to close " + client.token + ": " + e.getMessage());
        }
        System.out.println("Client " + client.token + " disconnected");
        listenerKey.interestOps(SelectionKey.OP_ACCEPT); // a descriptor is free now
    }

    private static InetSocketAddress parse(String text) throws IOException {
        int colon = text.lastIndexOf(':');
        String host = text.substring(0, Math.max(colon, 0));
        // Anything else is a name, and getByName would ask the DNS.
        if (!host.matches("[0-9]+(\\.[0-9]+){3}|\\[[0-9a-fA-F:.]+]")) {
            throw new IllegalArgumentException(host);
        }
        int port = Integer.parseInt(text.substring(colon + 1));
        return new InetSocketAddress(InetAddress.getByName(host), port);
    }

    /** An address as the course writes it: Java would print /127.0.0.1:8080 or /[0:0:0:0:0:0:0:1]:8080. */
    private static String show(SocketAddress address) {
        InetSocketAddress internet = (InetSocketAddress) address;
        String host = internet.getAddress().getHostAddress();
        if (internet.getAddress() instanceof Inet6Address) {
            host = "[" + host.replaceFirst("(^|:)0(:0)+(:|$)", "::") + "]";
        }
        return host + ":" + internet.getPort();
    }

    private static void fail(String error) {
        System.err.println("Error: " + error);
        System.exit(1);
    }

    public static void main(String[] arguments) throws IOException {
        int chapter = 4;
        int next = 0;
        if (arguments.length >= 2 && arguments[0].equals("--chapter")) {
            chapter = Integer.parseInt(arguments[1]);
            next = 2;
        }
        if (arguments.length > next + 1) {
            fail("expected at most one address, but \"" + arguments[next + 1] + "\" follows");
        }
        String text = arguments.length > next ? arguments[next] : "127.0.0.1:8080";
        Chat server;
        try {
            server = new Chat(chapter, parse(text));
        } catch (IllegalArgumentException e) {
            fail("\"" + text + "\" is not an address such as \"127.0.0.1:8080\"");
            return;
        } catch (IOException e) {
            fail("cannot listen on " + text + "\n\n" + e.getMessage());
            return;
        }
        server.run();
    }
}
