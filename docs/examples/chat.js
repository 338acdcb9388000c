'use strict';
// The course's chat server in JavaScript: node chat.js [--chapter N] [ADDRESS]
//
// N, from 1 to 4, selects the chapter; the default is 4. The event loop belongs to Node: it accepts, reads
// and writes, and calls a function when that is done. So this file has no loop.
const net = require('node:net');

const hasChapter = process.argv[2] === '--chapter';
const chapter = hasChapter ? Number(process.argv[3]) : 4;
const [address = '127.0.0.1:8080', second] = process.argv.slice(hasChapter ? 4 : 2);
const clients = new Set();
let nextToken = 1;

function fail(error) {
  console.error(`Error: ${error}`);
  process.exit(1);
}

function show(host, port) {
  if (!host) return 'an unknown address'; // the client is gone already
  return net.isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function accept(socket) {
  console.log(`Accepted connection from ${show(socket.remoteAddress, socket.remotePort)}`);
  if (chapter === 1) return socket.destroy();
  const client = { socket, token: `Token(${nextToken++})`, halfLine: [] };
  clients.add(client);
  console.log(`Registered client with ${client.token}`);
  // Without this one, the error would be thrown and end the server. 'close' follows.
  socket.on('error', ({ syscall, message }) => {
    console.error(`${syscall === 'write' ? 'Write error for' : 'Read error from'} ${client.token}: ${message}`);
  });
  if (chapter === 2) {
    // The bytes have been read already. Without a function for 'data', nothing would be reported.
    const report = () => console.log(`Client event for ${client.token}`);
    return socket.on('data', report).on('end', report);
  }
  socket.on('data', (bytes) => takeLines(client, bytes));
  // Otherwise Node would wait until its whole queue is sent, for as long as that takes.
  socket.on('end', () => socket.destroy());
  socket.on('close', () => {
    clients.delete(client);
    console.log(`Client ${client.token} disconnected`);
  });
}

function takeLines(client, bytes) {
  const end = bytes.lastIndexOf('\n') + 1;
  if (end > 0) broadcast(client, Buffer.concat([...client.halfLine.splice(0), bytes.subarray(0, end)]));
  else console.log(`Buffering partial message from ${client.token}`);
  client.halfLine.push(bytes.subarray(end));
}

function broadcast(sender, lines) {
  console.log(`Broadcast ${lines.length} bytes from ${sender.token}`);
  for (const client of clients) {
    if (client !== sender) write(client, lines);
  }
}

function write({ socket, token }, lines) {
  if (chapter === 3) socket.cork(); // from now on, everything is queued and nothing is sent
  const hadRoom = chapter === 4 && socket.writableLength === 0;
  socket.write(lines, (error) => error || console.log(`Wrote ${lines.length} bytes to ${token}`));
  // The socket is full. What `write` returns says only whether Node itself holds more than 16 KiB.
  if (hadRoom && socket.writableLength > 0) console.log(`Write would block for ${token}`);
}

const [, host, port] = /^\[?([\da-f:.]+?)\]?:(\d+)$/i.exec(address) ?? [];
if (second) fail(`expected at most one address, but "${second}" follows`);
if (!net.isIP(host) || port > 65535) fail(`"${address}" is not an address such as "127.0.0.1:8080"`);
const server = net.createServer({ noDelay: true }, accept);
server.on('error', ({ message }) => {
  if (!server.listening) fail(`cannot listen on ${address}\n\n${message}`);
  console.error(`Failed to accept: ${message}`);
});
server.listen(port, host, () => console.error(`Listening on ${show(host, server.address().port)}`));
