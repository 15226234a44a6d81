// The page: a clip comes in, its future is asked for and shown.

import { showBoard, showCard } from "/static/about.js";
import { classify, get, predict } from "/static/api.js";
import { showClasses } from "/static/classes.js";
import { Player } from "/static/player.js";
import { offerGif, save, showFigures, showNotes } from "/static/results.js";

const byId = (id) => document.getElementById(id);
const stage = byId("stage");
const player = new Player(byId("result"));
let clip = null;
let models = [];
let limits = null;
let under_way = null;

const stem = (name) => name.replace(/\.[^.]*$/, "") || "clip";
const say = (text) => (byId("status").textContent = text);
const complain = (text) => (byId("alert").textContent = text);
// A sentence, unless it begins with the name of a file.
const sentence = (text) => {
  const named = clip && text.startsWith(clip.name);
  return `${named ? text : text.charAt(0).toUpperCase() + text.slice(1)}${/[.?!]$/.test(text) ? "" : "."}`;
};

function fields(format) {
  const compare = byId("compare").checked;
  return { model: byId("model").value, frames: byId("frames").value, compare, show: compare ? "beside" : "clip", format };
}

function take(file, { example = null } = {}) {
  if (!file) return;
  if (limits && file.size > limits.max_bytes) {
    complain(`${file.name} has ${(file.size / 2 ** 20).toFixed(1)} MiB, and ${(limits.max_bytes / 2 ** 20).toFixed(0)} is the most: take a shorter or smaller clip.`);
    return;
  }
  clip = file;
  preview(file);
  for (const button of document.querySelectorAll(".example")) button.setAttribute("aria-pressed", String(button.dataset.name === example));
  byId("go").disabled = false;
  run();
}

let previewed;
function preview(file) {
  if (previewed) URL.revokeObjectURL(previewed);
  previewed = URL.createObjectURL(file);
  const video = file.type.startsWith("video/");
  const media = document.createElement(video ? "video" : "img");
  if (video) Object.assign(media, { muted: true, loop: true, autoplay: !player.still.matches, playsInline: true });
  else media.alt = "";
  media.addEventListener("error", () => media.remove());
  media.src = previewed;
  byId("preview-media").replaceChildren(media);
  byId("preview-name").textContent = file.name || "pasted";
  byId("preview").hidden = false;
  byId("drop").classList.add("filled");
}

const chosen = () => models.find((one) => one.id === byId("model").value) ?? models[0];
const classifies = () => chosen()?.kind === "classify";

// What the page says and asks, by what the chosen model does.
function wording() {
  const classes = classifies();
  for (const part of document.querySelectorAll("[data-kind]")) part.hidden = (part.dataset.kind === "classify") !== classes;
  byId("headline").textContent = classes ? "See what a clip shows" : "See what happens next";
  byId("lead").textContent = classes
    ? `Give it a clip, and a model says which of ${chosen().classes.length} classes it is of.`
    : "Give it a few frames of a clip, and a model draws the ones that follow.";
  byId("go").textContent = classes ? "Classify" : "Predict";
}

function blank(empty) {
  byId("empty").hidden = !empty;
  byId("result").hidden = empty || classifies();
  byId("told").hidden = empty || !classifies();
}

async function foretell(mine, busy) {
  const answer = await predict(clip, fields("json"), { signal: mine.signal, busy });
  const told = await answer.json();
  blank(false);
  showFigures(told.metrics);
  showNotes(told);
  offerGif(told.gif, stem(clip.name || "clip"));
  await player.load(told);
  return `${told.prediction.count} frames predicted by ${told.model.network}.`;
}

async function tell(mine, busy) {
  const answer = await classify(clip, { model: byId("model").value }, { signal: mine.signal, busy });
  const told = await answer.json();
  player.stop();
  blank(false);
  showClasses(told);
  return `Classified by ${told.model.network}.`;
}

async function run() {
  if (!clip) return;
  under_way?.abort();
  const mine = (under_way = new AbortController());
  stage.classList.add("busy");
  complain("");
  say(`Reading the clip and ${classifies() ? "classifying it" : "predicting"}…`);
  const busy = (seconds) => say(`Many clips are under way: trying again in ${Math.ceil(seconds)} s…`);
  try {
    say(await (classifies() ? tell : foretell)(mine, busy));
    if (stage.getBoundingClientRect().top > window.innerHeight * 0.6) stage.scrollIntoView();
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    player.stop();
    blank(true); // what was shown is of another clip
    complain(sentence(error.message));
    if (stage.getBoundingClientRect().top > window.innerHeight * 0.6) stage.scrollIntoView();
  } finally {
    if (under_way === mine) stage.classList.remove("busy");
  }
}

function wire() {
  byId("file").addEventListener("change", (event) => {
    take(event.target.files[0]);
    event.target.value = ""; // the same file may be chosen again, once it has been changed
  });
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("frames").addEventListener("input", () => (byId("frames-out").value = byId("frames").value));
  byId("frames").addEventListener("change", run);
  byId("compare").addEventListener("change", run);
  byId("model").addEventListener("change", () => {
    wording();
    if (!clip) blank(true);
    Promise.all([card(), offerExamples()]).catch((error) => complain(sentence(error.message)));
    run();
  });
  byId("mp4").addEventListener("click", async () => {
    const button = byId("mp4");
    button.disabled = true;
    try {
      const answer = await predict(clip, fields("mp4"), { signal: new AbortController().signal, busy: () => {} });
      save(await answer.blob(), `${stem(clip.name || "clip")}-predicted.mp4`);
    } catch (error) {
      complain(sentence(error.message));
    } finally {
      button.disabled = false;
    }
  });

  // a file that misses the field must not take the page's place
  let depth = 0;
  const files = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => files(event) && (byId("veil").hidden = ++depth === 0));
  addEventListener("dragleave", (event) => files(event) && (byId("veil").hidden = --depth <= 0));
  addEventListener("dragover", (event) => files(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!files(event)) return;
    event.preventDefault();
    byId("veil").hidden = (depth = 0) === 0;
    take(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files[0]));
  addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, button, a, summary, textarea, [tabindex='0']");
    if (event.key !== " " || typing || byId("result").hidden) return;
    event.preventDefault();
    player.toggle();
  });
}

async function card() {
  const model = chosen();
  byId("model-told").textContent = `${model.id.length > 34 ? `${model.id}: ` : ""}${model.network}, ${model.context} frames of ${model.width} × ${model.height} in`;
  const named = `-F 'model=${model.id}' \\\n     ${location.origin}`;
  byId("curl").textContent = classifies()
    ? `curl -F file=@cat.gif ${named}/api/classify`
    : `curl -F file=@cat.gif -F frames=5 \\\n     ${named}/api/predict -o future.gif`;
  const told = await get(`/api/card?model=${encodeURIComponent(model.id)}`);
  if (chosen() === model) showCard(model, told); // else another one has been chosen meanwhile
}

async function offerExamples() {
  const kind = classifies() ? "classify" : "predict";
  const names = (await get("/static/examples/list.json")).filter((one) => (one.kind ?? "predict") === kind);
  if (kind !== (classifies() ? "classify" : "predict")) return; // as of cards
  const buttons = names.map(({ file, title }) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "example", title });
    button.dataset.name = file;
    button.setAttribute("aria-pressed", "false");
    button.append(Object.assign(document.createElement("img"), { src: `/static/examples/${file}`, alt: title, loading: "lazy" }));
    button.addEventListener("click", async () => {
      const bytes = await (await fetch(`/static/examples/${file}`)).blob();
      take(new File([bytes], file, { type: "image/gif" }), { example: file });
    });
    return button;
  });
  byId("example-list").replaceChildren(...buttons);
  byId("examples").hidden = buttons.length === 0;
}

async function start() {
  wire();
  ({ models, limits } = await get("/api/models"));
  byId("model").replaceChildren(...models.map((one) => new Option(one.id, one.id)));
  wording();
  byId("frames").max = limits.max_frames;
  byId("limits").textContent = `Up to ${(limits.max_bytes / 2 ** 20).toFixed(0)} MiB; the first ${limits.max_seconds} seconds are read.`;
  await Promise.all([card(), offerExamples(), get("/api/leaderboard").then(({ rows }) => showBoard(rows))]);
}

start().catch((error) => complain(sentence(error.message)));
