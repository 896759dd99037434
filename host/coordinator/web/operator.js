// What a page does besides being there: signs in with a link, follows what happens, and draws the live picture.
// Nothing here is needed to read a page.

// ── Signing in ──

const form = document.getElementById("enter");

function enter() {
  if (location.hash.length < 2) return;
  form.elements.code.value = location.hash.slice(1);
  // Out of the address before anybody bookmarks it.
  history.replaceState(null, "", location.pathname);
  form.requestSubmit();
}

if (form) {
  enter();
  // A link that is opened where this page is loads nothing anew.
  addEventListener("hashchange", enter);
}

// ── What the server renders, fetched again when something happened ──

const state = document.getElementById("state");
let fetching = false;
let again = false;
let frozen = false;

function say(text, on) {
  if (!state) return;
  if (state.textContent !== text) state.textContent = text;
  state.classList.toggle("on", on);
  state.hidden = false;
}

async function renew() {
  if (fetching) {
    again = true;
    return;
  }
  fetching = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (answer.redirected) {
      location.reload();
      return;
    }
    if (answer.ok) replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The line is down; the event source says so.
  } finally {
    fetching = false;
  }
  if (again) {
    again = false;
    renew();
  }
}

function replace(fresh) {
  for (const old of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(old.id);
    if (!next || old.innerHTML === next.innerHTML) continue;
    // Whatever somebody opened, scrolled or stands on stays so.
    const reached = () => [...old.querySelectorAll("a, summary, .wide")];
    const before = reached();
    const focused = before.indexOf(document.activeElement);
    const open = [...old.querySelectorAll("details[open]")].map((details) => details.id);
    const scrolled = before.map((part) => part.scrollLeft);
    old.replaceChildren(...next.childNodes);
    for (const id of open) document.getElementById(id)?.setAttribute("open", "");
    const after = reached();
    after.forEach((part, index) => (part.scrollLeft = scrolled[index] ?? 0));
    if (focused >= 0) after[focused]?.focus({ preventScroll: true });
  }
}

// ── The live picture ──

const WINDOW = 60_000;
const ROW = 18;
const [RUNNING, REPORTED, CONTRADICTED, FAILED, UNDONE] = [1, 2, 4, 5, 6];
const WORDS = ["waits", "running", "reported, no answer yet", "accepted", "contradicts the answer", "machine failed", "not needed, or given back"];
const canvas = document.getElementById("stream");
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const picture = { lanes: new Map(), jobs: [], bars: new Map(), offset: 0, every: 1, hidden: 0, height: 0, at: 0 };
let missed = 0;
let cut = 0;

function take(frame, whole) {
  if (whole) {
    picture.bars.clear();
    picture.lanes.clear();
  }
  picture.offset = frame.now - performance.now();
  picture.every = frame.every;
  picture.hidden = frame.hidden;
  if (frame.lanes) {
    picture.lanes.clear();
    for (const [number, name, kind, engine, rows] of frame.lanes) picture.lanes.set(number, { name, kind, engine, rows });
    arrange();
  }
  if (frame.jobs) {
    picture.jobs = frame.jobs;
    legend();
  }
  for (const [number, lane, row, job, begin, end, stage, run, unit] of frame.bars) {
    picture.bars.set(number, { lane, row, job, begin, end, stage, run, unit });
  }
  for (const [number, bar] of picture.bars) {
    if (bar.end && bar.end < frame.now - 1.2 * WINDOW) picture.bars.delete(number);
  }
  note();
}

// Hue and number, for whoever does not tell the hues apart.
function legend() {
  const entry = (name, job) => {
    const line = document.createElement("li");
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.textContent = job + 1;
    swatch.style.background = hue(job);
    line.append(swatch, name);
    return line;
  };
  document.getElementById("jobs").replaceChildren(...picture.jobs.map(entry));
}

// Native workers first, then browsers, each in the order in which they came.
function arrange() {
  const order = ["native", "browser", "other"];
  const lanes = [...picture.lanes.entries()];
  lanes.sort(([a, one], [b, other]) => order.indexOf(one.kind) - order.indexOf(other.kind) || a - b);
  let top = 0;
  for (const [, lane] of lanes) {
    lane.top = top;
    top += lane.rows * ROW + 4;
  }
  picture.height = Math.max(top, 2 * ROW) + 4;
  canvas.style.height = `${picture.height}px`;
  canvas.hidden = false;
  document.getElementById("stream-ends").hidden = false;
}

function note() {
  const said = [];
  if (picture.every > 1) said.push(`1 of ${picture.every} replicas is drawn.`);
  if (picture.hidden) said.push(`${picture.hidden} or more workers are not drawn.`);
  if (missed) said.push(`This page missed ${missed} updates.`);
  if (cut) said.push(`${cut} pages that read too slowly were cut off since the coordinator began.`);
  if (frozen) said.push("Frozen.");
  const drawn = document.getElementById("drawn");
  const text = said.join(" ");
  if (drawn.textContent !== text) drawn.textContent = text;
}

let colours = {};
function look() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  colours = { ink: of("--ink"), quiet: of("--quiet"), line: of("--line"), card: of("--card"), bad: of("--bad"), warn: of("--warn") };
  colours.job = (job) => `oklch(${of("--hue-light")} ${of("--hue-chroma")} ${(30 + 47 * job) % 360})`;
  colours.jobs = new Map();
}

function hue(job) {
  if (!colours.jobs.has(job)) colours.jobs.set(job, colours.job(job));
  return colours.jobs.get(job);
}

function label() {
  return canvas.clientWidth < 560 ? 84 : 168;
}

function draw() {
  const scale = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, picture.height];
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "12px ui-monospace, monospace";
  pen.textBaseline = "middle";
  const left = label();
  for (const lane of picture.lanes.values()) {
    for (let row = 0; row < lane.rows; row++) {
      const y = lane.top + row * ROW;
      // An idle slot is drawn as well: one that is missing would look like a fault.
      pen.fillStyle = colours.line;
      pen.fillRect(left, y + ROW - 3, width - left, 1);
    }
    pen.fillStyle = colours.quiet;
    const short = lane.name.split("_").pop();
    const name = left < 100 ? short : `${short} ${lane.kind}`;
    pen.fillText(name, 0, lane.top + ROW / 2, left - 8);
  }
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left, height);
  pen.clip();
  const place = (time) => left + (1 - (picture.at - time) / WINDOW) * (width - left);
  const wrong = [];
  for (const bar of picture.bars.values()) {
    const lane = picture.lanes.get(bar.lane);
    if (!lane) continue;
    const from = place(bar.begin);
    const to = bar.end ? place(bar.end) : width;
    if (to < left || from > width) continue;
    const box = [from, lane.top + bar.row * ROW + 1, Math.max(to - from - 1, 1.5), ROW - 5];
    if (bar.stage === CONTRADICTED) wrong.push(box);
    else paint(pen, bar, ...box);
  }
  for (const box of wrong) cross(pen, ...box);
  pen.restore();
}

function paint(pen, bar, x, y, width, height) {
  pen.setLineDash([]);
  pen.lineWidth = 1.5;
  const frame = (colour, dash = []) => {
    pen.strokeStyle = colour;
    pen.setLineDash(dash);
    pen.strokeRect(x + 0.75, y + 0.75, Math.max(width - 1.5, 0.5), height - 1.5);
  };
  if (bar.stage === FAILED) {
    frame(colours.warn, [3, 2]);
  } else if (bar.stage === UNDONE) {
    frame(colours.quiet);
  } else {
    pen.globalAlpha = bar.stage <= REPORTED ? 0.45 : 1;
    pen.fillStyle = hue(bar.job);
    pen.fillRect(x, y, width, height);
    pen.globalAlpha = 1;
    if (bar.stage === REPORTED && width > 3) frame(colours.ink);
    if (width > 14 && bar.stage !== RUNNING) {
      pen.fillStyle = bar.stage === REPORTED ? colours.ink : colours.card;
      pen.fillText(bar.job + 1, x + 3, y + height / 2 + 1);
    }
  }
}

// A box with a cross, wide enough to be seen however short the replica was, and over all others.
function cross(pen, x, y, width, height) {
  const wide = Math.max(width, 12);
  const from = x + (width - wide) / 2;
  pen.setLineDash([]);
  pen.lineWidth = 2;
  pen.fillStyle = colours.card;
  pen.strokeStyle = colours.bad;
  pen.fillRect(from, y, wide, height);
  pen.beginPath();
  pen.rect(from + 1, y + 1, wide - 2, height - 2);
  const [middle, half] = [from + wide / 2, height / 2 - 2];
  for (const side of [-half, half]) {
    pen.moveTo(middle - half, y + height / 2 - side);
    pen.lineTo(middle + half, y + height / 2 + side);
  }
  pen.stroke();
}

let drawnAt = 0;
function animate(time) {
  requestAnimationFrame(animate);
  const pause = calm.matches ? 1000 : 33;
  if (frozen || document.hidden || time - drawnAt < pause) return;
  drawnAt = time;
  picture.at = performance.now() + picture.offset;
  draw();
}

function barAt(event) {
  const box = canvas.getBoundingClientRect();
  const [x, y] = [event.clientX - box.left, event.clientY - box.top];
  const left = label();
  const time = picture.at - (1 - (x - left) / (box.width - left)) * WINDOW;
  const slack = (3 / (box.width - left)) * WINDOW;
  let found;
  for (const bar of picture.bars.values()) {
    const lane = picture.lanes.get(bar.lane);
    const top = lane ? lane.top + bar.row * ROW : -1;
    if (lane && y >= top && y < top + ROW && bar.begin - slack <= time && time <= (bar.end || picture.at) + slack) found = bar;
  }
  return found;
}

if (canvas) {
  look();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    look();
    legend();
    draw();
  });
  const picked = document.getElementById("picked");
  picked.hidden = false;
  canvas.addEventListener("pointermove", (event) => {
    const bar = barAt(event);
    canvas.style.cursor = bar ? "pointer" : "";
    if (!bar) {
      picked.textContent = "";
      return;
    }
    const seconds = (((bar.end || picture.at) - bar.begin) / 1000).toFixed(2);
    const lane = picture.lanes.get(bar.lane);
    picked.textContent = `${picture.jobs[bar.job]}, unit ${bar.unit}, ${lane.name} (${lane.kind}, ${lane.engine}), ${seconds} s: ${WORDS[bar.stage]}`;
  });
  canvas.addEventListener("click", (event) => {
    const bar = barAt(event);
    if (bar) location.href = `/operator/runs/${bar.run}?from=${bar.unit}`;
  });
  const freeze = document.getElementById("freeze");
  freeze.hidden = false;
  freeze.addEventListener("click", () => {
    frozen = !frozen;
    freeze.setAttribute("aria-pressed", String(frozen));
    note();
    if (!frozen) renew();
  });
  new ResizeObserver(() => draw()).observe(canvas);
  requestAnimationFrame(animate);
}

// ── What happens ──

let source;
function listen() {
  if (source || !state || !document.querySelector("[data-live]")) return;
  source = new EventSource(`/operator/events${canvas ? "?replicas=true" : ""}`);
  source.addEventListener("open", () => say("live", true));
  source.addEventListener("error", () => {
    say("not connected; trying again", false);
    // A refusal ends it for good; whoever is not signed in any more is sent to the door.
    if (source?.readyState === EventSource.CLOSED) {
      source = undefined;
      setTimeout(() => {
        renew();
        listen();
      }, 5000);
    }
  });
  source.addEventListener("scene", (event) => take(JSON.parse(event.data), true));
  source.addEventListener("bars", (event) => take(JSON.parse(event.data), false));
  source.addEventListener("missed", (event) => {
    missed += Number(event.data);
    note();
  });
  source.addEventListener("changed", (event) => {
    cut = Number(event.data);
    if (!frozen) renew();
  });
  source.addEventListener("bye", () => location.reload());
}

function leave() {
  source?.close();
  source = undefined;
}

// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    leave();
  } else {
    listen();
    if (state && !frozen) renew();
  }
});
addEventListener("pagehide", leave);
addEventListener("pageshow", listen);
if (!document.hidden) listen();
