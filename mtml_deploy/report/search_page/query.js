// The query: images that are chosen, dropped or pasted, a box in one, or rows of the gallery.
const query = { files: [], addresses: [] };

function showFiles(files) {
  query.addresses.forEach((address) => URL.revokeObjectURL(address));
  query.files = files;
  query.addresses = files.map((one) => URL.createObjectURL(one));
  const one = files.length === 1;
  byId("shown").replaceChildren(...query.addresses.map((address, place) => {
    const image = el("img", { src: address, alt: `Query ${files[place].name || "image"}`, draggable: false });
    const canvas = el("div", { className: `canvas${one ? " one" : ""}` }, image);
    image.addEventListener("error", () => canvas.replaceWith(el("p", { className: "faint" }, `${files[place].name}: this browser cannot show it; the service may still read it.`)));
    if (one) { image.addEventListener("load", () => showBox()); drawBoxes(canvas, image); }
    return canvas;
  }));
  byId("box-line").hidden = !one;
  byId("query-buttons").hidden = !files.length && !state.row.length;
}

function showRows(rows) {
  showFiles([]);
  byId("shown").replaceChildren(...rows.map((row) => el("div", { className: "canvas" }, picture(source.picture({ row }, source.models[0], 224), `Row ${row} of the gallery`))));
  byId("query-buttons").hidden = !rows.length;
}

function corners(text) {
  const found = text.split(",").map((word) => Number(word.trim()));
  return found.length === 4 && text.trim() && found.every(Number.isFinite) ? found : null;
}

function showBox() {
  const canvas = document.querySelector("#shown .canvas.one");
  if (!canvas) return;
  const image = canvas.querySelector("img");
  canvas.querySelectorAll("i").forEach((old) => old.remove());
  const found = corners(byId("box").value);
  if (!found || !image.naturalWidth) return;
  const across = image.clientWidth / image.naturalWidth, down = image.clientHeight / image.naturalHeight;
  const [x1, y1, x2, y2] = [found[0] * across, found[1] * down, found[2] * across, found[3] * down];
  const frame = el("i");
  Object.assign(frame.style, { left: `${x1}px`, top: `${y1}px`, width: `${x2 - x1}px`, height: `${y2 - y1}px` });
  canvas.append(frame);
}

function drawBoxes(canvas, image) {
  let from = null;
  const at = (event) => {
    const area = image.getBoundingClientRect();
    const inside = (value, most) => Math.round(Math.min(Math.max(value, 0), most));
    return [
      inside((event.clientX - area.left) * image.naturalWidth / area.width, image.naturalWidth),
      inside((event.clientY - area.top) * image.naturalHeight / area.height, image.naturalHeight),
    ];
  };
  const draw = (event) => {
    const to = at(event);
    byId("box").value = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])].join(",");
    showBox();
  };
  canvas.addEventListener("pointerdown", (event) => { from = at(event); canvas.setPointerCapture(event.pointerId); event.preventDefault(); });
  canvas.addEventListener("pointermove", (event) => { if (from) draw(event); });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    draw(event);
    from = null;
    const found = corners(byId("box").value);
    if (found[2] - found[0] < 4 || found[3] - found[1] < 4) byId("box").value = ""; // a click, no box
    showBox();
    go({ box: byId("box").value });
  });
  canvas.addEventListener("pointercancel", () => { from = null; byId("box").value = state.box; showBox(); });
}

async function take(files) {
  const images = [...files].filter((one) => one.type.startsWith("image/") || /\.(jpe?g|png|webp|bmp|tiff?|gif|avif|heic|ppm)$/i.test(one.name));
  if (!images.length) { say("That is no image; choose a JPEG, PNG or another picture.", true); return; }
  let id = "";
  try { id = await kept.put(images); } catch { id = `lost-${Date.now()}`; } // private windows may keep nothing
  query.id = id;
  showFiles(images);
  go({ image: id, row: [], box: "" });
}

function listenForImages() {
  byId("files").addEventListener("change", (event) => { take(event.target.files); event.target.value = ""; });
  const drop = byId("drop");
  for (const name of ["dragenter", "dragover"]) document.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
  byId("box").addEventListener("input", showBox);
  byId("box").addEventListener("change", () => {
    const text = byId("box").value.trim(), found = corners(text);
    if (text && (!found || found[2] <= found[0] || found[3] <= found[1])) say("A box is x1,y1,x2,y2 in pixels, with x1 < x2 and y1 < y2.", true);
    else go({ box: text ? found.join(",") : "" });
  });
  byId("clear").addEventListener("click", () => go({ image: "", row: [], box: "" }));
}
