"use strict";

// A model of milestones 1 to 4, of some of the known mistakes, and of what the kernel does for them.
// It draws nothing: `LoopModel.step` takes a state and an action of a client (or a signal) and returns
// the state after it, with the steps that follow from it, in the format of a recorded trace.
//
// Left out on purpose: time, errors other than a reset, the limit on the backlog, and the kernel's
// accounting of memory. A socket simply has room for `send` and a client for `receive` bytes.

const LoopModel = (() => {
  const CHUNK = 4096;
  const LISTENER = "listener";
  // Up to that many equal calls in a row are shown one by one, more as one step.
  const MOST_EQUAL = 8;

  /** The text of a step is short, as in a recorded trace. (A mere slice would keep all of a flood in memory.) */
  const cut = (text) => (text.length > 40 ? `${Array.from(text.slice(0, 40)).join("")}…` : text);

  /**
   * The state before anything has happened.
   * `milestone` is 1 to 4; `mistake` a known mistake or ""; `trigger` is "edge" or "level". In a recorded scene
   * clients read when the action `receives` says so; if `readsAlone`, they read whatever arrives. A
   * level-triggered loop can spin: it is left after that many `turns`.
   */
  function start(options) {
    const buffers = { send: 65536, receive: 65536 };
    return {
      options: { milestone: 4, mistake: "", trigger: "edge", turns: 6, ...buffers, readsAlone: true, ...options },
      clients: {},
      pending: [],
      sockets: { [LISTENER]: { interest: ["READABLE"], backlog: true } },
      ready: [],
      map: {},
      nextToken: 1,
      stopped: false,
    };
  }

  /** Changes nothing of `state`. `action` is a step of a trace without its `kernel` and `server`. */
  function step(state, action) {
    const kernel = new Kernel(structuredClone(state));
    kernel.act(action);
    if (!kernel.state.stopped) new Server(kernel).run();
    return { state: kernel.state, steps: fold(kernel.steps) };
  }

  class Kernel {
    constructor(state) {
      this.state = state;
      this.steps = [];
    }

    /** Adds a step, with what the kernel and the server hold after it. */
    note(what) {
      this.steps.push({ ...what, ...this.held() });
    }

    /** What the last step leads to has changed since. */
    amend() {
      Object.assign(this.steps.at(-1), this.held());
    }

    held() {
      const { state } = this;
      const sockets = {};
      for (const [name, socket] of Object.entries(state.sockets)) {
        if (!socket.isAccepted) continue;
        sockets[name] = {
          unread: socket.unread.length,
          unsent: Math.max(0, socket.out.length - state.options.receive),
          at_client: Math.min(socket.out.length, state.options.receive),
          interest: socket.interest.join(" | "),
          trigger: socket.interest.length ? state.options.trigger : "",
          ready: this.isReady(name),
        };
      }
      const map = {};
      for (const [token, { name, read_buf, write_buf }] of Object.entries(state.map)) {
        const held = { read_buf: cut(read_buf), read_buf_bytes: read_buf.length, write_buf: write_buf.length };
        map[token] = { name, ...held };
      }
      const kernel = { pending: [...state.pending], listener_ready: this.isReady(LISTENER), sockets };
      return { kernel, server: { map } };
    }

    act(action) {
      const { state } = this;
      const { actor, does, text = "" } = action;
      const socket = state.sockets[actor];
      if (actor === "server") {
        state.stopped = does === "stopped";
        return void this.note({ actor, does });
      }
      if (does === "receives") return void this.receive(actor);
      if (does === "connects") this.connect(actor);
      // The kernel answers what is sent to a closed socket with a reset.
      if (does === "sends" && socket) socket.unread += text;
      if (does === "stops reading") state.clients[actor].reads = false;
      if (does === "reads") state.clients[actor].reads = state.options.readsAlone;
      if (does === "half-closes" || does === "leaves") socket.ended = true;
      if (does === "half-closes") state.clients[actor].halfClosed = true;
      if (does === "leaves") this.leave(actor);
      this.note(does === "sends" ? { actor, does, bytes: text.length, text: cut(text) } : { actor, does });
      if (["sends", "half-closes", "leaves"].includes(does)) this.wake(actor, "READABLE");
      this.amend();
      this.deliver(actor);
    }

    connect(name) {
      const { state } = this;
      state.clients[name] = { reads: state.options.readsAlone };
      state.sockets[name] = { unread: "", out: "", interest: [], ended: false };
      state.pending.push(name);
      this.wake(LISTENER, "READABLE");
    }

    /** A client that leaves bytes unread resets its connection (RFC 2525, 2.17). */
    leave(name) {
      const socket = this.state.sockets[name];
      this.state.clients[name].gone = true;
      socket.reset = socket.out !== "";
      socket.out = "";
    }

    deliver(name) {
      const client = this.state.clients[name];
      if (client.reads && !client.gone && this.state.sockets[name]?.out) this.receive(name);
    }

    /** The client reads all that has arrived. That may make room in the server's socket. */
    receive(name) {
      const socket = this.state.sockets[name];
      const text = socket.out;
      socket.out = "";
      if (socket.isFull) this.wake(name, "WRITABLE");
      socket.isFull = false;
      this.note({ actor: name, does: "receives", bytes: text.length, text: cut(text) });
    }

    wake(name, readiness) {
      const { ready, sockets } = this.state;
      if (sockets[name]?.interest.includes(readiness) && !ready.includes(name)) ready.push(name);
    }

    /** What a socket is ready for now, as far as the server is interested. */
    readiness(name) {
      const { options, sockets, pending } = this.state;
      const socket = sockets[name];
      if (socket.backlog) return pending.length ? ["READABLE"] : [];
      const unsent = Math.max(0, socket.out.length - options.receive);
      const now = {
        READABLE: socket.unread !== "" || socket.ended,
        // A third of the buffer must be free (sk_stream_write_space in Linux).
        WRITABLE: socket.reset || unsent <= (2 / 3) * options.send,
      };
      const readiness = socket.interest.filter((name) => now[name]);
      if (socket.ended && readiness[0] === "READABLE") readiness.splice(1, 0, "READ_CLOSED");
      return readiness;
    }

    /** Whether the next wait would report it. What is not ready any more may still be on the list. */
    isReady(name) {
      return this.state.ready.includes(name) && this.readiness(name).length > 0;
    }

    /** The events, or none if the call would wait. An edge is reported once, a level while it lasts. */
    epollWait() {
      const { state } = this;
      const candidates = state.ready;
      state.ready = [];
      const events = candidates.map((name) => [name, this.readiness(name)]).filter(([, r]) => r.length);
      if (!events.length) return [];
      if (state.options.trigger === "level") state.ready = events.map(([name]) => name);
      const result = events.length === 1 ? "1 event" : `${events.length} events`;
      const shown = events.map(([name, readiness]) => [name, readiness.join(" | ")]);
      this.note({ actor: "server", call: "epoll_wait", result, events: shown });
      return events;
    }

    /** Registering, and every change of it, makes the kernel look again. */
    epollCtl(operation, name, interest, place) {
      const { state } = this;
      state.sockets[name].interest = interest;
      state.ready = state.ready.filter((other) => other !== name);
      if (this.readiness(name).length) state.ready.push(name);
      const words = [operation, interest.join(" | "), interest.length && state.options.trigger];
      const result = words.filter(Boolean).join(" ");
      this.note({ actor: "server", call: "epoll_ctl", on: name, result, place });
    }

    accept() {
      const name = this.state.pending.shift();
      if (name) this.state.sockets[name].isAccepted = true;
      this.note({ actor: "server", call: "accept4", on: LISTENER, result: name ?? "EAGAIN" });
      return name;
    }

    /** Bytes, "" at end of file, or the name of an error in an object. */
    read(name) {
      const socket = this.state.sockets[name];
      const text = socket.unread.slice(0, CHUNK);
      socket.unread = socket.unread.slice(CHUNK);
      const error = !text && (socket.reset ? "ECONNRESET" : !socket.ended && "EAGAIN");
      const shown = error ? { result: error } : { result: text.length, text: cut(text) };
      this.note({ actor: "server", call: "read", on: name, ...shown });
      return error ? { error } : text;
    }

    /** How many bytes the socket took: 0 stands for EAGAIN. */
    write(name, text) {
      const { options, sockets } = this.state;
      const socket = sockets[name];
      const taken = text.slice(0, options.send + options.receive - socket.out.length);
      socket.isFull = taken.length < text.length;
      socket.out += taken;
      const shown = taken ? { result: taken.length, text: cut(taken) } : { result: "EAGAIN" };
      this.note({ actor: "server", call: "write", on: name, ...shown });
      return taken.length;
    }

    close(name) {
      delete this.state.sockets[name];
      this.state.clients[name].gone = true;
      this.state.ready = this.state.ready.filter((other) => other !== name);
      this.note({ actor: "server", call: "close", on: name, result: 0 });
    }
  }

  // The methods have the names and the order of the program's own.
  class Server {
    constructor(kernel) {
      this.kernel = kernel;
      this.state = kernel.state;
    }

    makes(mistake) {
      return this.state.options.mistake === mistake;
    }

    print(line, stream = "stdout") {
      this.kernel.note({ actor: "server", [stream]: line });
    }

    run() {
      for (let turn = 0; turn < this.state.options.turns; turn += 1) {
        const events = this.kernel.epollWait();
        if (!events.length) return;
        for (const [name, readiness] of events) this.dispatch(name, readiness);
        for (const name of Object.keys(this.state.clients)) this.kernel.deliver(name);
      }
      const caption = "And so on: the loop spins, because every wait has something to report.";
      this.kernel.note({ actor: "server", does: "spins", caption, place: "epoll_wait" });
    }

    dispatch(name, readiness) {
      if (name === LISTENER) return void this.accept();
      const token = this.tokenOf(name);
      const { milestone } = this.state.options;
      if (!token) return;
      if (milestone === 2) return void this.print(`Client event for ${token}`);
      const hadLine = !readiness.includes("READABLE") || this.read(token);
      if (this.makes("skips-the-write-half") && !hadLine) return;
      if (milestone === 4 && readiness.includes("WRITABLE")) this.write(token);
    }

    tokenOf(name) {
      return Object.keys(this.state.map).find((token) => this.state.map[token].name === name);
    }

    accept() {
      for (;;) {
        const name = this.kernel.accept();
        if (!name) return;
        this.print("Accepted connection from 127.0.0.1:xxxxx");
        if (this.state.options.milestone === 1) this.kernel.close(name);
        else this.register(name);
        if (this.makes("accepts-once")) return;
      }
    }

    register(name) {
      const token = `Token(${this.state.nextToken})`;
      this.state.nextToken += 1;
      this.kernel.epollCtl("ADD", name, ["READABLE"]);
      const isKept = !this.makes("forgets-to-insert");
      if (isKept) this.state.map[token] = { name, read_buf: "", write_buf: "" };
      this.print(`Registered client with ${token}`);
      if (!isKept) this.kernel.close(name);
    }

    /** Returns whether at least one complete line has arrived. */
    read(token) {
      const connection = this.state.map[token];
      const buffered = connection.read_buf.length;
      const [lines, end] = this.readLines(connection);
      if (lines) this.broadcast(token, lines);
      else if (connection.read_buf.length > buffered) this.print(`Buffering partial message from ${token}`);

      if (end === "ECONNRESET") {
        this.print(`Read error from ${token}: Connection reset by peer (os error 104)`, "stderr");
      }
      if (end === "end of file" && this.state.options.milestone === 4) this.write(token);
      if (end !== "EAGAIN") this.disconnect(token);
      return lines !== "";
    }

    readLines(connection) {
      let lines = "";
      for (;;) {
        const text = this.kernel.read(connection.name);
        if (text.error) return [lines, text.error];
        if (text === "") return [lines, "end of file"];
        lines += this.takeLines(connection, text);
        this.kernel.amend();
        if (this.makes("reads-once")) return [lines, "EAGAIN"];
      }
    }

    takeLines(connection, text) {
      const end = text.lastIndexOf("\n") + 1;
      if (this.makes("sends-half-lines")) return text;
      if (end === 0) {
        connection.read_buf += text;
        return "";
      }
      const whole = connection.read_buf + text.slice(0, end);
      connection.read_buf = this.makes("drops-half-lines") ? "" : text.slice(end);
      return whole;
    }

    broadcast(sender, lines) {
      for (const [token, connection] of Object.entries(this.state.map)) {
        if (token === sender && !this.makes("echoes-to-the-sender")) continue;
        this.queue(connection, lines);
      }
      this.print(`Broadcast ${lines.length} bytes from ${sender}`);
    }

    queue(connection, lines) {
      const isFirst = !connection.write_buf;
      if (isFirst) this.kernel.epollCtl("MOD", connection.name, ["READABLE", "WRITABLE"]);
      connection.write_buf += lines;
      if (isFirst) this.kernel.amend();
    }

    write(token) {
      const connection = this.state.map[token];
      if (connection) this.flush(connection, token);
    }

    flush(connection, token) {
      while (connection.write_buf) {
        const front = connection.write_buf.slice(0, this.makes("writes-once") ? CHUNK : undefined);
        const taken = this.kernel.write(connection.name, front);
        if (!taken) return this.print(`Write would block for ${token}`);
        connection.write_buf = connection.write_buf.slice(taken);
        this.kernel.amend();
        this.print(`Wrote ${taken} bytes to ${token}`);
        if (this.makes("drops-the-rest")) connection.write_buf = "";
        if (this.makes("writes-once") && connection.write_buf) return undefined;
      }
      const interest = this.makes("writable-always") ? ["READABLE", "WRITABLE"] : ["READABLE"];
      return this.kernel.epollCtl("MOD", connection.name, interest, "WRITABLE off");
    }

    disconnect(token) {
      const connection = this.state.map[token];
      if (!connection) return;
      delete this.state.map[token];
      this.kernel.epollCtl("DEL", connection.name, []);
      this.kernel.close(connection.name);
      this.print(`Client ${token} disconnected`);
      this.accept();
    }
  }

  /** A long run of equal calls becomes one step: their sum, with the state after the last. */
  function fold(steps) {
    const runs = [];
    const moves = ({ call, on, result }) => typeof result === "number" && `${call} ${on}`;
    for (const [i, step] of steps.entries()) {
      if (i > 0 && moves(step) && moves(step) === moves(steps[i - 1])) runs.at(-1).push(step);
      else runs.push([step]);
    }
    return runs.flatMap((run) => {
      if (run.length <= MOST_EQUAL) return run;
      const result = run.reduce((sum, step) => sum + step.result, 0);
      return { ...run.at(-1), text: run[0].text, result, times: run.length };
    });
  }

  return { start, step };
})();
