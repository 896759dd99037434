// Executes kernels in Node. The plan comes in on stdin: a list of { kernel, modules: { variant: path } }, see kernel.mjs; times go out on stdout.
import { readFileSync } from "node:fs";
import { measure } from "./kernel.mjs";

// Processor time of this process in nanoseconds. After the warm-up only this thread works.
function clock() {
  const { user, system } = process.cpuUsage();
  return (user + system) * 1000;
}

const measured = JSON.parse(readFileSync(0, "utf8")).map(({ kernel, modules: paths }) => {
  const module = ([variant, path]) => [variant, new WebAssembly.Module(readFileSync(path))];
  const modules = Object.fromEntries(Object.entries(paths).map(module));
  return measure(kernel, modules, { clock, collect: globalThis.gc });
});
process.stdout.write(JSON.stringify(measured));
