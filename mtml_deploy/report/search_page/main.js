// The page: starts, follows the address, listens.
let state = readState();
let running = null;

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").className = bad ? "error" : "";
}

// Change what is looked at; everything else follows from the address.
function go(change, { quiet = false } = {}) {
  const wanted = { ...state, ...change };
  const hash = hashOf(wanted);
  if (quiet) { state = wanted; history.replaceState(null, "", hash); return; }
  if (hash === hashOf(state)) { state = wanted; look(); }
  else location.hash = hash;
}

function modelLine() {
  const { info, gallery } = source, model = info.model;
  const parts = [`${model.embedding}, ${model.dim.toLocaleString("en")} dimensions, ${model.precision}`, `model ${model.model_sha256.slice(0, 12)}`];
  if (info.measured) parts.push(info.measured);
  if (gallery) parts.push(`gallery ${gallery.name}: ${gallery.rows.toLocaleString("en")} rows`);
  byId("model").replaceChildren(parts.join(" · "), ...(info.warning ? [el("br"), el("span", { className: "error" }, info.warning)] : []));
}

function choices(place, values, label) {
  byId(place).hidden = !values.length;
  byId(place).querySelector(".choices").replaceChildren(...values.map((value) => el("label", {}, el("input", { type: "checkbox", value: String(value), name: place }), label(value))));
}

function showFilters() {
  byId("filters").hidden = !source.live || !source.gallery;
  if (byId("filters").hidden) return;
  byId("filters").querySelector("details").open = matchMedia("(min-width: 54rem)").matches || hashOf({ ...EMPTY, camera: state.camera, orientation: state.orientation, since: state.since, until: state.until }) !== "#";
  choices("cameras", source.gallery.cameras, (camera) => String(camera));
  choices("orientations", source.gallery.with_orientation ? [0, 1, 2, 3, 4, 5, 6, 7] : [], (one) => ORIENTATIONS[one]);
  byId("times").hidden = !source.gallery.with_time;
  for (const id of ["since", "until"]) {
    byId(id).min = (source.gallery.first_time || "").slice(0, 19);
    byId(id).max = (source.gallery.last_time || "").slice(0, 19);
  }
}

function fillControls() {
  for (const [place, key] of [["cameras", "camera"], ["orientations", "orientation"]]) {
    document.querySelectorAll(`#${place} input`).forEach((box) => { box.checked = state[key].includes(box.value); });
  }
  byId("since").value = state.since;
  byId("until").value = state.until;
  byId("top-k").value = state.k;
  byId("rerank").checked = state.rerank;
  byId("group").checked = state.group;
  byId("box").value = state.box;
  document.querySelectorAll("#queries a").forEach((link, place) => {
    if (place === state.query) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  });
}

function filtersAsked() {
  const checked = (place) => [...document.querySelectorAll(`#${place} input:checked`)].map((box) => box.value);
  return {
    camera: checked("cameras"), orientation: checked("orientations"), since: byId("since").value, until: byId("until").value,
    k: Math.min(1000, Math.max(1, Math.trunc(Number(byId("top-k").value)) || EMPTY.k)), rerank: byId("rerank").checked,
  };
}

// The images of the address: those shown, else those this browser kept.
async function imagesOf(id) {
  if (!id) return [];
  if (query.id === id) return query.files;
  let files;
  try { files = await kept.get(id); } catch { files = undefined; }
  if (files) query.id = id;
  return files || [];
}

async function look() {
  running?.abort();
  const mine = running = new AbortController();
  fillControls();
  let files = [];
  if (source.live) {
    files = await imagesOf(state.image);
    if (mine.signal.aborted) return;
    if (state.row.length) showRows(state.row); else if (files !== query.files || !files.length) showFiles(files);
    showBox();
    if (state.image && !state.row.length && !files.length) { showLists([]); say("The image of this address is not kept in this browser; choose it again.", true); return; }
    if (!files.length && !state.row.length) { showLists([]); say("Choose an image of a vehicle to find it in the gallery."); return; }
  }
  say("Searching …");
  const started = performance.now();
  try {
    const found = await source.lists(state, files, mine.signal);
    if (mine.signal.aborted) return;
    showLists(found);
    const count = found[0].hits.length, seconds = ((performance.now() - started) / 1000).toFixed(2);
    const what = state.row.length ? `like ${state.row.length === 1 ? "row" : "rows"} ${state.row.join(", ")}` : files.length > 1 ? `for ${files.length} images as one vehicle` : state.box ? "for the box" : "";
    say(`${count} places ${what}${source.live ? ` in ${seconds} s` : ""}`.replace(/ +/g, " "));
  } catch (error) {
    if (mine.signal.aborted) return;
    showLists([]);
    if (error.status === 401) { askToken(error.message); return; }
    say(error.message, true);
  }
}

function askToken(words) {
  byId("token").hidden = false;
  byId("work").hidden = true;
  byId("model").textContent = token.get() ? words : "This service asks for a token.";
  byId("token-text").focus();
}

function listen() {
  listenForImages();
  byId("filters").addEventListener("submit", (event) => { event.preventDefault(); go(filtersAsked()); });
  byId("no-filters").addEventListener("click", () => go({ camera: [], orientation: [], since: "", until: "" }));
  byId("cut-at").addEventListener("input", applyCut);
  byId("cut-at").addEventListener("change", () => go({ cut: byId("cut-at").value }, { quiet: true }));
  byId("group").addEventListener("change", () => { go({ group: byId("group").checked }, { quiet: true }); drawLists(); });
  byId("more").addEventListener("click", () => go({ row: [...picked], image: "", box: "" }));
  byId("none").addEventListener("click", () => { picked.clear(); showPicked(); });
  addEventListener("hashchange", () => { state = readState(); look(); });
  addEventListener("resize", showBox);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("large").open) return;
    const typing = event.target.matches("input:not([type=checkbox]):not([type=file]), select, textarea");
    if (typing) return;
    if (event.key.startsWith("Arrow")) { if (moveFocus(event)) event.preventDefault(); return; }
    const focused = document.activeElement.closest?.(".hit");
    if (event.key === " " && focused?.querySelector("input") && document.activeElement.matches(".picture")) { pick(focused.dataset.row); event.preventDefault(); }
    else if (event.key === "m" && picked.size) byId("more").click();
    else if (event.key === "o" && source.live) byId("files").click();
  });
}

function showQueries() {
  byId("query").hidden = true;
  byId("queries").hidden = false;
  byId("queries").replaceChildren(...data.queries.map((one, place) => el("a", { href: hashOf({ ...EMPTY, query: place }) }, picture(data.pictures[one.picture] || "", `Query ${one.name}`), el("span", { title: one.name }, base(one.name)))));
}

async function start() {
  try {
    await source.start();
  } catch (error) {
    if (error.status === 401) { askToken(error.message); return; }
    byId("work").hidden = false;
    byId("query").hidden = true;
    say(error.message, true);
    return;
  }
  byId("token").hidden = true;
  byId("work").hidden = false;
  modelLine();
  if (source.live && !source.gallery) {
    byId("query").hidden = true;
    say("This service has no gallery to search; start it with --gallery.", true);
    return;
  }
  if (source.live) showFilters(); else showQueries();
  if (source.gallery && !source.gallery.rows) { say("The gallery is empty; add images first: mtml-deploy gallery add.", true); return; }
  await look();
}

byId("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(byId("token-text").value.trim());
  start();
});
listen();
start();
