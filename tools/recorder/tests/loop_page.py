#!/usr/bin/python3
"""Opens the built book in a browser, plays every scene and compares what is shown with the traces.

Usage: loop_page.py BROWSER BOOK SOURCE AXE: `chromium` or `firefox`, the folders of the built book and of the
workspace, and the script of axe-core. Prints what is wrong. In Chromium, it looks at every page on a desk and
a phone, in three themes, and asks axe-core about each. Firefox plays the scenes, and turns the pages at its
narrowest.
The interpreter is Debian's own, because `python3-selenium` is installed for that one. Selenium drives
Debian's `chromium` through `chromium-driver`, and `firefox-esr` through `geckodriver`.
"""

import json
import re
import shutil
import sys
from pathlib import Path

try:
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException
    from selenium.webdriver.chrome.service import Service as ChromeService
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.firefox.service import Service as FirefoxService
    from selenium.webdriver.support.wait import WebDriverWait
except ImportError as error:
    print(f"missing: {error}")
    sys.exit(2)

PAGE = "loop.html"
DESK, PHONE = (1280, 768), (390, 844)
THEMES = ("light", "navy", "coal")
LEAST_CONTRAST = 4.5
# Seconds. Everything waits for facts; this only ends a test that hangs.
DEADLINE = 120

# More than a page has before its first player.
MANY_TABS = 150

# What a client is after it has done this.
STATES = {
    "connects": "connected",
    "stops reading": "not reading",
    "receives": "connected",
    "leaves": "gone",
}

# What the line of the source has that makes a call, or changes the interest in that way.
CODE = {
    "epoll_wait": r"\.poll\(|epoll_wait\(",
    "accept4": r"accept4?\(",
    "read": r"\.read\(|recv\(",
    "write": r"\.write\(|send\(",
    "ADD": r"\.register\(|EPOLL_CTL_ADD",
    "MOD": r"\.reregister\(",
    "DEL": r"\.deregister\(",
    "close": r"drop\(|close\(|is dropped here",
}

# What a player shows now.
FRAME = """
const text = (root, query) => [...root.querySelectorAll(query)].map((e) => e.textContent);
const one = (root, query) => text(root, query)[0];
const wide = () => [document.documentElement, ...document.querySelectorAll('.page, .content, main, .loop')]
  .filter((e) => e.scrollWidth > e.clientWidth).map((e) => `${e.tagName} ${e.className}`.trim());
function frame(player) {
  const line = player.querySelector('.loop-source [aria-current]');
  const sockets = {};
  for (const card of player.querySelectorAll('[data-socket]')) {
    sockets[card.dataset.socket] = Object.fromEntries(
      [...card.querySelectorAll('[data-value]')].map((e) => [e.dataset.value, e.textContent]));
  }
  return {
    call: one(player, '.loop-call'),
    caption: one(player, '.loop-caption'),
    position: one(player, '.loop-position'),
    code: line && line.textContent,
    clients: text(player, '[data-client] p'),
    pending: text(player, '[data-value=pending] li'),
    ready: text(player, '[data-value=ready] li'),
    sockets,
    map: [...player.querySelectorAll('[data-token]')].map((row) => text(row, 'td')),
    wide: wide(),
  };
}
const press = (player, label) =>
  [...player.querySelectorAll('.loop-controls button')].find((b) => b.textContent === label);
const isAtEnd = (player, label) => press(player, label).ariaDisabled === 'true';
"""

# To the end by Forward, with every question answered by its first answer, and back to the beginning if that is
# asked for.
PLAY = FRAME + """
const player = document.querySelectorAll('.loop')[arguments[0]];
const variant = player.querySelectorAll('.loop-head button')[arguments[1]];
if (variant) variant.click();
const [there, back, asked] = [[frame(player)], [], {}];
const bar = document.getElementById('mdbook-menu-bar').offsetHeight;
while (!isAtEnd(player, 'Forward')) {
  press(player, 'Forward').click();
  const ask = player.querySelector('.loop-ask');
  if (!ask.hidden) {
    const { top, bottom } = ask.getBoundingClientRect();
    const [answers, buttons] = [text(ask, 'button'), [...ask.querySelectorAll('button')]];
    for (const button of buttons) button.click();
    asked[there.length] = {
      question: one(ask, 'p'), answers, marks: buttons.map((b) => b.dataset.mark ?? ''),
      last: text(ask, 'p').at(-1), isSeen: top >= bar && bottom <= innerHeight, name: ask.ariaLabel,
    };
    press(player, 'Forward').click();
  }
  there.push(frame(player));
}
while (arguments[2] && !isAtEnd(player, 'Back')) {
  back.unshift(frame(player));
  press(player, 'Back').click();
}
back.unshift(frame(player));
const picture = player.parentNode.querySelector('details img').getAttribute('src');
return { there, back, asked, picture };
"""

# What a page finds wrong with itself (axe-core, all of its rules). The toolbar is mdBook's own.
AXE = """
const exclude = [['#mdbook-menu-bar'], ['#mdbook-help-container'], ['#mdbook-sidebar-toggle-anchor']];
const report = ({ violations }) => violations.flatMap(({ id, nodes }) => nodes.map((n) => `${id}: ${n.target}`));
axe.run({ exclude }, { preload: false, resultTypes: ['violations'] }).then(report).then(arguments[0]);
"""

# Starts every player.
START = "for (const poster of document.querySelectorAll('.loop-poster')) poster.click();"

# Unfolds what is folded. Each player shows a step in its middle, and no colour is on its way to another.
SETTLE = """
for (const details of document.querySelectorAll('main details')) details.open = true;
for (const scrubber of document.querySelectorAll('.loop input[type=range]')) {
  scrubber.value = scrubber.max * 0.6;
  scrubber.dispatchEvent(new Event('input'));
}
const still = { textContent: '* { transition: none !important }' };
document.head.append(Object.assign(document.createElement('style'), still));
"""

# A theme has its own colours for code, which may be loaded only now.
IS_STYLED = "return [...document.querySelectorAll('link[rel=stylesheet]')].every((e) => e.disabled || e.sheet)"

# What must be scrolled, is cut or is missing on a page at this width.
LAYOUT = FRAME + """
const problems = wide().map((name) => `${name} must be scrolled`);
const start = (element) => JSON.stringify(element.textContent.trim().slice(0, 40));
for (const block of document.querySelectorAll('main pre, main pre > code, main .table-wrapper')) {
  if (block.scrollWidth <= block.clientWidth) continue;
  const canScroll = /auto|scroll/.test(getComputedStyle(block).overflowX);
  if (innerWidth > 600 || !canScroll) problems.push(`${start(block)} is wider than its place`);
}
for (const table of document.querySelectorAll('main .table-wrapper table')) {
  const titles = [...table.querySelectorAll('th')];
  for (const cell of table.querySelectorAll('td:not(:empty)')) {
    const { width, left, right } = cell.getBoundingClientRect();
    if (width === 0 || left < 0 || right > innerWidth) problems.push(`the cell ${start(cell)} is cut`);
    const title = titles[cell.cellIndex];
    const before = getComputedStyle(cell, '::before').content;
    const isNamed = title.checkVisibility() || (before !== 'none' && cell.dataset.title === title.textContent);
    if (!isNamed) problems.push(`the cell ${start(cell)} has no title`);
  }
}
return problems;
"""

# Pictures that are missing, or whose alternative text or caption is. mdBook has each picture a second time, to zoom in.
PICTURES = """
function isCaptioned(image) {
  const figure = image.closest('figure');
  if (figure) return figure.querySelector('figcaption')?.textContent.trim();
  return image.closest('p').matches('p:has(+ p > em:only-child)');
}
return [...document.querySelectorAll('main img:not(.img-wrapper img)')].flatMap((image) => {
  const lacks = {
    'picture': image.checkVisibility() && image.complete && image.naturalWidth > 0,
    'alternative text': image.alt.trim(),
    'caption': isCaptioned(image),
  };
  return Object.keys(lacks).filter((key) => !lacks[key]).map((key) => `${image.getAttribute('src')} has no ${key}`);
});
"""

# The text with the least contrast (WCAG 2.2, 1.4.3), as [ratio, text].
CONTRAST = """
const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 });
const paint = canvas.getContext('2d', { willReadFrequently: true });
function luminance(colors) {
  for (const color of colors) { paint.fillStyle = color; paint.fillRect(0, 0, 1, 1); }
  const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
let worst = [21, ''];
const known = new Map();
const texts = [...document.body.querySelectorAll('*')]
  .filter((e) => e.checkVisibility() && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
for (const element of texts) {
  const behind = [];
  for (let e = element; e; e = e.parentElement) behind.unshift(getComputedStyle(e).backgroundColor);
  const colors = [...behind, getComputedStyle(element).color];
  const key = colors.join();
  if (!known.has(key)) {
    const [a, b] = [luminance(behind), luminance(colors)].sort();
    known.set(key, (b + 0.05) / (a + 0.05));
  }
  if (known.get(key) < worst[0]) worst = [known.get(key), element.textContent.slice(0, 40)];
}
return [...worst, texts.length];
"""

# The actions of a scene, done by the model. The text of a flood is cut in a trace: it is lines of 64,000 bytes.
MODEL = """
const [options, actions] = arguments;
let state = LoopModel.start(options);
const steps = [];
for (const action of actions) {
  const line = Math.min(action.bytes, 64000);
  const flood = () => `${'x'.repeat(line - 1)}\\n`.repeat(action.bytes / line);
  const text = action.text?.endsWith('…') ? flood() : action.text;
  const done = LoopModel.step(state, { ...action, text });
  state = done.state;
  steps.push(...done.steps);
}
return steps;
"""


def number(n):
    return f"{n:,}"


def size(n):
    return f"{number(n)} {'byte' if n == 1 else 'bytes'}"


def plain(text):
    """As it is read: code is between backticks in the traces, and in another font in the player."""
    return text.replace("`", "")


def quoted(text):
    return "" if text is None else " " + json.dumps(text, ensure_ascii=False)


def expected_call(step):
    """The step on one line, from the trace alone."""
    times = f" × {number(step['times'])}" if "times" in step else ""
    call, result = step.get("call"), step.get("result")
    if call == "epoll_wait":
        events = [f"\n    {name} {readiness}" for name, readiness in step.get("events", [])]
        return f"epoll_wait(){times} = {result}" + "".join(events)
    if call == "epoll_ctl":
        return f"epoll_ctl({step['on']}){times}: {result}"
    if call:
        shown = number(result) if isinstance(result, int) else result
        return f"{call}({step['on']}){times} = {shown}{quoted(step.get('text'))}"
    for stream in ("stdout", "stderr"):
        if stream in step:
            return f"{stream}: {step[stream]}"
    count = f" {size(step['bytes'])}" if "bytes" in step else ""
    return f"{step['actor']} {step['does']}{times}{count}{quoted(step.get('text'))}"


def expected_sockets(kernel):
    def shown(socket):
        interest = ", ".join(filter(None, [socket["interest"] or "none", socket["trigger"]]))
        counts = {key: number(socket[key]) for key in ("unread", "unsent", "at_client")}
        return {"interest": interest, **counts}

    return {name: shown(socket) for name, socket in kernel["sockets"].items()}


def expected_map(server):
    def row(token, entry):
        held = entry["read_buf_bytes"]
        text = size(held) if held > 12 else json.dumps(entry["read_buf"], ensure_ascii=False)
        return [token, entry["name"], text, number(entry["write_buf"])]

    return [row(token, entry) for token, entry in server["map"].items()]


def expected_client(name, steps):
    state = "not here yet"
    for step in steps:
        if step["actor"] == name:
            state = STATES.get(step.get("does"), state)
        if step.get("call") == "close" and step["on"] == name and state != "gone":
            state = "closed"
    return f"{name} {state}"


def is_its_line(step, code):
    """Whether this is the line that makes a call or prints a text. No line is the actions'."""
    if code is None or "does" in step:
        return code is None and "does" in step
    if "call" not in step:
        return (step.get("stdout") or step["stderr"]).split()[0] in code
    call = step["result"].split()[0] if step["call"] == "epoll_ctl" else step["call"]
    return re.search(CODE[call], code)


def expected_frame(trace, index):
    step = trace["steps"][index]
    kernel = step["kernel"]
    ready = ["listener"] if kernel["listener_ready"] else []
    ready += [name for name, socket in kernel["sockets"].items() if socket["ready"]]
    return {
        "call": expected_call(step),
        "position": f"{index + 1} of {len(trace['steps'])}",
        "clients": [expected_client(name, trace["steps"][: index + 1]) for name in trace["clients"]],
        "pending": kernel["pending"] or ["empty"],
        "ready": ready or ["empty"],
        "sockets": expected_sockets(kernel),
        "map": expected_map(step["server"]),
        **({"caption": told(step)} if "caption" in step else {}),
    }


def told(step):
    mark = f"{step['mark']} " if "mark" in step else ""
    return mark + plain(step["caption"])


def chromium():
    options = webdriver.ChromeOptions()
    # Without a sandbox, because CI may be root; the pages are our own.
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--force-prefers-reduced-motion",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(service=ChromeService("/usr/bin/chromedriver"), options=options)


def firefox():
    options = webdriver.FirefoxOptions()
    options.add_argument("-headless")
    options.set_preference("ui.prefersReducedMotion", 1)
    path = shutil.which("geckodriver")
    if path is None:
        raise WebDriverException("geckodriver")
    return webdriver.Firefox(
        service=FirefoxService(path, log_path="/dev/null"), options=options
    )


class Check:
    """What is the same in both browsers. Nothing moves by itself, as a reader may wish."""

    def __init__(self, driver, book, workspace):
        self.driver, self.book = driver, book
        self.problems = []
        self.traces = {}
        for path in sorted((workspace / "docs/src/loop/traces").glob("*.json")):
            trace = json.loads(path.read_text())
            self.traces[trace["scene"]] = trace
        self.driver.set_script_timeout(DEADLINE)

    def expect(self, is_so, problem):
        if not is_so:
            self.problems.append(problem)

    def open(self, page=PAGE, size=DESK):
        # Firefox is never narrower than 500 px, and has its own bar.
        width, height = size
        self.driver.set_window_rect(width=width, height=height + 86)
        self.driver.get((self.book / page).as_uri())

    def figures(self):
        """The scenes of each player on this page, the model aside."""
        scenes = "return [...document.querySelectorAll('figure[data-scene]')].map((f) => f.dataset.scene)"
        return [scene.split(" ") for scene in self.driver.execute_script(scenes)]

    def play_all(self, page, size):
        self.open(page, size)
        self.driver.execute_script(START)
        for index, scenes in enumerate(self.figures()):
            if scenes == ["model"]:
                continue
            for variant, scene in enumerate(scenes):
                shown = self.driver.execute_script(PLAY, index, variant, size == DESK)
                self.compare(scene, shown, size)

    def compare(self, scene, shown, size):
        trace = self.traces[scene]
        self.expect(
            len(shown["there"]) == len(trace["steps"]),
            f"{scene}: {len(shown['there'])} steps are shown",
        )
        is_back = shown["back"] == (shown["there"] if size == DESK else shown["there"][-1:])
        self.expect(is_back, f"{scene}: going back shows something else")
        for index, frame in enumerate(shown["there"]):
            for key, value in expected_frame(trace, index).items():
                self.expect(
                    frame[key] == value,
                    f"{scene}, step {index + 1}: {key} is {frame[key]!r}, not {value!r}",
                )
            self.expect(
                is_its_line(trace["steps"][index], frame["code"]),
                f"{scene}, step {index + 1}: the line is {frame['code']!r}",
            )
            self.expect(frame["caption"], f"{scene}, step {index + 1} has no caption")
            self.expect(
                not frame["wide"],
                f"{scene}, step {index + 1}: {frame['wide']} must be scrolled at {size[0]} px",
            )
        self.expect(
            shown["picture"].endswith(f"/{scene}.svg"), f"{scene}: its picture is {shown['picture']}"
        )
        asks = {
            str(i): step["ask"] for i, step in enumerate(trace["steps"]) if "ask" in step and i > 0
        }
        self.expect(
            asks.keys() == shown["asked"].keys(),
            f"{scene}: asked before {list(shown['asked'])}, not {list(asks)}",
        )
        for index, ask in asks.items():
            asked = shown["asked"].get(index)
            if asked is None:
                continue
            question, *answers = [plain(text) for text in (ask["question"], *ask["answers"])]
            self.expect(
                asked["question"].endswith(question), f"{scene}: asks {asked['question']!r}"
            )
            self.expect(asked["answers"] == answers, f"{scene}: answers {asked['answers']}")
            is_right = ask["right"] == 0
            verdict = "Right." if is_right else f"No: “{answers[ask['right']]}”."
            self.expect(
                asked["last"].startswith(verdict), f"{scene}: {asked['last']!r}, not {verdict!r}"
            )
            marks = ["✓" if i == ask["right"] else "✗" if i == 0 else "" for i in range(len(answers))]
            self.expect(asked["marks"] == marks, f"{scene}: the answers are marked {asked['marks']}")
            self.expect(asked["isSeen"], f"{scene}: the question is out of sight at {size} px")
            self.expect(asked["name"], f"{scene}: the question has no name")

    def model_all(self):
        self.open()
        for scene, trace in self.traces.items():
            options = model_options(trace)
            if options is None:
                continue
            actions = [
                {key: step.get(key) for key in ("actor", "does", "bytes", "text")}
                for step in trace["steps"]
                if "does" in step
            ]
            steps = self.driver.execute_script(MODEL, options, actions)
            model, real = comparable(steps), comparable(trace["steps"])
            for group, (ours, theirs) in enumerate(zip(model, real)):
                self.expect(
                    ours == theirs,
                    f"{scene}: after action {group}, the model has {ours}, the recording {theirs}",
                )
            self.expect(
                len(model) == len(real),
                f"{scene}: the model has {len(model)} actions, the recording {len(real)}",
            )

    def player(self):
        return self.driver.find_element(By.CSS_SELECTOR, ".loop")

    def shown(self, query):
        return self.player().find_element(By.CSS_SELECTOR, query).text

    def keys_and_play(self):
        self.open()
        self.driver.execute_script(START)
        url = self.driver.current_url
        for key, position in (
            (Keys.ARROW_RIGHT, "2 of"),
            (Keys.ARROW_LEFT, "1 of"),
            (Keys.ARROW_LEFT, "1 of"),
        ):
            self.player().send_keys(key)
            self.expect(
                self.shown(".loop-position").startswith(position),
                f"an arrow key leads to {self.shown('.loop-position')}",
            )
        self.driver.execute_script(
            FRAME + "const p = document.querySelector('.loop');"
            "press(p, 'Forward').focus(); while (!isAtEnd(p, 'Forward')) { press(p, 'Forward').click(); }"
        )
        self.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
        self.expect(self.driver.current_url == url, "an arrow key in the player turns the page")
        # At the end, it begins again. A change of the speed is not put off.
        self.driver.execute_script(
            "const real = setInterval; window.paces = [];"
            "window.setInterval = (f, pace) => { paces.push(pace); return real(f, pace); };"
        )
        self.button("Play").click()
        self.expect(self.shown(".loop-position").startswith("1 of"), "Play does not begin again")
        self.driver.find_element(By.CSS_SELECTOR, ".loop select").send_keys("fast")
        paces = self.driver.execute_script("return paces")
        self.expect(paces == [1500, 500], f"Play and a change of its speed: {paces}")
        self.wait(lambda _: not self.shown(".loop-position").startswith("1 of"))
        self.button("Pause").click()
        told = "const s = document.querySelector('.loop input'); return s.getAttribute('aria-valuetext')"
        told = self.driver.execute_script(told)
        self.expect(" of 16: " in str(told), f"the slider says {told!r}")

    def press(self, key):
        """A key alone, wherever the focus is."""
        ActionChains(self.driver).send_keys(key).perform()

    def focused(self):
        return self.driver.switch_to.active_element

    def tab_to(self, is_it):
        for _ in range(MANY_TABS):
            self.press(Keys.TAB)
            if is_it(self.focused()):
                return
        self.problems.append(f"the Tab key stops at {self.focused().get_attribute('outerHTML')[:80]}")

    def by_keyboard_alone(self):
        """The first scene from its poster to its end, and in free play a client that connects and speaks."""
        self.open()
        url = self.driver.current_url
        self.tab_to(lambda element: "loop-poster" in element.get_attribute("class"))
        self.press(Keys.ENTER)
        self.wait(lambda _: self.focused().text == "Play")
        while not self.shown(".loop-ask"):
            self.press(Keys.ARROW_RIGHT)
        self.press(Keys.TAB)
        self.expect(self.focused().text == "one", f"after the question: {self.focused().text!r}")
        self.press(Keys.ENTER)
        verdict = self.shown(".loop-ask")
        self.expect("Right." in verdict, f"after an answer: {verdict!r}")
        for _ in range(20):
            self.press(Keys.ENTER)
        position = self.shown(".loop-position")
        self.expect(position == "16 of 16", f"Enter leads to {position}")
        self.driver.get(f"{url}#free-play")
        for name in ("alice connects", "alice sends the line", "alice leaves"):
            self.tab_to(lambda element: element.get_attribute("data-key") == name)
            self.press(Keys.ENTER)
            self.press(Keys.ARROW_RIGHT)
        self.expect(self.driver.current_url.startswith(url), "by keyboard: an arrow key turns the page")
        rows = self.driver.find_element(By.CSS_SELECTOR, ".loop-rows").text
        self.expect("alice is disconnected" in rows.replace("\n", " "), f"by keyboard: {rows}")

    def wait(self, is_so):
        WebDriverWait(self.driver, DEADLINE, poll_frequency=0.1).until(is_so)

    def button(self, label, within=".loop"):
        return self.driver.find_element(
            By.XPATH, f"//*[contains(@class, '{within[1:]}')]//button[text()='{label}']"
        )

    def free_play(self):
        self.open()
        row = "document.querySelector('[data-key=\"{}\"]').click();"
        self.driver.execute_script(row.format("alice connects") + row.format("bob connects"))
        at = FRAME + "const p = [...document.querySelectorAll('.loop')].at(-1);"
        at += "return [one(p, '.loop-position'), press(p, 'Pause') !== undefined];"
        position, is_playing = self.driver.execute_script(at)
        self.expect(
            position == "8 of 14" and not is_playing,
            f"free play is at {position}, playing: {is_playing}",
        )
        url = self.driver.current_url
        typed = self.driver.find_element(By.NAME, "alice")
        typed.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_LEFT, "s")
        self.expect(
            self.driver.current_url == url, "an arrow key in a line that is typed turns the page"
        )
        self.expect(
            typed.get_attribute("value") == "hellso", f"typed: {typed.get_attribute('value')!r}"
        )
        typed.send_keys(Keys.HOME, *[Keys.DELETE] * 6, "hello")
        self.driver.execute_script(row.format("alice sends the line"))
        script = FRAME + "const p = [...document.querySelectorAll('.loop')].at(-1);"
        script += "while (!isAtEnd(p, 'Forward')) press(p, 'Forward').click();"
        script += "return [one(p, '.loop-kind'), one(p, '.loop-call'), frame(p).map];"
        kind, call, held = self.driver.execute_script(script)
        self.expect(kind == "model", f"free play is labelled {kind}")
        self.expect(call == 'bob receives 6 bytes "hello\\n"', f"free play ends with {call}")
        self.expect(len(held) == 2, f"free play ends with {held}")
        # The server closes its side, too. Then nothing is left to do for bob.
        self.driver.execute_script(row.format("bob half-closes"))
        rows = self.driver.find_element(By.CSS_SELECTOR, ".loop-rows").text
        is_told = "bob is disconnected" in rows.replace("\n", " ")
        self.expect(is_told, f"after a half-close: {rows}")

    def look(self, page, size):
        self.open(page, size)
        self.driver.execute_script(START + SETTLE)
        for theme in THEMES:
            self.driver.execute_script(f"document.getElementById('mdbook-theme-{theme}').click()")
            self.wait(lambda driver: driver.execute_script(IS_STYLED))
            found = self.driver.execute_script(LAYOUT)
            ratio, text, count = self.driver.execute_script(CONTRAST)
            if ratio < LEAST_CONTRAST:
                found.append(f"{text!r} has a contrast of {ratio:.2f}")
            if count <= 50:
                found.append(f"only {count} texts are visible")
            # The other themes differ in colours only.
            if theme == THEMES[0] or size == DESK:
                found += self.asked_itself()
            self.problems += [f"{page}, {theme}, {size[0]} px: {problem}" for problem in found]

    def asked_itself(self):
        return []

    def run(self, pages):
        for page in pages:
            self.look(page, PHONE)
        self.play_all(PAGE, DESK)
        players = {scene for scenes in self.figures() for scene in scenes}
        self.expect(players == {*self.traces, "model"}, f"{PAGE} has only {sorted(players)}")
        self.keys_and_play()
        self.by_keyboard_alone()
        self.free_play()


class InChromium(Check):
    """What only Chromium's driver can do, or need not be done twice."""

    def __init__(self, axe, *rest):
        super().__init__(*rest)
        self.axe = axe

    def open(self, page=PAGE, size=DESK):
        width, height = size
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.get((self.book / page).as_uri())

    def asked_itself(self):
        self.driver.execute_script(f"window.axe ?? (() => {{ {self.axe} }})()")
        return self.driver.execute_async_script(AXE)

    def poster_plays(self):
        moves = {"features": [{"name": "prefers-reduced-motion", "value": "no-preference"}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", moves)
        self.open()
        self.driver.find_element(By.CSS_SELECTOR, ".loop-poster").click()
        self.expect(self.focused().text == "Pause", f"a poster leads to {self.focused().text!r}")
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def pictures_without_scripts(self, page):
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        self.driver.get((self.book / page).as_uri())
        self.problems += [f"{page}: {found}" for found in self.driver.execute_script(PICTURES)]
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})

    def console(self):
        for entry in self.driver.get_log("browser"):
            self.expect(entry["level"] != "SEVERE", f"console: {entry['message']}")

    def run(self, pages):
        for page in pages:
            self.look(page, DESK)
            self.pictures_without_scripts(page)
        super().run(pages)
        for page in pages:
            # The chapters have the same players, only smaller.
            self.play_all(page, PHONE)
        self.poster_plays()
        self.model_all()
        self.console()


def model_options(trace):
    """`None` for a program that the model does not have. How much fits is the recording's."""
    milestone = re.match(r"milestone-([1-4])-|chat.c --chapter ([1-4])", trace["program"])
    mistake = re.fullmatch(r"mistaken (.+)", trace["program"])
    if not (milestone or mistake):
        return None
    sockets = [socket for step in trace["steps"] for socket in step["kernel"]["sockets"].values()]
    full = [socket for socket in sockets if socket["unsent"]]
    # If no socket was ever full, then any size will do.
    room = 10**9
    send = max((socket["unsent"] for socket in full), default=room)
    both = max((socket["unsent"] + socket["at_client"] for socket in full), default=2 * room)
    return {
        "milestone": int(milestone[1] or milestone[2]) if milestone else 4,
        "mistake": mistake[1] if mistake else "",
        "trigger": "level" if any(socket["trigger"] == "level" for socket in sockets) else "edge",
        "turns": most_turns(trace["steps"]),
        "readsAlone": False,
        "send": send,
        "receive": both - send,
    }


def most_turns(steps):
    """How often the server waits between two actions. A loop that spins is stopped at some time."""
    turns = [0]
    for step in steps:
        turns.append(0 if "does" in step else turns[-1] + (step.get("call") == "epoll_wait"))
    return max(turns)


def comparable(steps):
    """For each action, what the server does after it: the calls and lines of each descriptor, in order. And what
    the kernel and the server hold then.

    The order between descriptors is that of a hash map. How many reads a flood takes depends on when it arrives.
    """
    groups = []
    for step in steps:
        if step.get("does") == "spins":
            continue
        if "does" in step:
            groups.append({"action": (step["actor"], step["does"], step.get("bytes"))})
        groups[-1]["state"] = state(step)
        if "does" in step:
            continue
        about = step.get("on") or step.get("call") or "lines"
        keys = ("call", "result", "stdout", "stderr")
        shown = {key: step.get(key) for key in keys}
        shown["events"] = sorted(step.get("events", []))
        groups[-1].setdefault(about, []).append(shown)
    for group in groups:
        group.get("lines", []).sort(key=lambda line: line["stdout"] or line["stderr"])
    return groups


def state(step):
    """Of the bytes on the way, how many the client's socket has taken depends on the kernel's windows."""
    kernel = {**step["kernel"], "sockets": {}}
    for name, socket in step["kernel"]["sockets"].items():
        rest = {key: value for key, value in socket.items() if key not in ("unsent", "at_client")}
        kernel["sockets"][name] = {**rest, "on_the_way": socket["unsent"] + socket["at_client"]}
    return kernel, step["server"]


def main():
    browser, book, workspace, axe = sys.argv[1:]
    book, workspace = Path(book).resolve(), Path(workspace)
    try:
        if browser == "firefox":
            check = Check(firefox(), book, workspace)
        else:
            check = InChromium(Path(axe).read_text(), chromium(), book, workspace)
    except (OSError, WebDriverException) as error:
        print(f"missing: {error}")
        sys.exit(2)
    try:
        # Without mdBook's page for printing, which opens a dialogue.
        summary = (workspace / "docs/src/SUMMARY.md").read_text()
        check.run([f"{name}.html" for name in re.findall(r"\((\S+)\.md\)", summary)])
    finally:
        check.driver.quit()
    print("\n".join(check.problems))
    sys.exit(1 if check.problems else 0)


main()
