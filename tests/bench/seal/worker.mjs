// Executes kernels in a browser. Each message is { kernel, modules: { variant: path } }, see kernel.mjs; what was measured is the answer.
import { measure } from "/kernel.mjs";

// The page is isolated, so its clock ticks every few microseconds.
const host = { clock: () => performance.now() * 1e6, collect: () => {} };

onmessage = async ({ data: { kernel, modules: paths } }) => {
  try {
    const load = async ([variant, path]) => [variant, await WebAssembly.compileStreaming(fetch(path))];
    const modules = Object.fromEntries(await Promise.all(Object.entries(paths).map(load)));
    postMessage({ measured: measure(kernel, modules, host) });
  } catch (error) {
    postMessage({ error: String(error) });
  }
};
