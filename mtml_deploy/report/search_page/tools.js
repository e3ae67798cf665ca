// Ground: elements, requests with the token, pictures that need it.
const ORIENTATIONS = ["front", "rear", "left", "left front", "left rear", "right", "right front", "right rear"];
const byId = (id) => document.getElementById(id);
const token = { get: () => sessionStorage.getItem("mtml-token") || "", set: (text) => sessionStorage.setItem("mtml-token", text) };

function el(name, facts = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(facts)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

class Refusal extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(address, { type, ...options } = {}) {
  const headers = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  if (type) headers["content-type"] = type;
  let answer;
  try {
    answer = await fetch(address, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The service cannot be reached; is it still running?");
  }
  if (answer.ok) return answer;
  let text = `${answer.status} ${answer.statusText}`;
  try { text = (await answer.json()).error.message; } catch { /* not our service's words */ }
  if (answer.status === 429) text = `The service is busy; try again in ${answer.headers.get("retry-after") || 1} s.`;
  throw new Refusal(answer.status, text);
}

// A picture, or words where there is none.
function picture(address, words) {
  const missing = () => el("span", { className: "missing", role: "img", "aria-label": words }, "image cannot be shown");
  if (!address) return missing();
  const image = el("img", { alt: words, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(missing()));
  if (address.startsWith("data:") || address.startsWith("blob:") || !token.get()) image.src = address;
  else {
    ask(address).then((answer) => answer.blob()).then((blob) => {
      image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
      image.src = URL.createObjectURL(blob);
    }).catch(() => image.replaceWith(missing()));
  }
  return image;
}

const number = (value) => Number(value).toPrecision(4);
const known = (value) => value !== -1 && value !== null && value !== undefined;
const base = (path) => String(path).split(/[\\/]/).pop();
