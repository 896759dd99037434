// How jobs leave data with this browser, to find it again; comes after held.js. No unit asks for it yet, so no browser fetches it: that
// comes with the coordinator's secrets. Nothing is ever evicted, since whoever left it counts on it; what has no room is refused.

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
