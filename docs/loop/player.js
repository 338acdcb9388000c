"use strict";

// Steps through traces. Each `<figure data-scene="…">` of a page becomes a player. The traces and the sources
// are in comments of the page, where mdBook has included them: a page opened from a file may not fetch.

class LoopPlayer {
  /** `traces` are the variants of one scene; the first is shown. */
  constructor(host, traces, sources) {
    this.sources = sources;
    this.build(host, traces);
    this.show(traces[0]);
  }

  build(host, traces) {
    const { h } = LoopView;
    const button = (label, click, extra = {}) => h("button", { type: "button", click, ...extra }, label);
    this.variants = traces.map((trace) =>
      button(trace.program, () => this.show(trace), { "aria-pressed": "false" }));
    this.kind = h("span", { class: "loop-kind" });
    this.title = h("strong");
    this.parts = {};
    const columns = ["Clients", "Kernel", "Server"].map((name) => {
      const parts = h("div", { class: "loop-parts" });
      this.parts[name.toLowerCase()] = parts;
      return h("section", { class: "loop-column", "aria-label": name }, h("h4", {}, name), parts);
    });
    this.pane = h("div");
    this.parts.server.before(this.pane);
    this.call = h("pre", { class: "loop-call", "aria-label": "This step" });
    this.caption = h("p", { class: "loop-caption", "aria-live": "polite" });
    this.ask = h("div", { class: "loop-ask", role: "group", tabindex: -1, hidden: "" });
    this.back = button("Back", () => this.go(this.index - 1));
    this.playing = button("Play", () => this.play(this.timer === undefined));
    this.forward = button("Forward", () => this.next());
    const scrub = () => this.go(Number(this.scrubber.value));
    this.scrubber = h("input", { type: "range", min: 0, "aria-label": "Step", input: scrub });
    this.position = h("span", { class: "loop-position" });
    this.speed = h("select", { "aria-label": "Speed" },
      [["slow", 3000], ["normal", 1500], ["fast", 500]].map(([name, wait]) => h("option", { value: wait }, name)));
    this.speed.value = "1500";
    this.controls = h("div", { class: "loop-controls" },
      this.back, this.playing, this.forward, this.scrubber, this.position, this.speed);
    const head = h("div", { class: "loop-head" }, this.kind, this.title, traces.length > 1 ? this.variants : undefined);
    const step = h("div", { class: "loop-step" }, this.call, this.caption, this.ask, this.controls);
    this.element = h("div", { class: "loop", tabindex: 0, role: "group", keydown: (event) => this.key(event) },
      head, h("div", { class: "loop-columns" }, columns), step);
    host.prepend(this.element);
  }

  /** Shows the beginning of a trace. */
  show(trace) {
    this.play(false);
    this.trace = trace;
    this.asked = new Set();
    this.source = LoopView.sourcePane(trace.source, this.sources[trace.source]);
    this.pane.replaceChildren(this.source.pane);
    this.kind.textContent = trace.isModel ? "model" : "recorded";
    this.title.textContent = trace.title;
    this.element.setAttribute("aria-label", `${trace.title}, step by step`);
    for (const variant of this.variants) {
      variant.setAttribute("aria-pressed", String(variant.textContent === trace.program));
    }
    this.go(0);
  }

  /** Shows a step without asking anything. */
  go(index) {
    const { steps } = this.trace;
    this.index = Math.max(0, Math.min(index, steps.length - 1));
    const step = steps[this.index];
    if (this.ask.contains(document.activeElement)) this.element.focus({ preventScroll: true });
    this.ask.hidden = true;
    const shown = LoopView.columns(this.trace, this.index);
    for (const [name, part] of Object.entries(this.parts)) part.replaceChildren(...shown[name]);
    this.parts.server.parentNode.classList.toggle("loop-now", step?.actor === "server");
    LoopView.markLine(this.source, step?.line);
    this.call.textContent = step ? LoopView.callText(step) : "";
    this.caption.replaceChildren(...LoopView.sentence(step ? LoopView.caption(step) : "Nothing has happened yet."));
    this.scrubber.max = Math.max(0, steps.length - 1);
    this.scrubber.value = this.index;
    this.position.textContent = `${steps.length && this.index + 1} of ${steps.length}`;
    const isLast = this.index >= steps.length - 1;
    // Not `disabled`: the button would lose the focus, and the next arrow key would turn the page.
    this.back.setAttribute("aria-disabled", String(this.index === 0));
    this.forward.setAttribute("aria-disabled", String(isLast));
    if (isLast) this.play(false);
  }

  /** Shows the next step. If it has a question, that comes first, once. */
  next() {
    const next = this.trace.steps[this.index + 1];
    if (!next) return;
    if (!next.ask || this.asked.has(this.index + 1)) {
      this.go(this.index + 1);
      return;
    }
    this.asked.add(this.index + 1);
    this.play(false);
    this.question(next.ask);
  }

  question({ question, answers, right }) {
    const { h, sentence } = LoopView;
    const verdict = h("p", { "aria-live": "polite" });
    const answer = (chosen) => {
      const outcome = chosen === right ? "Right" : `No: “${answers[right]}”`;
      verdict.replaceChildren(...sentence(`${outcome}. Go on to see it.`));
      this.forward.focus();
    };
    const buttons = answers.map((text, i) => h("button", { type: "button", click: () => answer(i) }, sentence(text)));
    const lead = h("strong", {}, "What happens next? ");
    this.ask.replaceChildren(h("p", {}, lead, sentence(question)), h("div", {}, buttons), verdict);
    this.ask.hidden = false;
    this.ask.focus({ preventScroll: true });
  }

  play(isOn) {
    clearInterval(this.timer);
    this.timer = isOn ? setInterval(() => this.next(), Number(this.speed.value)) : undefined;
    this.playing.textContent = isOn ? "Pause" : "Play";
  }

  /** The arrow keys move by one step. mdBook's own use of them, to turn pages, is for the rest of the page. */
  key(event) {
    const isField = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    const move = { ArrowLeft: () => this.go(this.index - 1), ArrowRight: () => this.next() }[event.key];
    if (!move) return;
    event.stopPropagation();
    if (isField) return;
    event.preventDefault();
    move();
  }
}

/** What the page's comments `trace` and `source PATH` hold. */
function loopIncludes() {
  const found = { traces: {}, sources: {} };
  const comments = document.createTreeWalker(document.body, NodeFilter.SHOW_COMMENT);
  while (comments.nextNode()) {
    const [, kind, path, text] = /^\s*(trace|source)\b *(\S*)\n([^]*)$/.exec(comments.currentNode.data) ?? [];
    if (kind === "source") found.sources[path] = text.trimEnd();
    if (kind !== "trace") continue;
    const trace = JSON.parse(text);
    found.traces[trace.scene] = trace;
  }
  return found;
}

/** The picture gives the answers away: it is for readers without scripts. The others can unfold it. */
function loopFoldPicture(figure) {
  const picture = figure.querySelector("img");
  if (!picture) return;
  const { h } = LoopView;
  const details = h("details", {}, h("summary", {}, "The whole run as a picture"));
  picture.replaceWith(details);
  details.append(picture);
}

/** In a chapter, the player opens when the reader asks for it. */
function loopOpener(open) {
  const click = () => {
    opener.remove();
    open().element.focus();
  };
  const opener = LoopView.h("button", { type: "button", class: "loop-open", click }, "Step through it");
  return opener;
}

document.addEventListener("DOMContentLoaded", () => {
  // mdBook's page for printing has all chapters: there the pictures stay.
  if (location.pathname.endsWith("/print.html")) return;
  const { traces, sources } = loopIncludes();
  for (const figure of document.querySelectorAll("figure[data-scene]")) {
    loopFoldPicture(figure);
    const open = () => new LoopPlayer(figure, figure.dataset.scene.split(" ").map((scene) => traces[scene]), sources);
    if (figure.dataset.scene === "model") new LoopFreePlay(figure, sources);
    else if (figure.classList.contains("small")) figure.prepend(loopOpener(open));
    else open();
  }
});
