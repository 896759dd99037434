// The element that asks a visitor for help. It says who asks, what for and what it costs; without a click of a person it
// loads nothing that computes. The mind runs in a worker (mind.js); this shows what it says and tells it what is wished.

// Which files compute, and their digests; filled in when the files are made. Whoever pins this file pins those.
const ASSETS = null;
const STYLE = "";

// Milliseconds from Stop to the end of the mind, whatever it does. Slots end at once.
const STOP_TIME = 150;
// Milliseconds between two looks at what changed.
const PAINT_TIME = 100;
// Milliseconds without a unit after which there seems to be no work.
const IDLE_TIME = 3000;
// Milliseconds after which a frame that was loaded has answered, if its script was.
const FRAME_TIME = 2000;
// Seconds without an answer after which the slots are gone.
const SILENCE_MAX = 15;
// For how long it is remembered that somebody was helping.
const CONSENT_TIME = 30 * 86_400_000;
const UNITS_SHOWN = 5;
// Units whose end may still come; small ones come by the thousand.
const UNITS_KEPT = 4096;
// Milliseconds after which browsers have told who forbade what just failed.
const TOLD_TIME = 50;
const PLAIN = { credentials: "omit", referrerPolicy: "no-referrer" };

const wait = (time) => new Promise((done) => setTimeout(done, time));
// What went wrong, by the key of its words.
const fault = (problem, detail) => Object.assign(new Error(detail), { problem });

// ── What happened ──

const STATES = { executed: "sent", recorded: "recorded", not_counted: "refused", too_late: "late", given_back: "back", failed: "failed" };

class Tally {
  // In the order in which they began or were settled.
  units = new Map();
  stats = { executed: 0, recorded: 0, verified: 0, contradicted: 0, fuel: 0, seconds: 0 };
  // How long the last unit took, and when it ended, in milliseconds.
  took = 0;
  at = 0;

  // The unit that this is about, if it changes one; one that began before this page did is known by its name only.
  hear({ word, unit, text, number }, now) {
    const { units, stats } = this;
    if (word === "started") {
      units.delete(unit);
      units.set(unit, { unit, job: text, state: "computing", progress: 0, since: now, fuel: 0, others: 0 });
      if (units.size > UNITS_KEPT) units.delete([...units.values()].find(({ state }) => state !== "computing").unit);
      return units.get(unit);
    }
    // What the coordinator says counts, and it knows of other days as well.
    if (word === "balance") stats.balance = number;
    const row = units.get(unit) ?? { unit, job: null, fuel: 0 };
    if (row.state === "computing") {
      this.took = now - row.since;
      this.at = now;
      stats.seconds += this.took / 1000;
    }
    if (word === "settled") {
      row.state = text === "agreed" ? "verified" : "contradicted";
      row.others = number;
      stats[row.state] += 1;
      if (row.state === "verified") stats.fuel += row.fuel;
      // To the front: this is what somebody waits for.
      if (units.delete(unit)) units.set(unit, row);
      return row;
    }
    if (!unit || !(word in STATES)) return null;
    if (word === "executed") row.fuel = number;
    if (word in stats) stats[word] += 1;
    // Receipts may come after what they led to.
    if (row.state === "verified" || row.state === "contradicted") return null;
    row.state = STATES[word];
    return row;
  }

  computing() {
    return [...this.units.values()].filter(({ state }) => state === "computing");
  }

  // The last first; all that are being computed, and some that ended.
  shown() {
    let ended = 0;
    return [...this.units.values()].reverse().filter(({ state }) => state === "computing" || ended++ < UNITS_SHOWN);
  }
}

// ── The page ──

function h(tag, set, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(set ?? {})) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...inside);
  return made;
}

// Only what changed, so that nobody's reading is disturbed.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const sheet = globalThis.CSSStyleSheet && new CSSStyleSheet();
sheet?.replaceSync(STYLE);

// Where there are no elements, on a server, importing this does no harm.
export class ManyhandsVolunteer extends (globalThis.HTMLElement ?? Object) {
  static observedAttributes = ["coordinator", "compact", "lang"];

  #state = "loading";
  #card = null;
  #base = "";
  #tongue = null;
  #settings = {};
  #tally = new Tally();
  #parts = {};
  #error = null;
  // Warnings, by the key of their words.
  #notices = new Map();
  // What is said while nothing runs.
  #rest = "ready";
  #run = null;
  #worker = null;
  #pool = null;
  // For how many seconds it has not answered.
  #silence = 0;
  #identity = null;
  #release = () => {};
  #joined = false;
  #losses = 0;
  #pause = null;
  #restsUntil = 0;
  #again = false;
  #violation = "";
  #battery = null;
  #minute = -1;
  #painting = 0;
  #ticking = 0;
  #gone = null;
  #away = false;

  // ── What pages may use ──

  get state() {
    return this.#state;
  }

  get stats() {
    return { ...this.#tally.stats };
  }

  stop() {
    if (!this.#run) return;
    this.#remember({ ran: 0 });
    this.#halt("stopped");
  }

  // ── Its life ──

  connectedCallback() {
    if (!this.shadowRoot) {
      this.attachShadow({ mode: "open" }).adoptedStyleSheets = [sheet];
      this.shadowRoot.append(h("slot"));
    }
    // Moved within the page it stays what it was.
    if (this.#gone) return;
    this.#gone = new AbortController();
    const { signal } = this.#gone;
    // What scripts pretend does not count: somebody who lends a hand would be made to lend it to others.
    const on = (target, name, act) => target?.addEventListener(name, (event) => event.isTrusted && act(event), { signal });
    on(document, "securitypolicyviolation", (event) => this.#violated(event));
    on(document, "visibilitychange", () => this.#sense());
    on(navigator.connection, "change", () => this.#sense());
    on(window, "pagehide", () => this.#leave());
    on(document, "freeze", () => this.#leave());
    on(window, "pageshow", () => this.#return());
    on(document, "resume", () => this.#return());
    // Firefox and Safari have none.
    navigator.getBattery?.().then((battery) => {
      this.#battery = battery;
      on(battery, "chargingchange", () => this.#sense());
      this.#sense();
    }, () => {});
    const seen = new IntersectionObserver((entries) => {
      this.#away = !entries.at(-1).isIntersecting;
      this.#paint();
    }, { rootMargin: "-64px 0px" });
    seen.observe(this);
    signal.onabort = () => seen.disconnect();
    this.#load();
  }

  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#gone?.abort();
      this.#gone = null;
      this.#halt("stopped");
    });
  }

  attributeChangedCallback(name) {
    if (!this.#gone) return;
    if (name === "coordinator") {
      this.#halt("stopped");
      this.#again = false;
      this.#load();
    } else {
      this.#speak();
      this.#build();
    }
  }

  #speak() {
    this.#tongue = new Tongue([this.closest("[lang]")?.lang, ...navigator.languages]);
  }

  async #load() {
    this.#speak();
    this.#card = this.#error = null;
    this.#enter("loading");
    try {
      const { origin } = new URL(this.getAttribute("coordinator") || import.meta.url, document.baseURI);
      this.#base = origin;
      this.#recall();
      const response = await fetch(`${origin}/v1/card`, PLAIN);
      if (!response.ok) throw fault("unreachable", `${response.status}`);
      const card = await response.json();
      // By now another may be wanted.
      if (origin !== this.#base) return;
      this.#card = card;
      this.#enter("ready");
      this.#build();
    } catch (error) {
      this.#build();
      await this.#failed(error);
    }
  }

  // ── What is remembered ──

  #recall() {
    const all = navigator.hardwareConcurrency || 2;
    const usual = { slots: Math.max(1, all >> 1), permille: 500, onBattery: false, onMetered: false, whileHidden: true, from: "", to: "", ran: 0 };
    this.#settings = { ...usual, ...this.#kept() };
    this.#settings.slots = Math.min(this.#settings.slots, all);
    const wasHelping = Date.now() - this.#settings.ran < CONSENT_TIME;
    if (this.#rest === "ready" && wasHelping) this.#rest = "remembered";
  }

  #kept() {
    try {
      return JSON.parse(localStorage.getItem(`manyhands ${this.#base}`));
    } catch {
      // Nothing can be kept here, or somebody else wrote it.
      return null;
    }
  }

  #remember(change) {
    Object.assign(this.#settings, change);
    try {
      localStorage.setItem(`manyhands ${this.#base}`, JSON.stringify(this.#settings));
    } catch {
      // It holds as long as the page is there.
    }
  }

  // ── From the click to the end ──

  #pressed(event) {
    // A person's click: no script's, neither the page's nor an extension's.
    if (!event.isTrusted) return;
    if (this.#run) this.stop();
    else if (this.#card) this.#start();
    else this.#load();
  }

  async #start() {
    const run = new AbortController();
    this.#run = run;
    this.#error = null;
    this.#notices.clear();
    this.#enter("starting");
    try {
      this.#compiles();
      await this.#turn(run.signal);
      run.signal.throwIfAborted();
      this.#enter("starting");
      const files = ["mind", "slot", "runtime"].map((name) => this.#file(name, run.signal));
      const pool = this.#poolInFrame(run.signal).then((port) => port ?? this.#poolInPage(run.signal));
      const made = await Promise.all([pool, ...files]);
      run.signal.throwIfAborted();
      this.#begin(run.signal, ...made);
    } catch (error) {
      if (!run.signal.aborted) await this.#failed(error);
    }
  }

  // An empty module: whether this page may compile any.
  #compiles() {
    try {
      new WebAssembly.Module(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    } catch (error) {
      throw fault("wasm", error.message);
    }
  }

  async #file(name, signal) {
    const { path, integrity } = ASSETS[name];
    const url = this.#base + path;
    let response;
    try {
      response = await fetch(url, { ...PLAIN, integrity, signal });
    } catch (error) {
      if (signal.aborted) throw error;
      // All that browsers say is that it failed; whether the same comes without a digest tells more.
      const problem = (await this.#why(url)) ?? "integrity";
      throw fault(problem, `${path}: ${error.message}`);
    }
    if (!response.ok) throw fault(response.status === 404 ? "version" : "unreachable", `${path}: ${response.status}`);
    return response.arrayBuffer();
  }

  // What keeps the coordinator, or this file of it, from being reached; null if nothing does.
  async #why(url) {
    const answers = (url) => fetch(url, { ...PLAIN, cache: "no-store" }).then(() => true, () => false);
    const isThere = await answers(`${this.#base}/v1/card`);
    const comes = isThere && (!url || (await answers(url)));
    await wait(TOLD_TIME);
    if (this.#violation) return "csp";
    if (comes) return null;
    return isThere ? "blocked" : navigator.onLine ? "unreachable" : "offline";
  }

  async #failed(error) {
    this.#fail(error.problem ?? (await this.#why()) ?? "crashed", error.message);
  }

  #violated({ blockedURI, effectiveDirective }) {
    // Others' are none of this element's business.
    const isOurs = blockedURI === "blob" || blockedURI === "wasm-eval" || blockedURI.startsWith(this.#base);
    if (isOurs) this.#violation = effectiveDirective;
  }

  // One worker for each browser and coordinator: two with one key would be one whose connection leaps to and fro.
  #turn(signal) {
    if (!navigator.locks) return null;
    return new Promise((go) => {
      const hold = () => new Promise((release) => {
        if (signal.aborted) release();
        this.#release = release;
        go();
      });
      const name = `manyhands-${this.#card.fingerprint}`;
      const wait = () => {
        signal.throwIfAborted();
        this.#enter("waiting");
        return navigator.locks.request(name, { signal }, hold);
      };
      // Where locks are refused, as in some frames, it goes without.
      navigator.locks.request(name, { ifAvailable: true }, (lock) => (lock ? hold() : wait())).then(go, go);
    });
  }

  // A port to the pool of slots in a frame that may do nothing but compute; null where that cannot be. Chromium gives such a
  // frame a process of its own, which ends with it; in the page's, a worker that is terminated may go on for two seconds.
  async #poolInFrame(signal) {
    const { path, integrity } = ASSETS.pool;
    const policy = `default-src 'none'; script-src ${this.#base} 'wasm-unsafe-eval'; worker-src blob:`;
    const script = `<script src="${this.#base}${path}" integrity="${integrity}" crossorigin="anonymous" referrerpolicy="no-referrer"></script>`;
    const srcdoc = `<!doctype html><meta http-equiv="Content-Security-Policy" content="${policy}">${script}`;
    const frame = h("iframe", { sandbox: "allow-scripts", srcdoc });
    frame.style.display = "none";
    const { port1, port2 } = new MessageChannel();
    const answers = await new Promise((resolve) => {
      const no = () => resolve(false);
      port1.onmessage = () => resolve(true);
      frame.onload = () => {
        frame.contentWindow.postMessage(null, "*", [port2]);
        setTimeout(no, FRAME_TIME);
      };
      signal.addEventListener("abort", () => {
        frame.remove();
        no();
      });
      // Out of the way of whoever redraws the page, this element included.
      document.documentElement.append(frame);
    });
    if (!answers) frame.remove();
    return answers ? port1 : null;
  }

  // Where a policy allows scripts one by one, the frame's is not among them.
  async #poolInPage(signal) {
    const script = await this.#file("pool", signal);
    signal.throwIfAborted();
    const worker = this.#make("manyhands pool", script, signal);
    signal.addEventListener("abort", () => worker.terminate());
    const { port1, port2 } = new MessageChannel();
    worker.postMessage(null, [port2]);
    return port1;
  }

  // Workers cannot be fetched from elsewhere, but they can be made of what was.
  #make(name, script, signal) {
    const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    signal.addEventListener("abort", () => URL.revokeObjectURL(url));
    return new Worker(url, { name });
  }

  #begin(signal, pool, mind, slot, runtime) {
    this.#pool = pool;
    this.#silence = 0;
    pool.onmessage = () => {
      this.#silence = 0;
    };
    const { port1, port2 } = new MessageChannel();
    pool.postMessage({ slot }, [slot, port1]);
    this.#joined = false;
    this.#losses = 0;
    this.#pause = null;
    this.#restsUntil = 0;
    const worker = this.#make("manyhands", mind, signal);
    this.#worker = worker;
    worker.onmessage = ({ data }) => {
      if (worker === this.#worker) this.#hear(data);
    };
    worker.onerror = async (event) => {
      event.preventDefault();
      // What is forbidden or blocked has no message.
      await wait(TOLD_TIME);
      if (worker === this.#worker) this.#fail(event.message ? "crashed" : this.#violation ? "csp" : "blocked", event.message);
    };
    const { slots, permille } = this.#settings;
    const [, name, version] = navigator.userAgent.match(/(Firefox|Chrome|Version)\/(\d+)/) ?? [null, "browser", ""];
    const engine = `${name === "Version" ? "Safari" : name} ${version}`.trim();
    const start = { base: this.#base, coordinator: this.#card.fingerprint, runtime, pool: port2, engine, pace: { slots, permille } };
    worker.postMessage({ start: { ...start, wishes: this.#wishes(), senses: this.#senses() } }, [runtime, port2]);
    this.#remember({ ran: Date.now() });
    this.#ticking = setInterval(() => this.#tick(), 1000);
    this.#enter("connecting");
    this.#tell("start");
  }

  #hear({ said, progress, identity, blocked, ended }) {
    if (said) this.#told(said);
    if (progress) {
      const row = this.#tally.units.get(progress.unit);
      if (row?.state === "computing") this.#changed(Object.assign(row, { progress: progress.permille / 1000 }));
    }
    if (identity) this.#identity = identity;
    if (blocked) {
      this.#violation = blocked;
      this.#fail("csp");
    }
    if (ended) this.#failed(ended);
    this.#soon();
  }

  #told(said) {
    const { word, text, number } = said;
    const row = this.#tally.hear(said, performance.now());
    if (row) this.#changed(row);
    if (word === "joined") {
      this.#joined = true;
      this.#tally.at = performance.now();
      this.#losses = 0;
      this.#notices.delete("e_socket");
    }
    if (word === "lost") {
      this.#losses += 1;
      // Once is nothing; but who never came through may be kept from it.
      if (!this.#joined && this.#losses > 1) this.#notices.set("e_socket", { detail: text });
    }
    if (word === "clock_differs") {
      this.#notices.set("e_clock", { time: this.#tongue.time(Math.abs(number) / 1000) });
    }
    if (word === "refused" || word === "machine_failed") this.#notices.set(`e_${word}`, { detail: text });
    if (word === "resting") this.#restsUntil = Date.now() + number;
    if (word === "paused" || word === "resumed") {
      this.#pause = word === "paused" ? text : null;
      this.#tell("pause", { reason: this.#pause });
    }
    const isUp = this.#joined && this.#losses === 0;
    this.#enter(this.#pause ? "paused" : isUp ? "running" : "connecting");
  }

  #changed({ unit, job, state, progress = 0, others, fuel }) {
    this.#tell("unit", { job, unit, state, progress });
    if (state === "verified") this.#tell("verified", { job, unit, others, fuel });
  }

  #tell(name, detail = null) {
    // Errors stay here, as all errors of elements do: a page's own error reports are not meant.
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: name !== "error", composed: true }));
  }

  #fail(code, detail) {
    this.#end();
    this.#error = { code, detail: code === "csp" ? this.#violation : detail };
    this.#enter("failed");
    this.#tell("error", { code, message: this.#say(`e_${code}`) });
  }

  #halt(rest) {
    if (!this.#run) return;
    this.#end();
    this.#rest = rest;
    this.#enter("ready");
  }

  // Ends the slots at once, and the mind when it had time to give back what it has.
  #end() {
    const [worker, release] = [this.#worker, this.#release];
    worker?.postMessage({ stop: true });
    setTimeout(() => {
      worker?.terminate();
      release();
    }, worker ? STOP_TIME : 0);
    clearInterval(this.#ticking);
    this.#run?.abort();
    this.#run = this.#worker = this.#pool = null;
    this.#release = () => {};
    for (const row of this.#tally.computing()) {
      this.#changed(this.#tally.hear({ word: "given_back", unit: row.unit }, performance.now()));
    }
  }

  // The page is put aside: nobody may wait for what it has.
  #leave() {
    if (!this.#run) return;
    this.#remember({ ran: Date.now() });
    this.#again = true;
    const release = this.#release;
    this.#halt("remembered");
    // Who sleeps keeps nobody waiting.
    release();
  }

  #return() {
    if (!this.#again) return;
    this.#again = false;
    if (Date.now() - this.#settings.ran < CONSENT_TIME) this.#start();
  }

  // ── Wishes and senses ──

  #wishes() {
    const { onBattery, onMetered, whileHidden, from, to } = this.#settings;
    const minute = (time) => time.split(":").reduce((hours, minutes) => hours * 60 + +minutes, 0);
    const [first, last] = from && to ? [minute(from), minute(to)] : [0, 0];
    return { onBattery, onMetered, whileHidden, from: first, to: last };
  }

  #senses() {
    const { connection } = navigator;
    const now = new Date();
    this.#minute = now.getHours() * 60 + now.getMinutes();
    return {
      onBattery: this.#battery?.charging === false,
      onMetered: connection?.saveData === true || connection?.type === "cellular",
      isHidden: document.visibilityState === "hidden",
      minute: this.#minute,
    };
  }

  #sense() {
    this.#worker?.postMessage({ senses: this.#senses() });
  }

  #tick() {
    // Who ends the slots' process, be it for want of memory, or removes their frame, tells nobody.
    if (++this.#silence > SILENCE_MAX) return this.#fail("crashed", "the slots do not answer");
    this.#pool.postMessage({});
    const now = new Date();
    if (now.getHours() * 60 + now.getMinutes() !== this.#minute) this.#sense();
    this.#soon();
  }

  // ── What is seen ──

  #say(key, values) {
    const host = this.#base.replace(/^\w+:\/\//, "");
    return this.#tongue.say(key, { host, name: this.#card?.name, ...values });
  }

  #build() {
    const say = (key, values) => this.#say(key, values);
    const { shadowRoot } = this;
    const card = this.#card;
    const part = (name, made) => (this.#parts[name] = made);
    this.#parts = {};
    const bar = h("div", { className: "bar" },
      part("status", h("p", { role: "status", "aria-live": "polite" })),
      part("button", h("button", { type: "button", className: "main", onclick: (event) => this.#pressed(event) })));
    const alert = part("alert", h("div", { role: "alert" }));
    const lang = this.#tongue.language;
    if (!card) {
      shadowRoot.replaceChildren(h("slot"), h("section", { lang }, alert, bar));
      return;
    }
    const { contact, jobs } = card;
    const link = /^(https?|mailto):/.test(contact) ? h("a", { href: contact, rel: "noreferrer" }, say("contact")) : contact;
    const what = h("div", null, h("h3", null, say("what")), jobs.length
      ? h("ul", { className: "jobs" }, ...jobs.map(({ name, about }) => h("li", null, this.#hued(name), about ? ` ${about}` : "")))
      : h("p", null, say("no_jobs")));
    const cost = h("div", null, h("h3", null, say("cost")), part("cost", h("ul")));
    const more = [
      part("work", h("div", null,
        h("h3", null, say("units")), part("units", h("ul", { className: "units" })),
        h("dl", null, ...["executed", "verified", "fuel", "time"].map((name) => h("div", null, h("dt", null, say(`sum_${name}`)), part(name, h("dd"))))))),
      this.#when(),
      this.#stored(),
    ];
    const title = h("h2", { id: "title" }, say("title"));
    const ask = [what, this.#much()];
    const isCompact = this.hasAttribute("compact");
    const inside = isCompact
      ? [cost, bar, alert, h("details", null, h("summary", null, say("details")), ...ask, ...more)]
      : [...ask, cost, bar, alert, ...more];
    const insecure = isSecureContext ? [] : [h("p", { className: "quiet" }, say("insecure"))];
    const foot = h("p", { className: "quiet" }, say("connected", { n: card.workers }), " Manyhands ", card.version, ", ", h("code", null, card.fingerprint));
    shadowRoot.replaceChildren(h("section", { lang, "aria-labelledby": "title" }, title, h("p", null, card.about, " ", link), ...insecure, ...inside, foot));
    this.#price();
    this.#paint();
  }

  // A job's name in its own colour.
  #hued(job) {
    const made = h("b", null, job);
    made.style.setProperty("--n", this.#card.jobs.findIndex(({ name }) => name === job));
    return made;
  }

  #much() {
    const slider = (name, set, words) => {
      const input = h("input", { type: "range", ...set, value: this.#settings[name] });
      const text = h("span");
      const show = () => {
        text.textContent = words(+input.value);
        input.setAttribute("aria-valuetext", text.textContent);
      };
      input.oninput = () => {
        show();
        this.#remember({ [name]: +input.value });
        this.#price();
      };
      input.onchange = () => {
        const { slots, permille } = this.#settings;
        this.#worker?.postMessage({ pace: { slots, permille } });
      };
      show();
      return h("label", null, text, input);
    };
    const all = navigator.hardwareConcurrency || 2;
    return h("div", null, h("h3", null, this.#say("much")),
      slider("slots", { min: 1, max: all }, (n) => this.#say("cores", { n, all })),
      slider("permille", { min: 50, max: 1000, step: 50 }, (n) => this.#say("share", { n: this.#percent(n) })));
  }

  #percent(permille) {
    return this.#tongue.number(permille / 1000, { style: "percent" });
  }

  #price() {
    const { slots, permille } = this.#settings;
    const { jobs, runtime_bytes } = this.#card;
    const most = (name) => Math.max(0, ...jobs.map((job) => job[name]));
    const all = navigator.hardwareConcurrency || 2;
    const lines = [
      this.#say("cost_cores", { n: slots, all, share: this.#percent(permille) }),
      this.#say("cost_memory", { bytes: this.#tongue.bytes(slots * most("memory_bytes")) }),
      this.#say("cost_network", { bytes: this.#tongue.bytes(runtime_bytes), job: this.#tongue.bytes(most("module_bytes")) }),
      this.#say("cost_sees"),
      this.#say("cost_stop"),
    ];
    this.#parts.cost.replaceChildren(...lines.map((line) => h("li", null, line)));
  }

  #when() {
    const wish = (change) => {
      this.#remember(change);
      this.#worker?.postMessage({ wishes: this.#wishes() });
    };
    const box = (name, key, isSensed) => {
      const input = h("input", { type: "checkbox", checked: this.#settings[name], onchange: () => wish({ [name]: input.checked }) });
      return h("label", { className: "row" }, input, h("span", null, this.#say(key), isSensed ? "" : ` (${this.#say("unsensed")})`));
    };
    const time = (name) => {
      const input = h("input", { type: "time", value: this.#settings[name], onchange: () => wish({ [name]: input.value }) });
      return h("label", null, this.#say(name), " ", input);
    };
    return h("details", null, h("summary", null, this.#say("when")),
      box("onBattery", "on_battery", navigator.getBattery), box("onMetered", "on_metered", navigator.connection), box("whileHidden", "while_hidden", true),
      h("div", { className: "row" }, time("from"), time("to")), h("p", { className: "quiet" }, this.#say("anytime")));
  }

  // At once: who clicks is to see it.
  #enter(state) {
    const isNew = state !== this.#state;
    this.#state = state;
    if (isNew) this.#paint();
    else this.#soon();
  }

  #soon() {
    this.#painting ||= setTimeout(() => {
      this.#painting = 0;
      this.#paint();
    }, PAINT_TIME);
  }

  // How it is, in a sentence; the same as long as it is so, since it is read aloud.
  #sentence() {
    const state = this.#state;
    const time = (at) => new Intl.DateTimeFormat(this.#tongue.language, { timeStyle: "short" }).format(at);
    if (state === "ready") {
      const date = new Intl.DateTimeFormat(this.#tongue.language, { dateStyle: "long" }).format(this.#settings.ran);
      return this.#say(this.#rest, { date });
    }
    if (state === "paused") return this.#say(`paused_${this.#pause}`);
    if (state === "connecting" && this.#joined) return this.#say("lost");
    if (state !== "running") return this.#say(state);
    if (this.#restsUntil > Date.now()) return this.#say("resting", { time: time(this.#restsUntil) });
    const { took, at } = this.#tally;
    const quiet = IDLE_TIME + took * (1000 / this.#settings.permille - 1);
    const isIdle = this.#tally.computing().length === 0 && performance.now() - at > quiet;
    return this.#say(isIdle ? "idle" : "running");
  }

  #paint() {
    const { status, button, alert, work } = this.#parts;
    if (!status) return;
    write(status, this.#sentence());
    const isOn = this.#run !== null;
    const key = isOn ? "stop" : this.#state === "failed" ? "retry" : this.#rest === "remembered" ? "go_on" : "start";
    write(button, this.#say(key));
    button.hidden = this.#state === "loading";
    const { classList } = this.shadowRoot.querySelector("section");
    classList.toggle("running", isOn);
    classList.toggle("away", this.#away);
    this.#warn(alert);
    if (!work) return;
    const rows = this.#tally.shown();
    work.hidden = !isOn && rows.length === 0;
    this.#list(rows);
    this.#sum();
  }

  #warn(alert) {
    const all = [...this.#notices];
    if (this.#error) all.push([`e_${this.#error.code}`, this.#error]);
    const told = JSON.stringify(all);
    if (alert.told === told) return;
    alert.told = told;
    alert.replaceChildren(...all.map(([key, values]) => {
      const [what, ...cure] = this.#say(key, values).split(/(?<=\.) /);
      const { detail } = values;
      return h("div", null, h("p", null, h("strong", null, what), " ", cure.join(" ")),
        detail ? h("details", null, h("summary", null, this.#say("details")), h("code", null, detail)) : "");
    }));
  }

  // Rows stay where they are and change what they say.
  #list(rows) {
    const list = this.#parts.units;
    while (list.children.length > Math.max(rows.length, 1)) list.lastChild.remove();
    if (rows.length === 0) return void list.replaceChildren(h("li", null, this.#say("no_units")));
    rows.forEach(({ unit, job, state, progress, others }, at) => {
      let line = list.children[at];
      if (line?.dataset.job !== job) {
        const made = h("li", { "data-job": job }, this.#hued(job), h("span"), h("progress", { max: 1 }), h("em"));
        line ? line.replaceWith(made) : list.append(made);
        line = made;
      }
      const [, number, bar, words] = line.children;
      const n = +unit.split("/").pop();
      write(number, this.#say("unit", { n }));
      bar.ariaLabel = `${job}, ${number.textContent}`;
      // Not every job says how far it is.
      bar.hidden = state !== "computing" || !progress;
      bar.value = progress;
      line.dataset.state = state;
      write(words, this.#say(state === "verified" && !others ? "unit_alone" : `unit_${state}`, { n: others }));
    });
  }

  #sum() {
    const { executed, verified, fuel: steps, seconds, balance: fuel = steps } = this.#tally.stats;
    const tongue = this.#tongue;
    write(this.#parts.executed, tongue.number(executed));
    write(this.#parts.verified, tongue.number(verified));
    write(this.#parts.fuel, tongue.number(fuel, { notation: "compact", compactDisplay: "long", maximumFractionDigits: 1 }));
    this.#parts.fuel.title = tongue.number(fuel);
    write(this.#parts.time, tongue.time(seconds));
  }

  // ── What is stored ──

  #stored() {
    const inside = h("div");
    const made = h("details", { ontoggle: () => made.open && this.#look(inside) }, h("summary", null, this.#say("stored")), inside);
    return made;
  }

  // The database, if there is one: looking is not to make one.
  async #open() {
    const all = (await globalThis.indexedDB?.databases?.().catch(() => null)) ?? [];
    const name = `manyhands-${this.#card.fingerprint}`;
    return all.some((database) => database.name === name) ? Store.open(this.#card.fingerprint) : null;
  }

  async #modules() {
    const name = "manyhands-modules";
    if (!(await globalThis.caches?.has(name).catch(() => false))) return { cache: null, ours: [] };
    const cache = await caches.open(name);
    return { cache, ours: (await cache.keys()).filter(({ url }) => url.startsWith(`${this.#base}/`)) };
  }

  // `isAgain` after a button that is gone by then: whoever uses a keyboard is to find the next.
  async #look(inside, isAgain) {
    const say = (key, values) => this.#say(key, values);
    const store = await this.#open();
    const { cache, ours } = await this.#modules();
    const sizes = await Promise.all(ours.map(async (url) => (await (await cache.match(url)).blob()).size));
    const rows = [];
    const row = (key, ...what) => rows.push(h("li", null, `${say(key)}: `, ...what));
    const inMemory = this.#identity && !this.#identity.isKept;
    if (inMemory) row("key", say("key_memory"));
    if (store) {
      const key = await store.get("key", "worker");
      if (key) row("key", say(key instanceof Uint8Array ? "key_open" : "key_safe"));
      row("results", this.#tongue.number((await store.all("outbox")).length));
      const held = new Held(store);
      const list = await held.list();
      const bytes = list.reduce((sum, entry) => sum + entry.bytes, 0);
      row("held", say("held_of", { bytes: this.#tongue.bytes(bytes), all: this.#tongue.bytes(HELD_BYTES_MAX) }), h("ul", null, ...list.map(({ job, name, bytes }) =>
        h("li", null, h("b", null, job), ` ${name}, ${this.#tongue.bytes(bytes)} `, this.#button(say("remove", { name }), async () => {
          const store = await this.#open();
          await new Held(store).delete(job, name);
          store.close();
          this.#look(inside, true);
        })))));
      store.close();
    }
    if (ours.length) row("modules", `${this.#tongue.number(ours.length)}, ${this.#tongue.bytes(sizes.reduce((sum, size) => sum + size, 0))}`);
    if (this.#kept()) rows.push(h("li", null, say("settings")));
    if (rows.length === 0) return inside.replaceChildren(h("p", null, say("nothing")));
    const forget = this.#button(say("forget"), () => {
      const no = this.#button(say("forget_no"), () => this.#look(inside, true));
      inside.replaceChildren(h("p", null, say("forget_ask")), this.#button(say("forget_yes"), () => this.#forget()), " ", no);
      no.focus();
    });
    inside.replaceChildren(h("ul", null, ...rows), forget);
    if (isAgain) forget.focus();
  }

  #button(text, onclick) {
    return h("button", { type: "button", onclick }, text);
  }

  async #forget() {
    this.#halt("stopped");
    // What still runs for a moment would write anew.
    await wait(2 * STOP_TIME);
    const { cache, ours } = await this.#modules();
    await Promise.all(ours.map((url) => cache.delete(url)));
    try {
      localStorage.removeItem(`manyhands ${this.#base}`);
    } catch {
      // Then nothing is there.
    }
    this.#identity = null;
    this.#rest = await new Promise((done) => {
      const request = indexedDB.deleteDatabase(`manyhands-${this.#card.fingerprint}`);
      request.onsuccess = request.onerror = () => done("forgotten");
      request.onblocked = () => done("forget_later");
    }).catch(() => "forgotten");
    this.#recall();
    this.#build();
    this.#enter("ready");
    this.#parts.button.focus();
  }
}

if (globalThis.customElements && !customElements.get("manyhands-volunteer")) {
  customElements.define("manyhands-volunteer", ManyhandsVolunteer);
}
