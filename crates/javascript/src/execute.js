// Executes units of sealed modules, each in a fresh instance. It reports how a call stopped and what the module
// itself wrote; what that means is decided elsewhere. Requests and replies are described in frame.rs.

const RETURNED = 0, TRAPPED = 1, ABORTED = 2, OUTPUT_TOO_LONG = 3, ENGINE = 4;
const CALLED = 5, CALLS_TOO_LONG = 6, TOO_MANY_CALLS = 7;
const MESSAGE_BYTES_MAX = 4096;
const LOG_BYTES_MAX = 65536;
const CALLS_BYTES_MAX = 262144;
const CALLS_MAX = 1000;

// How host functions leave the module. No engine throws these.
class Aborted {
  constructor(code, message) {
    this.code = code;
    this.message = message;
  }
}
class Left {
  constructor(stop) {
    this.stop = stop;
  }
}
class OutOfBounds {}

// `progress` hears of each hint that the guest gives, 0 to 1000; `more` are imports beyond those of docs/abi.md.
function execute(module, request, progress, more = () => ({})) {
  const view = new DataView(request.buffer, request.byteOffset, request.byteLength);
  const entry = request[1] === 0 ? "manyhands_run" : "manyhands_reduce";
  const step = view.getUint32(2, true);
  const fuel = view.getBigInt64(6, true);
  const outputBytesMax = Number(view.getBigUint64(14, true));
  const seed = request.subarray(22, 54);
  const [input, ...answers] = step === 0 ? [request.subarray(54)] : parts(request.subarray(54));
  if (answers.length !== step) throw new Error("there are more or fewer answers than the lease says");
  let answer = new Uint8Array(0);
  let asked = 0;

  let output = new Bytes();
  const logs = new Bytes();
  let memory = null;
  // The buffer is another one after each growth.
  const guest = (from, bytes) => within(new Uint8Array(memory.buffer), from, bytes);
  const manyhands_v1 = {
    input_len: () => input.length,
    input_read: (to, offset, bytes) => guest(to, bytes).set(within(input, offset, bytes)),
    seed_read: (to) => guest(to, seed.length).set(seed),
    output_write: (from, bytes) => {
      const written = guest(from, bytes);
      if (output.length + written.length > outputBytesMax) throw new Left(OUTPUT_TOO_LONG);
      output.push(written);
    },
    call_all: (from, bytes) => {
      const asks = guest(from, bytes);
      if (asks.length > CALLS_BYTES_MAX) throw new Left(CALLS_TOO_LONG);
      asked += 1;
      if (asked > CALLS_MAX) throw new Left(TOO_MANY_CALLS);
      if (asked > answers.length) {
        output = new Bytes();
        output.push(asks);
        throw new Left(CALLED);
      }
      answer = answers[asked - 1];
      return answer.length;
    },
    answer_read: (to, offset, bytes) => guest(to, bytes).set(within(answer, offset, bytes)),
    log: (level, from, bytes) => {
      const text = guest(from, bytes);
      const room = LOG_BYTES_MAX - logs.length;
      if (room > 0) logs.line(Math.min(level >>> 0, 4), text.subarray(0, room));
    },
    progress: (permille) => progress(Math.min(permille >>> 0, 1000)),
    abort: (code, from, bytes) => {
      const message = guest(from, bytes);
      throw new Aborted(code, message.slice(0, MESSAGE_BYTES_MAX));
    },
    ...more(logs),
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
  } else if (error instanceof Left) {
    ending.stop = error.stop;
  } else if (error instanceof OutOfBounds || error instanceof WebAssembly.RuntimeError) {
    ending.stop = TRAPPED;
  } else {
    // Its stack, its memory: RangeError and InternalError. The text is for people only.
    ending.stop = ENGINE;
    ending.message = new TextEncoder().encode(`${error}`);
  }
}

// The view of `bytes` bytes from `from` on. Both are unsigned, and their sum is exact in a double.
function within(all, from, bytes) {
  from >>>= 0;
  bytes >>>= 0;
  if (from + bytes > all.length) throw new OutOfBounds();
  return all.subarray(from, from + bytes);
}

// The parts of a frame: a count, then each part after its length.
function parts(frame) {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  const all = [];
  let at = 4;
  for (let left = view.getUint32(0, true); left > 0; left -= 1) {
    const bytes = view.getUint32(at, true);
    all.push(within(frame, at + 4, bytes));
    at += 4 + bytes;
  }
  return all;
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
