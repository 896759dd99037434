// What jobs leave with this browser, to find it again, such as the sealed records of docs/sensitive-data.md. No unit
// asks for it yet. Nothing is ever evicted, since whoever left it counts on it; what has no room is refused.

const HELD_BYTES_MAX = 16 << 20;
const HELD_JOB_BYTES_MAX = 4 << 20;
const HELD_NAME_MAX = 200;
// What an entry takes besides its name and bytes; else a job could leave empty ones without end.
const HELD_ENTRY_BYTES = 64;

class Held {
  // One change after the other, so that two of them cannot take the same room.
  last = Promise.resolve();

  constructor(store) {
    this.store = store;
  }

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

  // What is there, with the room that each takes.
  async list() {
    return (await this.store.all("held")).map(([key, value]) => {
      // Names of jobs have no slash.
      const at = key.indexOf("/");
      const name = key.slice(at + 1);
      return { job: key.slice(0, at), name, bytes: HELD_ENTRY_BYTES + name.length + value.length };
    });
  }

  delete(job, name) {
    return this.store.delete("held", `${job}/${name}`);
  }

  async clear() {
    for (const { job, name } of await this.list()) await this.delete(job, name);
  }
}
