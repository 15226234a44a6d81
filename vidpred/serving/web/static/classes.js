// What a classifier says of a clip: the clip, and a bar a class.

import { save } from "/static/results.js";

const byId = (id) => document.getElementById(id);
const SHOWN = 8;
const percent = (share) => `${(100 * share).toFixed(share >= 0.0995 || share === 0 ? 0 : 1)} %`;

function bar({ name, share }, place) {
  const item = document.createElement("li");
  const [label, figure, track, fill] = ["span", "span", "span", "i"].map((kind) => document.createElement(kind));
  label.textContent = name;
  label.className = "name";
  figure.textContent = percent(share);
  figure.className = "share";
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  fill.style.width = `${100 * share}%`;
  track.append(fill);
  item.className = place ? "" : "first";
  item.append(label, figure, track);
  return item;
}

let address;
export function showClasses(told) {
  const [first] = told.classes;
  const strong = document.createElement("b");
  strong.textContent = first.name;
  byId("class-verdict").replaceChildren("The model takes this for ", strong, `: ${percent(first.share)} of what it believes.`);
  byId("classes").replaceChildren(...told.classes.slice(0, SHOWN).map(bar));
  const more = told.classes.slice(SHOWN);
  const rest = more.reduce((sum, one) => sum + one.share, 0);
  byId("class-rest").textContent = more.length ? `${more.length} further classes share ${percent(rest)}.` : "";
  if (address) URL.revokeObjectURL(address);
  const bytes = Uint8Array.from(atob(told.gif), (letter) => letter.charCodeAt(0));
  address = URL.createObjectURL(new Blob([bytes], { type: "image/gif" }));
  byId("class-clip").src = address;
  const total = Object.values(told.seconds).reduce((sum, one) => sum + one, 0);
  const windows = told.windows === 1 ? "one window" : `the mean of ${told.windows} windows`;
  byId("class-notes").textContent = [`${windows} in ${told.frames} frames, ${(1000 * total).toFixed(0)} ms.`, ...told.notes].join(" ");
  byId("class-json").onclick = () => {
    const { gif, ...words } = told;
    save(new Blob([`${JSON.stringify(words, null, 2)}\n`], { type: "application/json" }), "classes.json");
  };
}
