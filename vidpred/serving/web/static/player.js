// Plays three strips of frames in step: what was seen, what was predicted, what happened.

const later = (count) => `${count}${count % 10 === 1 && count % 100 !== 11 ? "st" : count % 10 === 2 && count % 100 !== 12 ? "nd" : count % 10 === 3 && count % 100 !== 13 ? "rd" : "th"}`;

async function decoded(strip) {
  if (!strip) return [];
  const picture = new Image();
  picture.src = `data:image/png;base64,${strip.png}`;
  await picture.decode();
  return Array.from({ length: strip.count }, (_, i) => ({ picture, y: i * strip.height, width: strip.width, height: strip.height }));
}

function painted(frame) {
  const canvas = new OffscreenCanvas(frame.width, frame.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(frame.picture, 0, frame.y, frame.width, frame.height, 0, 0, frame.width, frame.height);
  return context.getImageData(0, 0, frame.width, frame.height);
}

export class Player {
  constructor(root) {
    this.root = root;
    this.panels = Object.fromEntries(["known", "prediction", "truth"].map((name) => [name, root.querySelector(`#panel-${name}`)]));
    this.play = root.querySelector("#play");
    this.time = root.querySelector("#time");
    this.told = root.querySelector("#time-out");
    this.speed = root.querySelector("#speed");
    this.error = root.querySelector("#error");
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)");
    this.at = 0;
    this.length = 0;
    this.playing = false;
    this.play.addEventListener("click", () => this.toggle());
    this.time.addEventListener("input", () => {
      this.stop();
      this.show(Number(this.time.value));
    });
    this.error.addEventListener("change", () => this.show(this.at));
  }

  // Takes an answer of the API; plays it, unless the reader wants things to stand still.
  async load(told) {
    this.stop();
    const [known, prediction, truth] = await Promise.all([told.known, told.prediction, told.truth].map(decoded));
    Object.assign(this, { known, prediction, truth, fps: told.fps });
    this.length = known.length + prediction.length;
    this.errors = new Map();
    for (const panel of Object.values(this.panels)) {
      const canvas = panel.querySelector("canvas");
      canvas.width = told.prediction.width;
      canvas.height = told.prediction.height;
    }
    this.panels.truth.hidden = !truth.length;
    this.panels.truth.parentElement.classList.toggle("two", !truth.length);
    this.root.querySelector("#error-field").hidden = !truth.length;
    this.time.max = this.length - 1;
    this.time.style.setProperty("--known", `${(100 * (known.length - 0.5)) / Math.max(1, this.length - 1)}%`);
    this.show(this.still.matches ? known.length : 0);
    if (!this.still.matches) this.start();
  }

  toggle() {
    if (this.playing) this.stop();
    else this.start();
  }

  start() {
    if (!this.length) return;
    this.playing = true;
    this.root.classList.add("playing");
    this.play.setAttribute("aria-label", "Pause");
    let last = performance.now();
    const step = (now) => {
      if (!this.playing) return;
      const most = this.at === this.length - 1 ? 2.5 : 1; // a pause before it begins again
      const wait = (1000 * most) / (Math.min(this.fps, 30) * Number(this.speed.value));
      if (now - last >= wait) {
        last = now;
        this.show((this.at + 1) % this.length);
      }
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  stop() {
    this.playing = false;
    this.root.classList.remove("playing");
    this.play.setAttribute("aria-label", "Play");
  }

  show(at) {
    this.at = at;
    const { known, prediction, truth } = this;
    const seen = known.length;
    const step = at - seen;
    const before = known[Math.min(at, seen - 1)];
    this.draw("known", before);
    this.draw("prediction", step < 0 ? before : prediction[step]);
    if (truth.length) this.draw("truth", step < 0 ? before : (truth[step] ?? truth.at(-1)));
    this.panels.truth.classList.toggle("gone", truth.length > 0 && step >= truth.length);
    if (this.error.checked && step >= 0 && step < truth.length) this.drawError(step);
    this.root.classList.toggle("later", step >= 0);
    this.root.querySelector("#truth-caption").textContent = step >= truth.length ? "nobody knows further" : "kept from the model";
    const text = step < 0 ? `seen, ${at + 1} of ${seen}` : `predicted, ${later(step + 1)} of ${prediction.length}`;
    this.time.value = at;
    this.time.setAttribute("aria-valuetext", text);
    this.told.textContent = text;
  }

  draw(name, frame) {
    const canvas = this.panels[name].querySelector("canvas");
    canvas.getContext("2d").drawImage(frame.picture, 0, frame.y, frame.width, frame.height, 0, 0, canvas.width, canvas.height);
  }

  // Over the prediction: red where it is too far from the truth, and the darker the rest.
  drawError(step) {
    if (!this.errors.has(step)) {
      const mine = painted(this.prediction[step]);
      const true_ = painted(this.truth[step]).data;
      const data = mine.data;
      for (let i = 0; i < data.length; i += 4) {
        const off = (Math.abs(data[i] - true_[i]) + Math.abs(data[i + 1] - true_[i + 1]) + Math.abs(data[i + 2] - true_[i + 2])) / 3;
        const heat = Math.min(1, off / 96);
        const grey = (0.25 * (data[i] + data[i + 1] + data[i + 2])) / 3;
        data[i] = grey + heat * (255 - grey);
        data[i + 1] = grey + heat * (Math.max(0, 1.6 * heat - 0.8) * 255 - grey);
        data[i + 2] = grey * (1 - heat);
      }
      this.errors.set(step, mine);
    }
    this.panels.prediction.querySelector("canvas").getContext("2d").putImageData(this.errors.get(step), 0, 0);
  }
}
