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
      const key = name.toLowerCase();
      this.parts[key] = h("div", { class: "loop-parts" });
      const heading = h("p", {}, h("strong", {}, name));
      return h("div", { class: `loop-column ${key}`, role: "group", "aria-label": name }, heading, this.parts[key]);
    });
    this.pane = h("div");
    this.parts.server.before(this.pane);
    this.back = button("Back", () => this.go(this.index - 1));
    this.playing = button("Play", () => this.play(this.timer === undefined));
    this.forward = button("Forward", () => this.next());
    const scrub = () => this.go(Number(this.scrubber.value));
    this.scrubber = h("input", { type: "range", min: 0, "aria-label": "Step", input: scrub });
    this.position = h("span", { class: "loop-position" });
    const pace = () => this.play(this.timer !== undefined);
    this.speed = h("select", { "aria-label": "Speed", change: pace },
      [["slow", 3000], ["normal", 1500], ["fast", 500]].map(([name, wait]) => h("option", { value: wait }, name)));
    this.speed.value = "1500";
    const controls = h("div", { class: "loop-controls" },
      this.back, this.playing, this.forward, this.scrubber, this.position, this.speed);
    this.call = h("pre", { class: "loop-call" });
    this.caption = h("p", { class: "loop-caption", "aria-live": "polite" });
    this.ask = h("div", { class: "loop-ask", role: "group", "aria-label": "Question", tabindex: -1, hidden: "" });
    this.told = h("div", { class: "loop-told" }, this.call, this.caption, this.ask);
    const head = h("div", { class: "loop-head" }, this.kind, this.title, traces.length > 1 ? this.variants : undefined);
    this.element = h("div", { class: "loop", tabindex: -1, role: "group", keydown: (event) => this.key(event) },
      head, h("div", { class: "loop-step" }, controls, this.told), h("div", { class: "loop-columns" }, columns));
    this.picture = host.querySelector("details img");
    host.prepend(this.element);
  }

  /** Shows the beginning of a trace. */
  show(trace) {
    this.play(false);
    this.trace = trace;
    this.asked = new Set();
    this.source = new LoopSource(trace.program, this.sources);
    this.pane.replaceChildren(this.source.pane);
    this.kind.textContent = trace.isModel ? "model" : "recorded";
    this.title.textContent = trace.title;
    this.element.setAttribute("aria-label", `${trace.title}, step by step`);
    for (const variant of this.variants) {
      variant.setAttribute("aria-pressed", String(variant.textContent === trace.program));
    }
    this.picture?.setAttribute("src", `loop/pictures/${trace.scene}.svg`);
    this.picture?.setAttribute("alt", `${trace.title}: every step of the run`);
    this.go(0);
  }

  isAtEnd() {
    return this.index >= this.trace.steps.length - 1;
  }

  /** Shows a step without asking anything. */
  go(index) {
    const { steps } = this.trace;
    this.index = Math.max(0, Math.min(index, steps.length - 1));
    const step = steps[this.index];
    if (this.ask.contains(document.activeElement)) this.forward.focus({ preventScroll: true });
    this.showQuestion(false);
    const shown = LoopView.columns(this.trace, this.index);
    for (const [name, part] of Object.entries(this.parts)) part.replaceChildren(...shown[name]);
    this.parts.server.parentNode.classList.toggle("loop-now", step?.actor === "server");
    this.source.mark(step);
    this.told.className = `loop-told ${step?.actor ?? ""}`;
    this.call.textContent = step ? LoopView.callText(step) : "";
    this.caption.replaceChildren(...LoopView.caption(step));
    this.scrubber.max = Math.max(0, steps.length - 1);
    this.scrubber.value = this.index;
    this.position.textContent = `${steps.length && this.index + 1} of ${steps.length}`;
    this.scrubber.setAttribute("aria-valuetext", `${this.position.textContent}: ${this.caption.textContent}`);
    // Not `disabled`: the button would lose the focus, and the next arrow key would turn the page.
    this.back.setAttribute("aria-disabled", String(this.index === 0));
    this.forward.setAttribute("aria-disabled", String(this.isAtEnd()));
    if (this.isAtEnd()) this.play(false);
  }

  /** Shows the next step. If it has a question, that comes first, once. */
  next() {
    const next = this.trace.steps[this.index + 1];
    if (!next?.ask || this.asked.has(this.index + 1)) {
      this.go(this.index + 1);
      return;
    }
    this.asked.add(this.index + 1);
    this.play(false);
    this.question(next.ask);
  }

  /** The first answer counts: it is marked, and so is the right one. */
  question({ question, answers, right }) {
    const { h, sentence } = LoopView;
    const verdict = h("p", { "aria-live": "polite" });
    const answer = (chosen) => {
      const mark = (i, sign) => buttons[i].setAttribute("data-mark", sign);
      if (verdict.textContent) return;
      mark(chosen, "✗");
      mark(right, "✓");
      for (const button of buttons) button.setAttribute("aria-disabled", "true");
      const outcome = chosen === right ? "Right" : `No: “${answers[right]}”`;
      verdict.replaceChildren(...sentence(`${outcome}. Go on to see it.`));
      this.forward.focus({ preventScroll: true });
    };
    const buttons = answers.map((text, i) => h("button", { type: "button", click: () => answer(i) }, sentence(text)));
    const lead = h("strong", {}, "What happens next? ");
    this.ask.replaceChildren(h("p", {}, lead, sentence(question)), h("div", {}, buttons), verdict);
    this.showQuestion(true);
    this.ask.focus({ preventScroll: true });
    this.come();
  }

  come() {
    this.told.parentNode.scrollIntoView({ block: "nearest" });
  }

  /** In place of what the last step did, and at least as high, so that nothing moves. */
  showQuestion(isOn) {
    if (isOn) this.told.style.minHeight = `${this.told.offsetHeight}px`;
    this.ask.hidden = !isOn;
    this.call.hidden = isOn;
    this.caption.hidden = isOn;
  }

  /** At the end, playing begins again. */
  play(isOn) {
    clearInterval(this.timer);
    if (isOn && this.isAtEnd()) this.go(0);
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

/**
 * The picture gives the answers away: it is for readers without scripts. The others see its beginning, with what
 * starts the player, and can unfold it.
 */
function loopPoster(figure, trace, open) {
  const { h } = LoopView;
  const click = () => {
    const player = open();
    poster.remove();
    player.playing.focus({ preventScroll: true });
    player.element.scrollIntoView({ block: "nearest" });
    player.play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  };
  const picture = figure.querySelector("img");
  const about = h("span", {}, h("strong", {}, `Play: ${trace.title}`), ` ${trace.steps.length} steps`);
  const beginning = Object.assign(picture.cloneNode(), { alt: "" });
  const poster = h("button", { type: "button", class: "loop-poster", click }, beginning, about);
  const details = h("details", {}, h("summary", {}, "The whole run as a picture"));
  picture.replaceWith(poster, details);
  details.append(picture);
}

document.addEventListener("DOMContentLoaded", () => {
  // mdBook's page for printing has all chapters: there the pictures stay.
  if (location.pathname.endsWith("/print.html")) return;
  const { traces, sources } = loopIncludes();
  for (const figure of document.querySelectorAll("figure[data-scene]")) {
    if (figure.dataset.scene === "model") {
      new LoopFreePlay(figure, sources);
      continue;
    }
    const runs = figure.dataset.scene.split(" ").map((scene) => traces[scene]);
    loopPoster(figure, runs[0], () => new LoopPlayer(figure, runs, sources));
  }
});
