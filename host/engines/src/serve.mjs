// Serves requests with `execute`, in one file for Node, where they come in on stdin, and for a browser's worker,
// which fetches them. Frames are described in manyhands_javascript::frame.

const LOAD = 1;
const TRACE_LEVEL = 5, TRACE_MAX = 1 << 19;

let module = null;

function handle(request) {
  return request[0] === LOAD ? load(request.subarray(1)) : execute(module, request, () => {}, traces);
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

// Only modules that weave.rs wrote import it.
function traces(logs) {
  let told = 0;
  const trace = (number) => {
    if (told < TRACE_MAX) logs.line(TRACE_LEVEL, new TextEncoder().encode(BigInt.asUintN(64, number).toString(16)));
    told += 1;
  };
  return { trace };
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
