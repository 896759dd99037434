// What a browser keeps of this worker: its key, the newest trust list that it saw, results that nobody acknowledged,
// and data that jobs leave with it. One database for each coordinator; without a place for it everything is kept in
// memory and gone with the tab.

const STORES = ["key", "trust", "outbox", "held"];

const settled = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

class Store {
  constructor(database) {
    this.database = database;
    this.memory = new Map(STORES.map((name) => [name, new Map()]));
  }

  static async open(coordinator) {
    // Only secure pages have a key store; another page would get another identity anyway.
    if (!isSecureContext || !self.indexedDB) return new Store(null);
    try {
      const request = indexedDB.open(`manyhands-${coordinator}`, 1);
      request.onupgradeneeded = () => STORES.forEach((name) => request.result.createObjectStore(name));
      return new Store(await settled(request));
    } catch {
      return new Store(null);
    }
  }

  get isKept() {
    return this.database !== null;
  }

  async get(name, key) {
    if (!this.database) return this.memory.get(name).get(key);
    return settled(this.database.transaction(name).objectStore(name).get(key));
  }

  async all(name) {
    if (!this.database) return [...this.memory.get(name)];
    const store = this.database.transaction(name).objectStore(name);
    const [keys, values] = await Promise.all([settled(store.getAllKeys()), settled(store.getAll())]);
    return keys.map((key, at) => [key, values[at]]);
  }

  put(name, key, value) {
    return this.change(name, (store) => store.put(value, key), (map) => map.set(key, value));
  }

  delete(name, key) {
    return this.change(name, (store) => store.delete(key), (map) => map.delete(key));
  }

  close() {
    this.database?.close();
  }

  async change(name, onDisk, inMemory) {
    if (!this.database) return void inMemory(this.memory.get(name));
    // Resolved when it is on the disk, and not only in the browser's mind.
    const transaction = this.database.transaction(name, "readwrite", { durability: "strict" });
    onDisk(transaction.objectStore(name));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = transaction.onerror = () => reject(transaction.error);
    });
  }
}
