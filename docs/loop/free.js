"use strict";

// Free play: the reader acts, the model answers, and a player shows the steps.

class LoopFreePlay {
  static NAMES = ["alice", "bob", "carol", "dave"];
  static BULK = 60000;
  static MISTAKES = ["accepts-once", "reads-once", "writes-once", "drops-the-rest", "drops-half-lines",
    "sends-half-lines", "echoes-to-the-sender", "skips-the-write-half", "writable-always"];

  constructor(figure, sources) {
    const { h } = LoopView;
    const select = (label, values) => h("label", {}, `${label} `,
      h("select", { change: () => this.restart() }, values.map(([value, text]) => h("option", { value }, text))));
    this.trigger = select("Trigger", [["edge", "edge"], ["level", "level"]]);
    this.mistake = select("Mistake", [["", "none"], ...LoopFreePlay.MISTAKES.map((name) => [name, name])]);
    const signal = () => this.act({ actor: "server", does: this.state.stopped ? "continued" : "stopped" });
    this.signal = h("button", { type: "button", click: signal });
    const again = h("button", { type: "button", click: () => this.restart() }, "Start again");
    this.rows = h("div", { class: "loop-rows" });
    this.sources = sources;
    this.restart(figure);
    // mdBook turns pages with the arrow keys.
    const keydown = (event) => event.stopPropagation();
    const settings = h("div", {}, this.trigger, this.mistake, this.signal, again);
    figure.prepend(h("div", { class: "loop-free", keydown }, settings, this.rows));
  }

  restart(figure) {
    const mistake = this.mistake.control.value;
    this.state = LoopModel.start({ trigger: this.trigger.control.value, mistake });
    this.trace = {
      scene: "model",
      isModel: true,
      title: "Free play",
      program: mistake ? `mistaken ${mistake}` : "milestone-4-write",
      clients: LoopFreePlay.NAMES,
      steps: [],
    };
    if (this.player) this.player.show(this.trace);
    else this.player = new LoopPlayer(figure, [this.trace], this.sources);
    this.drawRows();
  }

  /** Shows what the reader did; the server's answer follows, unless motion is unwanted: then step by step. */
  act(action) {
    const before = this.trace.steps.length;
    const { state, steps } = LoopModel.step(this.state, action);
    this.state = state;
    this.trace.steps.push(...steps);
    this.player.go(before);
    this.player.play(steps.length > 1 && !matchMedia("(prefers-reduced-motion: reduce)").matches);
    this.player.come();
    this.drawRows();
  }

  /** The buttons that make sense now. A line that is being typed is kept. */
  drawRows() {
    this.signal.textContent = this.state.stopped ? "Continue the server" : "Stop the server";
    const typed = new Map([...this.rows.querySelectorAll("input")].map((input) => [input.name, input.value]));
    const focused = document.activeElement;
    this.rows.replaceChildren(...LoopFreePlay.NAMES.map((name) => this.row(name, typed.get(name))));
    if (focused.isConnected) return;
    // The same button, or the next that the client has: without a focus, an arrow key turns the page.
    const { key } = focused.dataset;
    const row = this.rows.children[LoopFreePlay.NAMES.indexOf(key.split(" ")[0])];
    (row.querySelector(`[data-key="${key}"]`) ?? row.querySelector("[data-key]") ?? this.signal).focus();
  }

  row(name, typed = "hello") {
    const { h } = LoopView;
    const client = this.state.clients[name];
    const button = (label, does = label, text = () => undefined) => h("button", {
      type: "button",
      "data-key": `${name} ${label}`,
      click: () => this.act({ actor: name, does, text: text() }),
    }, label);
    if (!client) return h("div", { class: name }, h("strong", {}, name), button("connects"));
    if (client.gone) return h("div", { class: name }, h("strong", {}, name), " is disconnected");

    const label = `${name} types`;
    const input = h("input", { name, value: typed, maxlength: 40, "aria-label": label, "data-key": label });
    const sending = [
      input,
      button("sends the line", "sends", () => `${input.value}\n`),
      button("sends it without a newline", "sends", () => input.value),
      button("sends 60,000 bytes", "sends", () => `${"x".repeat(LoopFreePlay.BULK - 1)}\n`),
    ];
    return h("div", { class: name }, h("strong", {}, name), client.halfClosed ? [] : sending,
      button(client.reads ? "stops reading" : "reads"),
      client.halfClosed ? [] : button("half-closes"), button("leaves"));
  }
}
