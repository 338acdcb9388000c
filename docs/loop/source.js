"use strict";

// The source of a trace's program, and which line of it runs in a step.

class LoopSource {
  /** Which function makes a call, and what its line has: in the milestones, where it differs, or else in `chat.c`. */
  static PLACES = {
    epoll_wait: [["run", ".poll("], ["wait", ".poll("], ["run", "epoll_wait("]],
    accept4: [["accept", ".accept()"], ["accept_clients", "accept4("]],
    read: [["read_lines", ".read("], ["read", ".read("], ["drain", "recv("]],
    write: [["flush", ".write("], ["write_some", ".write("], ["write_queue", "send("]],
    ADD: [["register", ".register("], ["welcome", ".register("], ["register_client", "EPOLL_CTL_ADD"]],
    "WRITABLE on": [["queue", ".reregister("], ["ask_for", ".reregister("]],
    "WRITABLE off": [["flush", ".reregister("], ["ask_for", ".reregister("]],
    DEL: [["disconnect", ".deregister("]],
    // Milestone 1 keeps no client: it closes what it has accepted.
    close: [["disconnect", "drop(connection)"], ["accept", "drop(stream)"], ["disconnect", "close("]],
    forgotten: [["register", "is dropped here"]],
  };

  constructor(program, sources) {
    const [name] = program.split(" ");
    const others = { mistaken: "tools/mistaken/src/main.rs", "chat.c": "docs/examples/chat.c" };
    this.path = others[name] ?? `${name}/src/main.rs`;
    this.isForgetful = program.endsWith("forgets-to-insert");
    this.lines = sources[this.path].split("\n");
    this.elements = this.highlighted();
    const attributes = { tabindex: 0, role: "group", "aria-label": `Source ${this.path}` };
    this.pane = LoopView.h("div", { class: "loop-source hljs", ...attributes }, this.elements);
  }

  highlighted() {
    const language = this.path.split(".").at(-1);
    let state;
    return this.lines.map((line) => {
      const { value, top } = hljs.highlight(language, `${line.trim()}\n`, true, state);
      state = top;
      const element = LoopView.h("div", { style: `--indent: ${line.search(/\S|$/) / 2}ch` });
      element.innerHTML = value.trim() || "\u00a0";
      return element;
    });
  }

  /** Marks the line that runs in a step. */
  mark(step) {
    this.pane.querySelector("[aria-current]")?.removeAttribute("aria-current");
    if (!step || (step.does && !step.place)) return;
    const printed = step.stdout ?? step.stderr;
    const marked = this.elements[printed ? this.printing(printed) : this.calling(step.place ?? this.place(step))];
    marked.setAttribute("aria-current", "true");
    this.pane.scrollTop = marked.offsetTop - this.pane.clientHeight / 2;
  }

  place({ call, result }) {
    if (call === "close" && this.isForgetful) return "forgotten";
    if (call !== "epoll_ctl") return call;
    if (/^(ADD|DEL)/.test(result)) return result.slice(0, 3);
    return result.includes("WRITABLE") ? "WRITABLE on" : "WRITABLE off";
  }

  calling(place) {
    const found = LoopSource.PLACES[place].map(([name, text]) => this.find(name, text));
    return found.find((index) => index !== undefined);
  }

  /** The first line with this text in a function. In C, its head begins a line: `static void run(…) {`. */
  find(name, text) {
    const isHead = (line) => line.includes(`fn ${name}(`) || (line.startsWith("static ") && line.includes(`${name}(`));
    const start = this.lines.findIndex(isHead);
    if (start < 0) return undefined;
    const end = this.lines.indexOf(`${" ".repeat(this.lines[start].search(/\S/))}}`, start);
    const offset = this.lines.slice(start, end).findIndex((line) => line.includes(text));
    return offset < 0 ? undefined : start + offset;
  }

  /** The line whose literal, as in `println!("…")`, is the longest with which this text begins. */
  printing(printed) {
    const beginnings = this.lines.map((line) => /\("([^{%"]+)/.exec(line)?.[1]);
    const lengths = beginnings.map((text) => (text && printed.startsWith(text) ? text.length : 0));
    return lengths.lastIndexOf(Math.max(...lengths));
  }
}
