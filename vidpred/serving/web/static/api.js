// Asks the server. What comes back is data, and is only ever shown as text.

export class Problem extends Error {
  constructor(code, detail, retryAfter) {
    super(detail);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

async function answered(response) {
  if (response.ok) return response;
  let told = {};
  try {
    told = await response.json();
  } catch {
    // a proxy's own page, or nothing
  }
  if (response.status === 401) window.location.assign("/login");
  const seconds = Number(response.headers.get("Retry-After")) || 0;
  throw new Problem(told.code ?? String(response.status), told.detail ?? `the server answered ${response.status}`, seconds);
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("offline", "The server does not answer. Is it still running?", 0);
  }
  return answered(response);
}

export const get = async (path) => (await ask(path)).json();

const waited = (seconds, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(new DOMException("another clip came", "AbortError"));
    });
  });

// Uploads a clip; a server that is busy is asked again, as often as is polite.
export async function upload(path, file, fields, { signal, busy }) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  body.set("file", file, file.name || "pasted");
  for (let tries = 0; ; tries++) {
    try {
      return await ask(path, { method: "POST", body, signal });
    } catch (error) {
      if (error.code !== "busy" || tries >= 4) throw error;
      const seconds = Math.max(1, error.retryAfter) + Math.random();
      busy(seconds);
      await waited(seconds, signal);
    }
  }
}

export const predict = (file, fields, options) => upload("/api/predict", file, fields, options);
export const classify = (file, fields, options) => upload("/api/classify", file, fields, options);
