// A slot: executes one unit after the other, each in a fresh instance, and nothing else. Guests never run where a key
// or a connection is. `execute` comes from manyhands_javascript, ahead of this in the same file.

// Guests may say how far they are a million times; people look ten times a second, in milliseconds.
const PROGRESS_TIME = 100;

// Nothing in here needs the network, and no guest can reach it; should an engine let one out, there is none to find.
for (const name of ["fetch", "WebSocket", "XMLHttpRequest", "EventSource", "importScripts", "indexedDB", "caches", "Worker"]) {
  try {
    Object.defineProperty(self, name, { value: undefined, configurable: false, writable: false });
  } catch {
    // What cannot be taken away here is taken away by the frame's policy.
  }
}

onmessage = ({ data: { module, request } }) => {
  let told = performance.now();
  const progress = (permille) => {
    const now = performance.now();
    if (now < told + PROGRESS_TIME) return;
    told = now;
    postMessage(permille);
  };
  const reply = execute(module, new Uint8Array(request), progress);
  postMessage(reply.buffer, [reply.buffer]);
};
