// The client's side of the records of docs/sensitive-data.md, for pages of services that keep nothing about their users; comes after store.js
// and held.js. Pages import it. The element does not: it shows what is here, and deletes it. Nothing is ever evicted, since whoever left
// it counts on it; what has no room is refused.

const HELD_JOB_BYTES_MAX = 4 << 20;
const HELD_NAME_MAX = 200;

class Leaving extends Held {
  // One change after the other, so that two of them cannot take the same room.
  last = Promise.resolve();

  // Rejected with the reason when there is no room, or no such name.
  put(job, name, bytes) {
    const change = this.last.then(() => this.place(job, name, bytes));
    this.last = change.catch(() => {});
    return change;
  }

  async place(job, name, bytes) {
    if (!name || name.length > HELD_NAME_MAX) throw new Error(`a name has 1 to ${HELD_NAME_MAX} characters`);
    const others = (await this.list()).filter((entry) => entry.job !== job || entry.name !== name);
    const size = (entries) => entries.reduce((sum, entry) => sum + entry.bytes, HELD_ENTRY_BYTES + name.length + bytes.length);
    if (size(others.filter((entry) => entry.job === job)) > HELD_JOB_BYTES_MAX) throw new Error(`${job} may leave 4 MiB here`);
    if (size(others) > HELD_BYTES_MAX) throw new Error("all jobs together may leave 16 MiB here");
    // A copy: what is counted is what is kept.
    await this.store.put("held", `${job}/${name}`, bytes.slice());
  }

  get(job, name) {
    return this.store.get("held", `${job}/${name}`);
  }

  async clear() {
    for (const { job, name } of await this.list()) await this.delete(job, name);
  }
}

export class Records {
  #place;
  #held;

  constructor(place, store) {
    this.#place = place;
    this.#held = new Leaving(store);
  }

  // Those that jobs of this coordinator left here.
  static async open(coordinator = import.meta.url) {
    const { origin } = new URL(coordinator, globalThis.document?.baseURI);
    const card = await fetch(`${origin}/v1/card`, { credentials: "omit", referrerPolicy: "no-referrer" });
    if (!card.ok) throw new Error(`${origin} answers ${card.status}`);
    const { fingerprint } = await card.json();
    const store = await Store.open(fingerprint);
    // A record that is lost with the tab is worse than none: its client could never go on.
    if (!store.isKept) throw new Error("this browser keeps nothing for this page");
    return new Records(fingerprint, store);
  }

  // What a job says to `input`; the next record is kept before. `send` takes the body to the service and comes back with its Response. `name`
  // tells records apart where this browser has several of one job, as where several people use it: then it is the client's.
  ask(job, input, send, name = "record") {
    const exchange = (input) => this.#exchange(job, input, send, name);
    return this.#alone(job, name, async () => {
      try {
        return await exchange(input);
      } catch (error) {
        if (error.type !== "/problems/record-outdated") throw error;
        // An answer was lost: fetch it first.
        await exchange();
        return await exchange(input);
      }
    });
  }

  list() {
    return this.#held.list();
  }

  // Without its record a client can only begin anew, once the service has it deleted.
  delete(job, name = "record") {
    return this.#alone(job, name, () => this.#held.delete(job, name));
  }

  // Tabs share records, and only one can go on from each.
  #alone(job, name, work) {
    return navigator.locks.request(`manyhands-${this.#place}-${job}/${name}`, work);
  }

  async #exchange(job, input, send, name) {
    const kept = await this.#held.get(job, name);
    const answer = await send(JSON.stringify({ record: kept && new TextDecoder().decode(kept), input }));
    if (answer.status === 204) return undefined;
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw Object.assign(new Error(said.detail ?? `the service answers ${answer.status}`), { type: said.type });
    if (typeof said.record !== "string") throw new Error("the service answers without a record");
    await this.#held.put(job, name, new TextEncoder().encode(said.record));
    return said.output;
  }
}
