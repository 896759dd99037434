// The mind's shell: carries out what the mind asks for, in a Web Worker of its own, and decides nothing. The mind is
// `wasm_bindgen.Mind` of src/lib.rs, whose glue comes ahead of this in the same file and calls `shell`; so does `Store` of store.js.
//
// The page sends   { start: {...} }, with a port to the pool of slots (pool.js), { pace }, { wishes }, { senses }, { stop }
// and is told      { said: { word, unit, text, number } }, { progress: { unit, permille } }, { identity }, { blocked }, { ended: { problem, message } }

// The file with Ed25519 for browsers that have none, and its digest; filled in when the files are made.
const CURVE = null;

// Time for a module to be fetched, in milliseconds.
const FETCH_TIME = 300_000;
// Bytes that may wait for a slow network.
const OUTGOING_BYTES_MAX = 64 << 20;
const MODULES_CACHE = "manyhands-modules";

class Shell {
  mind = null;
  socket = null;
  timer = 0;
  // What is being executed: lease to unit.
  units = new Map();

  constructor(base, pool, store, keys) {
    Object.assign(this, { base, pool, store, keys });
    pool.onmessage = ({ data: { compiled, progress, executed, failed } }) => {
      if (compiled) this.compiled(compiled);
      if (progress) this.progress(progress);
      if (executed) this.executed(executed);
      if (failed) this.failed(failed);
    };
  }

  // ── The connection ──

  connect(subprotocol) {
    this.disconnect();
    const url = new URL("/v1/worker", this.base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    let socket;
    try {
      socket = new WebSocket(url, subprotocol);
    } catch (error) {
      // Some browsers throw what a policy forbids; the mind is in the middle of something.
      queueMicrotask(() => this.hangUp(`${error}`));
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const current = (act) => (event) => socket === this.socket && act(event);
    socket.onopen = current(() => this.mind.connected());
    socket.onmessage = current(({ data }) => {
      const reason = this.mind.frame(new Uint8Array(data));
      if (reason) this.hangUp(reason);
    });
    socket.onclose = current(({ code, reason }) => this.hangUp(reason || `closed, code ${code}`));
  }

  hangUp(reason) {
    this.disconnect();
    this.mind.disconnected(reason);
  }

  disconnect() {
    const { socket } = this;
    this.socket = null;
    socket?.close();
  }

  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (this.socket.bufferedAmount > OUTGOING_BYTES_MAX) {
      queueMicrotask(() => this.hangUp("the network is too slow"));
    } else {
      this.socket.send(frame);
    }
  }

  // ── Modules ──

  fetch(module, bytes) {
    this.verified(module, bytes).then(
      (verified) => this.pool.postMessage({ compile: { module, bytes: verified } }, [verified.buffer]),
      (error) => this.compiled({ module, error: error?.message ?? error }),
    );
  }

  compiled({ module, error }) {
    if (error === undefined) this.mind.module_ready(module);
    else this.mind.module_failed(module, `the module cannot be had: ${error}`);
  }

  async verified(module, bytes) {
    const url = new URL(`/v1/modules/${module}`, this.base);
    const cache = await self.caches?.open(MODULES_CACHE).catch(() => null);
    const cached = await cache?.match(url);
    if (cached) {
      const kept = new Uint8Array(await cached.arrayBuffer());
      if (!wasm_bindgen.refusal(module, kept)) return kept;
      // Whatever it is, it is not what was put there.
      await cache.delete(url);
    }
    const fetched = await this.download(url, bytes);
    const refusal = wasm_bindgen.refusal(module, fetched);
    if (refusal) throw new Error(refusal);
    // Who has no room for it fetches it again.
    await cache?.put(url, new Response(fetched, { headers: { "content-type": "application/wasm" } })).catch(() => {});
    return fetched;
  }

  async download(url, bytes) {
    const response = await get(url);
    const all = new Uint8Array(bytes);
    let at = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > bytes) {
        await reader.cancel();
        throw new Error("it is longer than its release says");
      }
      all.set(value, at);
      at += value.length;
    }
    return all.subarray(0, at);
  }

  forget_module(module) {
    this.pool.postMessage({ forget: module });
  }

  // ── Guests ──

  execute(lease, unit, module, request) {
    this.units.set(lease, unit);
    this.pool.postMessage({ execute: { lease, module, request: request.buffer } }, [request.buffer]);
  }

  abort(lease) {
    this.units.delete(lease);
    this.pool.postMessage({ abort: lease });
  }

  progress({ lease, permille }) {
    const unit = this.units.get(lease);
    // It may have been on its way when its unit was aborted.
    if (unit === undefined) return;
    this.mind.progress(lease, permille);
    postMessage({ progress: { unit, permille } });
  }

  executed({ lease, reply }) {
    this.units.delete(lease);
    this.mind.executed(lease, new Uint8Array(reply));
  }

  failed({ lease, error }) {
    this.units.delete(lease);
    this.mind.failed(lease, error);
  }

  // ── What is kept ──

  sign(number, message) {
    this.keys.sign(message).then(
      (signature) => this.mind.signed(number, new Uint8Array(signature)),
      (error) => this.mind.not_signed(String(error)),
    );
  }

  check(number, signer, signature, message) {
    this.keys.verify(signer, signature, message).then(
      (fits) => this.mind.checked(number, fits),
      (error) => this.mind.not_signed(String(error)),
    );
  }

  save(parcel, bytes) {
    this.store.put("outbox", parcel, bytes).then(
      () => this.mind.saved(parcel, true),
      () => this.mind.saved(parcel, false),
    );
  }

  // Whoever cannot forget sends it again, which counts once.
  forget(parcel) {
    this.store.delete("outbox", parcel).catch(() => {});
  }

  remember_trust(version) {
    this.store.put("trust", "version", version).catch(() => {});
  }

  // ── The page ──

  say(word, unit, text, number) {
    postMessage({ said: { word, unit, text, number } });
  }

  // Without a word it is what somebody asked for. A key that cannot be used may have many causes.
  end(word, message) {
    end(word && { problem: word === "no_key" ? undefined : word, message });
  }

  wake(after) {
    clearTimeout(this.timer);
    // Timers count in 31 bits.
    if (after < Infinity) this.timer = setTimeout(() => this.mind.time_passed(), Math.min(after, 2 ** 31 - 1));
  }
}

// ── Keys and signatures ──

// The browser's own Ed25519, and a key that no script can read.
class Keys {
  isOpen = false;

  // Null where the browser has none, or where an open key was kept before it had.
  static async of(kept) {
    const { subtle } = crypto;
    if (!subtle || kept instanceof Uint8Array) return null;
    const keys = new Keys();
    try {
      keys.kept = kept ?? (await subtle.generateKey("Ed25519", false, ["sign", "verify"]));
      keys.public = new Uint8Array(await subtle.exportKey("raw", keys.kept.publicKey));
    } catch {
      return null;
    }
    return keys;
  }

  sign(message) {
    return crypto.subtle.sign("Ed25519", this.kept.privateKey, message);
  }

  async verify(signer, signature, message) {
    // Some browsers say here already that it is no point of the curve.
    const key = await crypto.subtle.importKey("raw", signer, "Ed25519", false, ["verify"]).catch(() => null);
    return key !== null && crypto.subtle.verify("Ed25519", key, signature, message);
  }
}

// The same by curve.js, which is fetched for it, with a key of 32 secret bytes.
class OpenKeys {
  isOpen = true;

  static async of(kept, base) {
    const response = await get(base + CURVE.path, { integrity: CURVE.integrity });
    const keys = new OpenKeys();
    keys.worker = new Worker(URL.createObjectURL(await response.blob()), { name: "manyhands curve" });
    keys.worker.onerror = ({ message }) => end({ message });
    keys.kept = kept instanceof Uint8Array ? kept : crypto.getRandomValues(new Uint8Array(32));
    keys.public = await keys.ask("public_key", keys.kept);
    return keys;
  }

  ask(...question) {
    return new Promise((answer) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = ({ data }) => answer(data);
      this.worker.postMessage(question, [port2]);
    });
  }

  sign(message) {
    return this.ask("sign", this.kept, message);
  }

  verify(signer, signature, message) {
    return this.ask("verify", signer, signature, message);
  }
}

// ── From its start to its end ──

async function get(url, options) {
  const plain = { credentials: "omit", redirect: "error", referrerPolicy: "no-referrer", signal: AbortSignal.timeout(FETCH_TIME) };
  const response = await fetch(url, { ...plain, ...options });
  if (!response.ok) throw new Error(`the coordinator answers ${response.status}`);
  return response;
}

let mind = null;
// What the mind calls.
let shell = null;

async function start({ base, coordinator, runtime, pool, engine, pace, wishes, senses }) {
  wasm_bindgen(runtime);
  const store = await Store.open(coordinator);
  const kept = await store.get("key", "worker").catch(() => undefined);
  const keys = (await Keys.of(kept)) ?? (await OpenKeys.of(kept, base));
  // Private windows of some browsers keep no keys; it is good for as long as the page is there.
  if (keys.kept !== kept) await store.put("key", "worker", keys.kept).catch(() => {});
  shell = new Shell(base, pool, store, keys);
  const random = crypto.getRandomValues(new Uint8Array(32));
  const trust = (await store.get("trust", "version")) ?? 0;
  mind = wasm_bindgen.Mind.of(coordinator, keys.public, engine, random, trust, pace.slots, pace.permille);
  if (!mind) throw new Error("the mind cannot be made of this");
  shell.mind = mind;
  pool.postMessage({ slots: pace.slots });
  onmessage = ({ data }) => {
    if (data.pace) {
      pool.postMessage({ slots: data.pace.slots });
      mind.pace(data.pace.slots, data.pace.permille);
    }
    if (data.wishes) wish(data.wishes);
    if (data.senses) sense(data.senses);
    if (data.stop) mind.stop();
  };
  for (const [parcel, kept] of await store.all("outbox")) {
    if (!mind.left_over(parcel, kept)) shell.forget(parcel);
  }
  wish(wishes);
  sense(senses);
  mind.start();
  const isKept = store.isKept && (await store.get("key", "worker")) !== undefined;
  postMessage({ identity: { isKept, isExtractable: keys.isOpen } });
}

// The page is told why, if there is a reason.
function end(reason) {
  if (reason) postMessage({ ended: reason });
  close();
}

function wish({ onBattery, onMetered, whileHidden, from, to }) {
  mind.wish(onBattery, onMetered, whileHidden, from, to);
}

function sense({ onBattery, onMetered, isHidden, minute }) {
  mind.sense(onBattery, onMetered, isHidden, minute);
}

// This worker has the page's policy, and is the only one to be told what that keeps it from.
addEventListener("securitypolicyviolation", ({ effectiveDirective }) => postMessage({ blocked: effectiveDirective }));

onmessage = ({ data }) => {
  if (data.start) start(data.start).catch((error) => end({ problem: error instanceof WebAssembly.CompileError ? "wasm" : undefined, message: `${error?.message ?? error}` }));
};
