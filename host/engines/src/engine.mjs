// Executes sealed modules. One file for Node, where requests come in on stdin, and for a browser's worker,
// which fetches them. It reports how a call stopped and what the module itself wrote; what that means is
// decided elsewhere. Frames are described in frame.rs.

const LOAD = 1;
const RETURNED = 0, TRAPPED = 1, ABORTED = 2, OUTPUT_TOO_LONG = 3, ENGINE = 4;
const MESSAGE_BYTES_MAX = 4096;
const LOG_BYTES_MAX = 65536;
const TRACE_LEVEL = 5, TRACE_MAX = 1 << 19;

// How host functions leave the module. No engine throws these.
class Aborted {
  constructor(code, message) {
    this.code = code;
    this.message = message;
  }
}
class OutputTooLong {}
class OutOfBounds {}

let module = null;

function handle(request) {
  return request[0] === LOAD ? load(request.subarray(1)) : execute(request);
}

// An empty reply is a module that can be executed, any other says why it cannot.
function load(bytes) {
  module = null;
  try {
    module = new WebAssembly.Module(bytes);
    return new Uint8Array(0);
  } catch (error) {
    return new TextEncoder().encode(`${error}`);
  }
}

function execute(request) {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const entry = request[1] === 0 ? "manyhands_run" : "manyhands_reduce";
  const fuel = view.getBigInt64(2, true);
  const outputBytesMax = Number(view.getBigUint64(10, true));
  const seed = request.subarray(18, 50);
  const input = request.subarray(50);

  const output = new Bytes();
  const logs = new Bytes();
  let memory = null;
  let told = 0;
  // The buffer is another one after each growth.
  const guest = (from, bytes) => within(new Uint8Array(memory.buffer), from, bytes);
  const manyhands_v1 = {
    input_len: () => input.length,
    input_read: (to, offset, bytes) => guest(to, bytes).set(within(input, offset, bytes)),
    seed_read: (to) => guest(to, seed.length).set(seed),
    output_write: (from, bytes) => {
      const written = guest(from, bytes);
      if (output.length + written.length > outputBytesMax) throw new OutputTooLong();
      output.push(written);
    },
    log: (level, from, bytes) => {
      const text = guest(from, bytes);
      const room = LOG_BYTES_MAX - logs.length;
      if (room > 0) logs.line(Math.min(level >>> 0, 4), text.subarray(0, room));
    },
    progress: () => {},
    // Only modules that weave.rs wrote import it.
    trace: (number) => {
      if (told < TRACE_MAX) logs.line(TRACE_LEVEL, ascii(BigInt.asUintN(64, number).toString(16)));
      told += 1;
    },
    abort: (code, from, bytes) => {
      const message = guest(from, bytes);
      throw new Aborted(code, message.slice(0, MESSAGE_BYTES_MAX));
    },
  };

  const ending = { stop: RETURNED, meter: 0n, cause: 0, code: 0, message: new Uint8Array(0) };
  try {
    const { exports } = new WebAssembly.Instance(module, { manyhands_v1 });
    memory = exports.memory;
    const meter = exports.manyhands_meter;
    meter.value = BigInt.asIntN(64, meter.value + (fuel << 16n));
    try {
      exports[entry]();
    } catch (error) {
      stopped(ending, error);
    }
    ending.meter = meter.value;
    ending.cause = exports.manyhands_cause.value;
  } catch (error) {
    // It did not even begin.
    stopped(ending, error);
    ending.stop = ENGINE;
  }
  return reply(ending, logs.join(), output.join());
}

function stopped(ending, error) {
  if (error instanceof Aborted) {
    ending.stop = ABORTED;
    ending.code = error.code;
    ending.message = error.message;
  } else if (error instanceof OutputTooLong) {
    ending.stop = OUTPUT_TOO_LONG;
  } else if (error instanceof OutOfBounds || error instanceof WebAssembly.RuntimeError) {
    ending.stop = TRAPPED;
  } else {
    // Its stack, its memory: RangeError and InternalError. The text is for people only.
    ending.stop = ENGINE;
    ending.message = new TextEncoder().encode(`${error}`);
  }
}

function ascii(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

// The view of `bytes` bytes from `from` on. Both are unsigned, and their sum is exact in a double.
function within(all, from, bytes) {
  from >>>= 0;
  bytes >>>= 0;
  if (from + bytes > all.length) throw new OutOfBounds();
  return all.subarray(from, from + bytes);
}

// Bytes that arrive in pieces. Pieces are copied, since the module goes on to write.
class Bytes {
  pieces = [];
  length = 0;

  push(piece) {
    this.pieces.push(piece.slice());
    this.length += piece.length;
  }

  line(level, text) {
    const head = new DataView(new ArrayBuffer(5));
    head.setUint8(0, level);
    head.setUint32(1, text.length, true);
    this.push(new Uint8Array(head.buffer));
    this.push(text);
  }

  join() {
    const all = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      all.set(piece, at);
      at += piece.length;
    }
    return all;
  }
}

function reply({ stop, meter, cause, code, message }, logs, output) {
  const all = new Uint8Array(25 + message.length + logs.length + output.length);
  const view = new DataView(all.buffer);
  view.setUint8(0, stop);
  view.setBigInt64(1, meter, true);
  view.setInt32(9, cause, true);
  view.setInt32(13, code, true);
  view.setUint32(17, message.length, true);
  view.setUint32(21, logs.length, true);
  all.set(message, 25);
  all.set(logs, 25 + message.length);
  all.set(output, 25 + message.length + logs.length);
  return all;
}

// Over pipes each frame follows its length, a little-endian u32. Reading blocks: there is nothing else to do.
async function servePipes() {
  const { readSync, writeSync } = await import("node:fs");
  const read = (bytes) => {
    const all = new Uint8Array(bytes);
    for (let at = 0; at < bytes; ) {
      const more = readSync(0, all, at, bytes - at, null);
      if (more === 0) return null;
      at += more;
    }
    return all;
  };
  const write = (all) => {
    for (let at = 0; at < all.length; ) at += writeSync(1, all, at);
  };
  for (;;) {
    const head = read(4);
    const request = head && read(new DataView(head.buffer).getUint32(0, true));
    if (!request) return;
    const answer = handle(request);
    const frame = new Uint8Array(4 + answer.length);
    new DataView(frame.buffer).setUint32(0, answer.length, true);
    frame.set(answer, 4);
    write(frame);
  }
}

// In a browser each reply fetches the next request. The first reply answers nothing and is dropped.
async function serveFetches() {
  for (let answer = new Uint8Array(0); ; ) {
    const response = await fetch("turn", { method: "POST", body: answer });
    if (response.status !== 200) return;
    answer = handle(new Uint8Array(await response.arrayBuffer()));
  }
}

await (globalThis.process?.versions?.node ? servePipes() : serveFetches());
