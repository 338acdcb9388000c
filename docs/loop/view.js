"use strict";

// Draws one step of a trace: what the clients, the kernel and the server hold after it. Keeps no state.

const LoopView = (() => {
  const number = (n) => n.toLocaleString("en");
  const bytes = (n) => `${number(n)} ${n === 1 ? "byte" : "bytes"}`;
  const quote = (text) => (text === undefined ? "" : ` ${JSON.stringify(text)}`);

  /** An element. Attributes that are functions are listeners, and `undefined` ones are left out. */
  function h(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (typeof value === "function") element.addEventListener(key, value);
      else if (value !== undefined) element.setAttribute(key, value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== undefined));
    return element;
  }

  /** A sentence in which code is between backticks. */
  function sentence(text) {
    return text.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
  }

  /** The step on one line, a system call much as `strace` shows it. */
  function callText(step) {
    const times = step.times ? ` × ${number(step.times)}` : "";
    if (step.call === "epoll_wait") {
      const events = (step.events ?? []).map(([name, readiness]) => `${name} ${readiness}`);
      return [`epoll_wait()${times} = ${step.result}`, ...events].join("\n    ");
    }
    if (step.call === "epoll_ctl") return `epoll_ctl(${step.on})${times}: ${step.result}`;
    if (step.call) {
      const result = typeof step.result === "number" ? number(step.result) : step.result;
      return `${step.call}(${step.on})${times} = ${result}${quote(step.text)}`;
    }
    if (step.stdout !== undefined) return `stdout: ${step.stdout}`;
    if (step.stderr !== undefined) return `stderr: ${step.stderr}`;
    const size = step.bytes === undefined ? "" : ` ${bytes(step.bytes)}`;
    return `${step.actor} ${step.does}${times}${size}${quote(step.text)}`;
  }

  const CLIENT_STEPS = {
    connects: (name) => `${name} connects. The connection is pending until the server accepts it.`,
    sends: (name, step) => `${name} sends ${bytes(step.bytes)}. They stay in the kernel until the server reads them.`,
    receives: (name, step) => `${name} receives ${bytes(step.bytes)}.`,
    "stops reading": (name) => `${name} stops reading. What is sent to ${name} fills the buffers from now on.`,
    reads: (name) => `${name} reads again.`,
    "half-closes": (name) => `${name} closes the sending half, and can still receive.`,
    leaves: (name) => `${name} closes the connection.`,
    stopped: () => "The server is stopped (SIGSTOP). The kernel goes on without it.",
    continued: () => "The server continues (SIGCONT).",
  };

  const CALLS = {
    epoll_wait: ({ events }) =>
      events?.length ? "The kernel reports what is on the ready list." : "Nothing is reported.",
    accept4: ({ result }) =>
      result === "EAGAIN" ? "No connection is pending: WouldBlock." : `The server accepts ${result}.`,
    read: ({ on, result }) => {
      if (result === "EAGAIN") return `Nothing is left to read from ${on}: WouldBlock.`;
      return result === 0 ? `End of file: ${on} sends nothing more.` : `The server reads from ${on}.`;
    },
    write: ({ on, result }) =>
      result === "EAGAIN" ? `The socket of ${on} is full: WouldBlock.` : `${on}'s socket takes ${bytes(result)}.`,
    epoll_ctl: ({ on, result }) => {
      if (result.startsWith("ADD")) return `The server registers ${on} with epoll.`;
      if (result.startsWith("DEL")) return `The server deregisters ${on}.`;
      return `The server changes its interest in ${on}. The kernel checks again whether ${on} is ready.`;
    },
    close: ({ on }) => `The server closes ${on}'s socket.`,
    print: () => "The server prints a line.",
  };

  /** About the step: if it is the decisive one, why; and a sentence, its own or one that fits every such step. */
  function caption(step) {
    if (!step) return ["Nothing has happened yet."];
    const mark = step.mark ? [h("strong", { class: "loop-mark" }, step.mark), " "] : [];
    if (step.caption) return [...mark, ...sentence(step.caption)];
    const text = step.does ? CLIENT_STEPS[step.does](step.actor, step) : CALLS[step.call ?? "print"](step);
    return [text[0].toUpperCase() + text.slice(1)];
  }

  // Clients

  const STATES = { connects: "connected", reads: "connected", leaves: "gone", "stops reading": "not reading" };

  function clientState(name, own, steps) {
    const last = own.findLast(({ does }) => does !== "sends" && does !== "receives")?.does;
    if (!last) return "not here yet";
    // As in a transcript: the server has closed the connection.
    if (last !== "leaves" && steps.some(({ call, on }) => call === "close" && on === name)) return "closed";
    // A client that has stopped can only receive by reading again.
    const readsAgain = last === "stops reading" && own.findLast(({ does }) => does !== "sends").does === "receives";
    if (readsAgain) return "connected";
    return STATES[last] ?? last;
  }

  /** What a client has done up to the last of `steps`, newest last. */
  function clientCard(name, steps) {
    const own = steps.filter(({ actor }) => actor === name);
    const said = own.filter(({ does }) => does === "sends" || does === "receives").slice(-4);
    const isNow = own.includes(steps.at(-1));
    const lines = said.map(({ does, bytes: size, text = "" }) => {
      const what = text.length < 28 && size === text.length ? JSON.stringify(text).slice(1, -1) : bytes(size);
      return h("li", {}, `${does === "sends" ? ">" : "<"} ${what}`);
    });
    return h("div", { class: `loop-card ${name}${isNow ? " loop-now" : ""}`, "data-client": name },
      h("p", {}, h("strong", {}, name), ` ${clientState(name, own, steps)}`), h("ul", { class: "loop-said" }, lines));
  }

  // Kernel

  const BUFFERS = { unread: "to be read", unsent: "to be sent", at_client: "at the client" };

  /** A buffer, filled by its client or the server. The scale is logarithmic: six bytes are seen next to a million. */
  function buffer(label, key, now, before) {
    const width = now === 0 ? 0 : 100 * Math.min(1, Math.log2(now + 1) / 22);
    const isChanged = before !== undefined && before !== now;
    return h("div", { class: isChanged ? "loop-buffer loop-changed" : "loop-buffer" },
      h("span", {}, label), h("span", { "data-value": key }, number(now)),
      h("span", { class: `loop-bar ${key === "unread" ? "" : "server"}`, style: `--full: ${width}%` }));
  }

  function socketCard(name, socket, before) {
    const interest = `${socket.interest || "none"}${socket.trigger ? `, ${socket.trigger}` : ""}`;
    const isChanged = before && before.interest !== socket.interest;
    return h("div", { class: `loop-card ${name}`, "data-socket": name },
      h("p", {}, h("strong", {}, name), " interest: ",
        h("span", { class: isChanged ? "loop-changed" : "", "data-value": "interest" }, interest)),
      Object.entries(BUFFERS).map(([key, label]) => buffer(label, key, socket[key], before?.[key])));
  }

  function list(label, key, names) {
    const items = names.map((name) => h("li", { class: name }, name));
    if (!items.length) items.push(h("li", { class: "loop-empty" }, "empty"));
    return h("div", { class: "loop-list" }, h("span", {}, label), h("ul", { "data-value": key }, items));
  }

  function kernelParts({ pending = [], sockets = {}, listener_ready: isListenerReady }, before) {
    const ready = Object.keys(sockets).filter((name) => sockets[name].ready);
    if (isListenerReady) ready.unshift("listener");
    const cards = Object.entries(sockets).map(([name, socket]) => socketCard(name, socket, before?.sockets?.[name]));
    return [list("backlog", "pending", pending), list("ready list", "ready", ready), ...cards];
  }

  // Server

  function mapTable(map) {
    const rows = Object.entries(map).map(([token, entry]) => {
      const held = entry.read_buf_bytes > 12 ? bytes(entry.read_buf_bytes) : JSON.stringify(entry.read_buf);
      const cells = [token, entry.name, held, number(entry.write_buf)];
      return h("tr", { "data-token": token, class: entry.name }, cells.map((cell) => h("td", {}, cell)));
    });
    const titles = ["map", "client", "read_buf", "write_buf"];
    // Not `th`: how the book fits its tables to a phone is not for this small one.
    const head = titles.map((text) => h("td", { role: "columnheader" }, text));
    return h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows));
  }

  function printed(steps) {
    const lines = steps.map(({ stdout, stderr }) => stdout ?? stderr).filter((line) => line !== undefined);
    return h("pre", { class: "loop-printed" }, lines.slice(-4).join("\n"));
  }

  /** Whether the server is stopped by a signal after these steps. */
  function isStopped(steps) {
    return steps.findLast(({ does }) => does === "stopped" || does === "continued")?.does === "stopped";
  }

  /** What the three columns show after the step at `index`. */
  function columns(trace, index) {
    const steps = trace.steps.slice(0, index + 1);
    const { kernel = {}, server = {} } = steps.at(-1) ?? {};
    return {
      clients: trace.clients.map((name) => clientCard(name, steps)),
      kernel: kernelParts(kernel, steps.at(-2)?.kernel),
      server: [
        isStopped(steps) ? h("p", {}, h("strong", {}, "stopped")) : undefined,
        mapTable(server.map ?? {}),
        printed(steps),
      ].filter(Boolean),
    };
  }

  return { h, sentence, callText, caption, columns };
})();
