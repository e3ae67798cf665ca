// The lists: tiles, the cut, groups, what is chosen, one image large.
const picked = new Set();
let lists = [];

const facts = (hit) => [
  known(hit.vehicle_id) ? ["vehicle", hit.vehicle_id] : null,
  known(hit.camera_id) ? ["camera", hit.camera_id] : null,
  hit.time ? ["time", hit.time.replace("T", " ").replace("+00:00", " UTC").replace(/Z$/, " UTC")] : null,
  known(hit.orientation) ? ["orientation", ORIENTATIONS[hit.orientation]] : null,
].filter(Boolean);

function grouped(hits) {
  if (!state.group) return hits.map((hit) => ({ hit, more: 0 }));
  const first = new Map(), found = [];
  for (const hit of hits) {
    const group = known(hit.vehicle_id) ? first.get(hit.vehicle_id) : undefined;
    if (group) { group.more += 1; continue; }
    const made = { hit, more: 0 };
    if (known(hit.vehicle_id)) first.set(hit.vehicle_id, made);
    found.push(made);
  }
  return found;
}

function tile({ hit, more }, model, other) {
  const words = `Place ${hit.rank}, distance ${number(hit.distance)}${facts(hit).map((pair) => `, ${pair.join(" ")}`).join("")}`;
  const choose = source.live && !model.base
    ? el("input", { type: "checkbox", checked: picked.has(String(hit.row)), title: "Choose", "aria-label": `Choose place ${hit.rank}`, tabIndex: -1, onchange: () => pick(hit.row) })
    : null;
  const place = other && other.get(hit.path);
  return el("li", { className: "hit", "data-row": hit.row, "data-distance": hit.distance },
    el("div", { className: "bar" }, el("b", {}, `${hit.rank}`), other ? el("span", { className: "faint", title: "Place in the other model's list" }, place ? `other: ${place}` : "not in the other") : "", choose),
    el("button", { type: "button", className: "picture", "aria-label": words, onclick: () => showLarge(hit, model) }, picture(source.picture(hit, model, 224), words)),
    el("div", { className: "facts" },
      el("div", { className: "distance", title: hit.reranked === null ? "L2 distance" : "L2 distance, and re-ranked distance" }, hit.reranked === null ? number(hit.distance) : `${number(hit.distance)} · ${number(hit.reranked)}`),
      ...facts(hit).map(([name, value]) => el("div", { title: `${name} ${value}` }, name === "time" || name === "orientation" ? `${value}` : `${name} ${value}`)),
      more ? el("div", { className: "faint" }, `+ ${more} more of it`) : null),
    source.live && !model.base ? el("button", { type: "button", className: "like", tabIndex: -1, onclick: () => go({ row: [String(hit.row)], image: "", box: "" }) }, "More like this") : null);
}

function showLists(found) {
  lists = found;
  picked.clear();
  drawLists();
}

function drawLists() {
  const places = lists.map((list) => new Map(list.hits.map((hit) => [hit.path, hit.rank])));
  byId("lists").replaceChildren(...lists.map((list, number_) => el("section", {},
    lists.length > 1 ? el("h2", {}, list.model.label) : null,
    list.hits.length
      ? el("ol", { "aria-label": `Results of ${list.model.label}` }, ...grouped(list.hits).map((one) => tile(one, list.model, lists.length > 1 ? places[1 - number_] : null)))
      : el("p", {}, "Nothing was found. The gallery holds no row that passes these filters."))));
  setCut();
  showPicked();
}

// The cut: what is farther away is another vehicle, as far as the measurement tells.
function setCut() {
  const all = lists.flatMap((list) => list.hits.map((hit) => hit.distance));
  byId("cut").hidden = !all.length;
  if (!all.length) return;
  const calibrated = source.info.max_distance;
  const most = Math.max(...all, lists.length > 1 || calibrated === null ? 0 : calibrated * 1.2);
  const slider = byId("cut-at");
  slider.max = most;
  const asked = state.cut === "" ? NaN : Number(state.cut);
  slider.value = Number.isFinite(asked) ? asked : calibrated === null ? most : calibrated;
  byId("cut-marks").replaceChildren(...(calibrated === null ? [] : [el("option", { value: calibrated })]));
  byId("cut-words").textContent = lists.length > 1
    ? "distances of two models cannot be compared, each list has its own"
    : calibrated === null ? "this model has no calibrated distance" : `${number(calibrated)} ${source.info.max_distance_words}`;
  applyCut();
}

function applyCut() {
  const slider = byId("cut-at"), at = Number(slider.value), all = at >= Number(slider.max) * (1 - 1e-6); // the end of the slider is rounded
  let near = 0, count = 0;
  document.querySelectorAll("#lists .hit").forEach((tile_) => {
    const far = !all && Number(tile_.dataset.distance) > at;
    tile_.classList.toggle("far", far);
    near += !far;
    count += 1;
  });
  byId("cut-value").textContent = `${number(at)}: ${near} of ${count}`;
  slider.setAttribute("aria-valuetext", `${number(at)}, ${near} of ${count} places`);
}

function pick(row) {
  const key = String(row);
  if (!picked.delete(key)) picked.add(key);
  showPicked();
}

function showPicked() {
  document.querySelectorAll("#lists .hit").forEach((tile_) => {
    const on = picked.has(tile_.dataset.row);
    tile_.classList.toggle("picked", on);
    const box = tile_.querySelector("input");
    if (box) box.checked = on;
  });
  byId("chosen").hidden = !picked.size;
  byId("chosen").firstElementChild.textContent = `${picked.size} chosen`;
}

function showLarge(hit, model) {
  const more = source.live && !model.base ? el("p", {}, el("button", { type: "button", onclick: () => { byId("large").close(); go({ row: [String(hit.row)], image: "", box: "" }); } }, "More like this")) : null;
  const pairs = [["place", hit.rank], ["distance", number(hit.distance)], ...facts(hit), known(hit.tracklet_id) ? ["tracklet", hit.tracklet_id] : null, ["row", hit.row], ["file", hit.path]].filter(Boolean);
  byId("large").lastElementChild.replaceChildren(
    picture(source.picture(hit, model, 512), `Row ${hit.row}`),
    el("dl", {}, ...pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, `${value}`)])), ...(more ? [more] : []));
  byId("large").showModal();
}

function moveFocus(event) {
  const tiles = [...document.querySelectorAll("#lists .hit .picture")], now = tiles.indexOf(document.activeElement);
  if (now < 0) { if (event.key === "ArrowDown" || event.key === "ArrowRight") { tiles[0]?.focus(); return Boolean(tiles.length); } return false; }
  const top = (one) => one.getBoundingClientRect().top;
  const columns = Math.max(1, tiles.filter((one) => Math.abs(top(one) - top(tiles[now])) < 2).length);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  tiles[Math.min(Math.max(now + step, 0), tiles.length - 1)].focus();
  return true;
}
