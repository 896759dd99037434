// The pool of slots: compiles modules and has slots execute units of them. It runs in a frame of its own, or, where there
// can be none, in a Web Worker of the page's, and has neither key nor connection. What it compiles, the mind has verified.
//
// The page opens it with a port, where it answers whatever comes, so that the page knows that it lives. From there it has
// { slot }, the slots' script, with another port. By that one the mind sends
//   { slots }, { compile: { module, bytes } }, { forget: module }, { execute: { lease, module, request } }, { abort: lease }
// and is told
//   { compiled: { module, error } }, { progress: { lease, permille } }, { executed: { lease, reply } }, { failed: { lease, error } }

class Pool {
  modules = new Map();
  // Slots that do nothing, and what the others do.
  idle = [];
  busy = new Map();
  slots = 1;

  constructor(script, mind) {
    this.script = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
    this.mind = mind;
    mind.onmessage = ({ data: { slots, compile, forget, execute, abort } }) => {
      if (slots) this.slots = slots;
      if (compile) this.compile(compile);
      if (forget) this.modules.delete(forget);
      if (execute) this.execute(execute);
      if (abort) this.abort(abort);
    };
  }

  compile({ module, bytes }) {
    WebAssembly.compile(bytes).then(
      (compiled) => {
        this.modules.set(module, compiled);
        this.mind.postMessage({ compiled: { module } });
      },
      (error) => this.mind.postMessage({ compiled: { module, error: error.message } }),
    );
  }

  execute({ lease, module, request }) {
    const slot = this.idle.pop() ?? new Worker(this.script, { name: "manyhands slot" });
    this.busy.set(lease, slot);
    slot.onmessage = ({ data }) => {
      if (typeof data === "number") {
        this.mind.postMessage({ progress: { lease, permille: data } });
      } else {
        this.free(lease, slot);
        this.mind.postMessage({ executed: { lease, reply: data } }, [data]);
      }
    };
    slot.onerror = (event) => {
      event.preventDefault();
      this.abort(lease);
      this.mind.postMessage({ failed: { lease, error: event.message || "the slot cannot be started" } });
    };
    slot.postMessage({ module: this.modules.get(module), request }, [request]);
  }

  free(lease, slot) {
    this.busy.delete(lease);
    slot.onmessage = slot.onerror = null;
    if (this.idle.length + this.busy.size < this.slots) this.idle.push(slot);
    else slot.terminate();
  }

  abort(lease) {
    this.busy.get(lease)?.terminate();
    this.busy.delete(lease);
  }
}

onmessage = ({ ports: [page] }) => {
  page.onmessage = ({ data, ports: [mind] }) => {
    if (mind) new Pool(data.slot, mind);
    page.postMessage(null);
  };
  page.postMessage(null);
};
