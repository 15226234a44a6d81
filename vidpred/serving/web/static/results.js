// Figures, a chart, notes and downloads of an answer.

const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

function element(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

const percent = (share) => `${share > 0 ? "+" : share < 0 ? "−" : ""}${Math.abs(100 * share).toFixed(Math.abs(share) < 0.0995 ? 1 : 0)} %`;

export function showFigures(metrics) {
  byId("figures").hidden = !metrics;
  if (!metrics) return;
  const { perceptual_distance: pd, psnr_db: psnr, frames } = metrics;
  const still = pd.copy_last === 0;
  byId("gain").textContent = still ? "–" : percent(pd.gain);
  byId("gain").className = still ? "" : pd.gain > 0 ? "good" : "bad";
  byId("pd").textContent = pd.model.toFixed(2);
  byId("pd-bar").textContent = pd.copy_last.toFixed(2);
  byId("psnr").textContent = `${psnr.model.toFixed(2)} dB`;
  byId("psnr-bar").textContent = `${psnr.copy_last.toFixed(2)} dB`;
  byId("verdict").replaceChildren(...verdict(pd, frames, still));
  byId("chart").replaceChildren(chart(pd));
}

function verdict(pd, frames, still) {
  const on = frames === 1 ? "On one frame" : `Over ${frames} frames`;
  if (still) return [`${on} nothing moves: showing the last one again is exactly right, and there is nothing to gain.`];
  const strong = document.createElement("b");
  strong.textContent = `${Math.abs(100 * pd.gain).toFixed(0)} % ${pd.gain >= 0 ? "nearer to" : "further from"} the truth`;
  return [`${on} the prediction is `, strong, pd.gain >= 0 ? " than the last frame, shown again." : " than the last frame, shown again: better to copy here."];
}

// Two bars a frame.
function chart(pd) {
  const count = pd.frames.length;
  const [height, base, slot, width] = [96, 112, 60, 60 * Math.max(6, count)];
  const most = Math.max(...pd.frames, ...pd.frames_copy_last, 1e-6);
  const told = pd.frames.map((mine, i) => `${i + 1}: ${mine.toFixed(1)}, copying ${pd.frames_copy_last[i].toFixed(1)}`);
  const svg = element("svg", { viewBox: `0 0 ${width} ${base + 6}`, role: "img", "aria-label": `PD of each frame. ${told.join("; ")}`, preserveAspectRatio: "xMinYMax meet" });
  pd.frames.forEach((mine, i) => {
    const x = slot * i;
    [[mine, "model", 8], [pd.frames_copy_last[i], "copy", 31]].forEach(([value, kind, offset]) => {
      const tall = Math.max(1.5, (value / most) * (height - 16));
      svg.append(element("rect", { class: kind, x: x + offset, y: height - tall, width: 21, height: tall, rx: 3 }));
      svg.append(element("text", { x: x + offset + 10.5, y: height - tall - 4 }, value.toFixed(value < 10 ? 1 : 0)));
    });
    svg.append(element("text", { x: x + slot / 2, y: base }, i + 1));
  });
  return svg;
}

export function showNotes(told) {
  byId("notes").replaceChildren(
    ...told.notes.map((note) => {
      const item = document.createElement("li");
      item.textContent = note;
      return item;
    }),
  );
  const total = Object.values(told.seconds).reduce((sum, one) => sum + one, 0);
  byId("took").textContent = `${(1000 * total).toFixed(0)} ms: read ${(1000 * told.seconds.read).toFixed(0)}, predict ${(1000 * told.seconds.predict).toFixed(0)}, draw ${(1000 * told.seconds.draw).toFixed(0)}`;
}

let address;
export function offerGif(base64, name) {
  if (address) URL.revokeObjectURL(address);
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  address = URL.createObjectURL(new Blob([bytes], { type: "image/gif" }));
  Object.assign(byId("gif"), { href: address, download: `${name}-predicted.gif` });
}

export function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
