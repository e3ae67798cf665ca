// Where lists come from: a service beside the page, or the file itself.
const data = JSON.parse(byId("data").textContent);

const service = {
  live: true,
  async start() {
    this.info = await (await ask("v1/info")).json();
    this.gallery = this.info.gallery === null ? null : await (await ask("v1/gallery")).json();
    this.models = [{ base: "", info: this.info, label: this.info.label || "this model" }];
    if (this.info.compare) {
      const info = await (await ask("compare/v1/info")).json();
      this.models.push({ base: "compare/", info, label: info.label || "the other model" });
      this.models[0].label = this.info.label || "the first model";
    }
  },
  words(state) {
    const words = new URLSearchParams();
    words.set("top_k", Math.min(1000, Math.max(1, state.k)));
    for (const key of ["camera", "orientation"]) state[key].forEach((one) => words.append(key, one));
    for (const key of ["since", "until"]) if (state[key]) words.set(key, state[key]);
    if (state.rerank) { words.set("rerank", "true"); words.set("shortlist", Math.min(1000, Math.max(100, state.k))); }
    words.set("max_distance", "1e30"); // the page cuts by itself, so that the cut can be moved
    return words;
  },
  async lists(state, files, signal) {
    const words = this.words(state);
    if (state.row.length) {
      const rows = state.row.map(Number), asked = Math.min(1000, state.k + rows.length);
      words.set("top_k", asked);
      if (state.rerank) words.set("shortlist", Math.max(100, asked));
      words.set("as_one", "true");
      const answer = await ask(`v1/search?${words}`, { method: "POST", body: JSON.stringify({ rows }), type: "application/json", signal });
      const others = (await answer.json()).queries[0].ranks.filter((hit) => !rows.includes(hit.row)).slice(0, state.k);
      return [{ model: this.models[0], hits: others.map((hit, place) => ({ ...hit, rank: place + 1 })) }];
    }
    if (state.box) words.set("box", state.box);
    if (files.length > 1) words.set("as_one", "true");
    return Promise.all(this.models.map(async (model) => {
      const form = new FormData();
      files.forEach((file) => form.append("image", file, file.name || "pasted image"));
      const answer = await ask(`${model.base}v1/search?${words}`, { method: "POST", body: form, signal });
      return { model, hits: (await answer.json()).queries[0].ranks };
    }));
  },
  picture: (hit, model, side) => `${model.base}v1/gallery/${hit.row}/thumbnail?side=${side}`,
};

const file = {
  live: false,
  async start() {
    this.info = data.info;
    this.gallery = data.gallery;
    this.models = [{ base: "", info: data.info, label: data.info.label }];
  },
  async lists(state) {
    const found = data.queries[state.query] || data.queries[0];
    return [{ model: this.models[0], hits: found ? found.ranks : [] }];
  },
  picture: (hit) => data.pictures[hit.picture] || "",
};

const source = data.queries ? file : service;
