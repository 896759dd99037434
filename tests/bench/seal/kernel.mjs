// Measures the variants of a kernel in an engine for JavaScript, as tests/bench/seal/engines.rs does in wasmtime: in Node, and in workers of browsers.

function execute(module, { rounds, fuel }, clock) {
  const input = new Uint8Array(new Uint32Array([rounds]).buffer);
  const output = [];
  let memory;
  const bytes = (from, length) => new Uint8Array(memory.buffer, from >>> 0, length >>> 0);
  const { exports } = new WebAssembly.Instance(module, {
    manyhands_v1: {
      input_len: () => input.length,
      input_read: (to, from, length) => bytes(to, length).set(input.subarray(from >>> 0, (from + length) >>> 0)),
      output_write: (from, length) => { output.push(...bytes(from, length)); },
      abort: (code, from, length) => {
        throw new Error(`aborted with code ${code}: ${new TextDecoder().decode(bytes(from, length))}`);
      },
      seed_read: () => {},
      log: () => {},
      progress: () => {},
    },
  });
  memory = exports.memory;
  const { manyhands_meter: meter, manyhands_cause: cause } = exports;
  const granted = BigInt(fuel);
  if (meter) meter.value += granted << 16n;
  const began = clock();
  exports.manyhands_run();
  const ns = clock() - began;
  if (cause?.value || meter?.value < 0n) throw new Error("the kernel was stopped");
  const sum = new DataView(Uint8Array.from(output).buffer).getBigUint64(0, true);
  const used = meter ? granted - (meter.value >> 16n) : null;
  return { ns, output: sum.toString(), fuel: used?.toString() ?? null };
}

// Until the optimising compiler has done what it will do: no variant's best time of a dozen turns is a 50th
// better than its best before, twice in a row.
function warmUp(modules, kernel, { clock, collect }) {
  let best = modules.map(() => Infinity);
  for (let calm = 0, turns = 0; calm < 2 && turns < 20; turns += 1) {
    const now = modules.map(() => Infinity);
    for (let turn = 0; turn < 12; turn += 1) {
      modules.forEach((module, at) => { now[at] = Math.min(now[at], execute(module, kernel, clock).ns); });
    }
    calm = now.every((ns, at) => ns > best[at] * 0.98) ? calm + 1 : 0;
    best = best.map((ns, at) => Math.min(ns, now[at]));
    collect();
  }
}

// Of a kernel { name, rounds, fuel, repetitions } whose modules are named by variant. The host's clock is in nanoseconds.
export function measure(kernel, byVariant, host) {
  const variants = Object.keys(byVariant);
  const modules = Object.values(byVariant);
  warmUp(modules, kernel, host);
  const first = modules.map((module) => execute(module, kernel, host.clock));
  first.forEach(({ output }, at) => {
    if (output !== first[0].output) throw new Error(`${kernel.name}: ${variants[at]} answers otherwise`);
  });
  const times = Object.fromEntries(variants.map((variant) => [variant, []]));
  for (let repetition = 0; repetition < kernel.repetitions; repetition += 1) {
    for (let at = 0; at < variants.length; at += 1) {
      const turn = (at + repetition) % variants.length;
      times[variants[turn]].push(execute(modules[turn], kernel, host.clock).ns);
    }
    // Between repetitions, so that the memories of old instances are not collected within one.
    host.collect();
  }
  return { times, output: first[0].output, fuel: first[variants.indexOf("sealed")].fuel };
}
