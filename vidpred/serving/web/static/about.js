// The model's card and the leaderboard: words from elsewhere, shown as text and nothing else.

const byId = (id) => document.getElementById(id);
const LONGEST = 400;
const DEEPEST = 4;

const words = (value) => {
  const text = typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : String(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
};

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const plain = (value) => value === null || typeof value !== "object";

function shown(value, depth) {
  if (plain(value)) return node("span", value === null ? "–" : words(value));
  if (Array.isArray(value)) {
    if (value.every(plain)) return node("span", words(value.map(words).join(", ") || "–"));
    const list = node("div");
    value.slice(0, 30).forEach((one) => list.append(shown(one, depth + 1)));
    return list;
  }
  if (depth >= DEEPEST) return node("span", "…");
  return facts(value, depth + 1);
}

function facts(values, depth = 0) {
  const list = node("dl", undefined, "facts");
  for (const [name, value] of Object.entries(values).slice(0, 60)) {
    const item = node("dd");
    item.append(shown(value, depth));
    list.append(node("dt", name.replaceAll("_", " ")), item);
  }
  return list;
}

const signed = (share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)} %`;
const some = (count, thing) => `${count.toLocaleString()} ${thing}${count === 1 ? "" : "s"}`;

// What most people want to know of a card: what it learned from, how good it is and where not.
function told(card) {
  const { data, split, test } = card;
  const mine = test.metrics[card.model] ?? {};
  const gain = test.gains[test.baseline];
  const classes = test.classes?.length;
  const points = (share) => (classes ? signed(share).replace(" %", " points of top-1") : signed(share));
  const between = gain?.pooled_interval ? ` (95 %: ${signed(gain.pooled_interval[0])} to ${signed(gain.pooled_interval[1])})` : "";
  const lines = {
    "learned from": `${some(split.train.clips, "clip")} of ${some(split.train.groups, "group")}, ${some(split.train.frames, "frame")}; ${some(data.sources, "file")} in all`,
    "judged on": `${classes ? some(test.videos, "video") : some(test.windows, "window")} of ${some(split.test.clips, "clip")} that training never saw`,
  };
  if (mine.perceptual_distance !== undefined) lines["on those"] = `PD ${mine.perceptual_distance.toFixed(2)}${mine.psnr_db === undefined ? "" : `, PSNR ${mine.psnr_db.toFixed(2)} dB`}`;
  if (mine.top1 !== undefined) lines["on those"] = `top-1 ${(100 * mine.top1).toFixed(1)} %${mine.top5 === undefined ? "" : `, top-5 ${(100 * mine.top5).toFixed(1)} %`}`;
  if (classes) lines.classes = test.classes.slice(0, 30).map((one) => one.name).join(", ");
  if (gain) lines[`gain over ${test.baseline}`] = `${points(gain.pooled)}${between}${gain.beats ? "" : `: not shown to be better, ${gain.why_not}`}`;
  if (card.parameters) lines.parameters = card.parameters.toLocaleString();
  if (card.licences.length) lines["clips' licences"] = card.licences.map(({ licence, sources }) => `${licence || "not told"} (${sources})`).join("; ");
  return lines;
}

// A test clip: what happened, and what was predicted. Moving, or as a strip for those who want things to lie still.
function pictures(model, card) {
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const wanted = still ? ["card.png", "card.gif"] : ["card.gif", "card.png"];
  const name = wanted.find((one) => card?.pictures?.includes(one));
  if (!name) return [];
  const figure = node("figure", undefined, "card-picture");
  const sides = name === "card.gif" ? ["left", "right"] : ["above", "below"];
  const told = card.test?.classes?.length
    ? "A test video, framed in green where its class was told rightly, in red where not."
    : `A test clip: ${sides[0]} what happened, ${sides[1]} what it predicted, in green.`;
  const src = `/api/card/picture?name=${name}&model=${encodeURIComponent(model.id)}`;
  const img = Object.assign(document.createElement("img"), { src, alt: told });
  img.addEventListener("error", () => figure.remove());
  figure.append(img, node("figcaption", told));
  return [figure];
}

export function showCard(model, { card, model: info }) {
  const first = {
    "served as": model.id,
    network: model.network,
    "looks at": `${model.context} frames of ${model.width} × ${model.height}${model.fps ? `, ${words(model.fps)} a second` : ""}`,
    ...(card ? told(card) : {}),
    weights: `sha256 ${model.weights}…, taken up ${new Date(1000 * model.since).toLocaleString()}`,
  };
  if (model.problem) first["newer version"] = `not served: ${model.problem}`;
  const shownOf = [...pictures(model, card), facts(first)];
  if (card?.limits.length) {
    const list = node("ul", undefined, "limits");
    list.append(...card.limits.map((limit) => node("li", words(limit))));
    shownOf.push(node("h3", "What it is not for"), list);
  }
  const all = node("details");
  all.append(node("summary", "All that its files say"), facts(card ? { ...card, "model.json": info } : info));
  byId("card").replaceChildren(...shownOf, all);
}

const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));
const percent = (value) => (value === null ? "–" : `${value < 0 ? "−" : "+"}${Math.abs(100 * value).toFixed(1)} %`);

export function showBoard(rows) {
  byId("board").hidden = byId("board-link").hidden = rows.length === 0;
  if (!rows.length) return;
  const classes = rows.some((row) => row.top1 !== null);
  byId("board-hint").textContent = `Every model under one budget, judged on the same test clips. ${classes ? "Top-1: higher" : "PD: lower"} is better.`;
  const titles = classes
    ? ["model", "top-1", "95 %", "points over majority", "parameters"]
    : ["model", "PD", "gain over copy_last", "95 %", "PSNR, dB", "SSIM", "parameters"];
  const head = node("tr");
  titles.forEach((title, i) => {
    const cell = node("th", title, i ? "number" : "");
    cell.scope = "col";
    head.append(cell);
  });
  const body = rows.map((row) => {
    const line = node("tr", undefined, row.kind === "baseline" ? "baseline" : "");
    const name = node("th", row.name);
    name.scope = "row";
    const between = row.gain_low === null ? "–" : `${percent(row.gain_low)} to ${percent(row.gain_high)}`;
    const parameters = row.parameters === null ? "–" : row.parameters.toLocaleString();
    const sure = row.top1_low === null ? "–" : `${(100 * row.top1_low).toFixed(1)} to ${(100 * row.top1_high).toFixed(1)} %`;
    const cells = classes
      ? [row.top1 === null ? "–" : `${(100 * row.top1).toFixed(1)} %`, sure, percent(row.gain).replace(" %", ""), parameters]
      : [number(row.perceptual_distance, 2), percent(row.gain), between, number(row.psnr_db, 2), number(row.ssim, 4), parameters];
    line.append(name, ...cells.map((text) => node("td", text, "number")));
    return line;
  });
  const [thead, tbody] = [node("thead"), node("tbody")];
  thead.append(head);
  tbody.append(...body);
  byId("board-table").replaceChildren(thead, tbody);
}
