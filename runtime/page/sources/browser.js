// Where depth comes from here: the graph itself, in a worker of this browser's (browser_worker.js). Beside this
// the page knows it as ./source.js.

const worker = new Worker(new URL("browser_worker.js", import.meta.url), { type: "module" });
const waiting = new Map(); // number of a question -> what to do with its answer
let asked = 0;
let progress = () => {};
let broken = null;

worker.onmessage = ({ data: { number, said, answer, error } }) => {
  if (said) return progress(said);
  const { resolve, reject } = waiting.get(number);
  waiting.delete(number);
  if (error) reject(new Error(error));
  else resolve(answer);
};
worker.onerror = (event) => {
  event.preventDefault();
  broken = new Error(`The worker can't run here: ${event.message ?? "its file can't be loaded"}.`);
  for (const { reject } of waiting.values()) reject(broken);
  waiting.clear();
};

function ask(question, handedOver = []) {
  return new Promise((resolve, reject) => {
    if (broken) throw broken;
    waiting.set(++asked, { resolve, reject });
    worker.postMessage({ ...question, number: asked }, handedOver);
  });
}

// {bundles: [{name, backend, device, precision, frame: {height, width} or null, random_weights}]}, once the
// graph is loaded. tell: gets words about how far that is.
export async function info(tell) {
  progress = tell;
  const options = Object.fromEntries(new URLSearchParams(location.search));
  return { bundles: [await ask({ open: { ...options, site: new URL("site.json", location.href).href } })] };
}

// Of a picture file, in its size: {values: Float32Array, width, height, ms}.
export async function depthOf(picture) {
  return ask({ picture });
}

// Frames one after the other: {next(canvas) -> depth as of depthOf; close()}.
export function openStream() {
  return {
    async next(canvas) {
      const picture = await createImageBitmap(canvas);
      return ask({ picture }, [picture]);
    },
    close() {},
  };
}
