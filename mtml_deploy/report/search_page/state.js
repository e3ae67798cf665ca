// What is looked at, kept behind the # of the address: it can be sent to somebody and gone back to.
const EMPTY = { query: 0, row: [], image: "", box: "", camera: [], since: "", until: "", orientation: [], k: 50, cut: "", rerank: false, group: false };

function readState() {
  const words = new URLSearchParams(location.hash.slice(1));
  const state = structuredClone(EMPTY);
  for (const [key, plain] of Object.entries(EMPTY)) {
    if (!words.has(key)) continue;
    if (Array.isArray(plain)) state[key] = words.getAll(key);
    else if (typeof plain === "boolean") state[key] = words.get(key) === "1";
    else if (typeof plain === "number") state[key] = Math.max(0, Math.trunc(Number(words.get(key)) || plain));
    else state[key] = words.get(key);
  }
  return state;
}

function hashOf(state) {
  const words = new URLSearchParams();
  for (const [key, plain] of Object.entries(EMPTY)) {
    const value = state[key];
    if (Array.isArray(plain)) value.forEach((one) => words.append(key, one));
    else if (value !== plain) words.set(key, value === true ? "1" : value);
  }
  return `#${words}`;
}

// Images of a query are kept by this browser alone, so that going back and reloading find them.
const kept = {
  open() {
    return new Promise((done, failed) => {
      const asked = indexedDB.open("mtml-search", 1);
      asked.onupgradeneeded = () => asked.result.createObjectStore("images");
      asked.onsuccess = () => done(asked.result);
      asked.onerror = () => failed(asked.error);
    });
  },
  async act(mode, work) {
    const base = await this.open();
    try {
      return await new Promise((done, failed) => {
        const change = base.transaction("images", mode);
        const asked = work(change.objectStore("images"));
        change.oncomplete = () => done(asked.result);
        change.onerror = () => failed(change.error);
      });
    } finally { base.close(); }
  },
  async put(files) {
    const id = `${Date.now().toString(36)}-${Array.from(crypto.getRandomValues(new Uint8Array(6)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    const keys = (await this.act("readonly", (store) => store.getAllKeys())).sort();
    for (const old of keys.slice(0, Math.max(0, keys.length - 19))) await this.act("readwrite", (store) => store.delete(old));
    await this.act("readwrite", (store) => store.put(files, id));
    return id;
  },
  get(id) { return this.act("readonly", (store) => store.get(id)); },
};
