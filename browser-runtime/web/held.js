// What jobs left with this browser, such as the sealed records of docs/sensitive-data.md, as a visitor sees and deletes it; records.js is
// how it comes here.

const HELD_BYTES_MAX = 16 << 20;
// What an entry takes besides its name and bytes; else a job could leave empty ones without end.
const HELD_ENTRY_BYTES = 64;

class Held {
  constructor(store) {
    this.store = store;
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
}
