// Runs the graph away from the page, which stays alive: onnxruntime-web with WebGPU, or else WebAssembly. A frame
// goes in as uint8 RGB and depth comes out: what lies before and after the networks is in the graph.

import { resize } from "./browser_resize.js";

const MIN_SIDE = 16; // of a picture, as everywhere
const MAX_PIXELS = 1 << 24;

let model = null; // of site.json
let ort = null;
let session = null;

let last = Promise.resolve(); // one at a time, in order
onmessage = ({ data }) => {
  last = last.then(async () => {
    try {
      const answer = await (data.open ? open(data.open) : depthOf(data.picture));
      postMessage({ number: data.number, answer }, answer.values ? [answer.values.buffer] : []);
    } catch (error) {
      postMessage({ number: data.number, error: error?.message ?? `onnxruntime-web failed: ${error}` });
    }
  });
};

const say = (said) => postMessage({ said });

// --- loading --------------------------------------------------------------------------------------

// site: address of site.json. provider: "webgpu" or "wasm" alone; threads: of wasm.
async function open({ site, provider, threads }) {
  const text = new TextDecoder().decode(await load(site, "The site's description"));
  ({ model } = JSON.parse(text));
  const parts = [];
  let before = 0;
  const all = model.files.reduce((sum, file) => sum + file.size, 0);
  for (const { name, size } of model.files) {
    const far = (got) => say(`Loading ${model.name}: ${megabytes(before + got)} of ${megabytes(all)} …`);
    parts.push(await load(new URL(name, site), `The graph's file ${name}`, size, far));
    before += size;
  }
  const missing = provider === "wasm" ? "as asked" : await lackOfWebGpu(provider === "webgpu");
  if (!missing) {
    try {
      return await start("webgpu", site, parts);
    } catch (error) {
      if (provider === "webgpu") throw error;
      console.warn(`WebGPU fails, WebAssembly takes its place: ${error.message}`);
    }
  } else if (provider === "webgpu") throw new Error(`No WebGPU here: ${missing}.`);
  return start("wasm", site, parts, Number(threads) || undefined);
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// size: in bytes, where it is known; far: gets how many have come. -> Uint8Array
async function load(address, what, size, far = () => {}) {
  let answer;
  try {
    answer = await fetch(address, { cache: "no-cache" }); // asked whether it is still the same
  } catch {
    throw new Error(`${what} can't be loaded: there is no connection.`);
  }
  if (!answer.ok) throw new Error(`${what} can't be loaded: the server answers ${answer.status}.`);
  const pieces = [];
  let got = 0;
  try {
    for (const reader = answer.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      far((got += value.length));
    }
  } catch {
    throw new Error(`${what} didn't come whole: the connection broke. Load the page again.`);
  }
  if (size !== undefined && got !== size) {
    throw new Error(`${what} has ${got} bytes and not ${size}: copy the site again, whole.`);
  }
  return new Uint8Array(await new Blob(pieces).arrayBuffer());
}

// Why it isn't used, in words; "" where it is. An adapter that computes on the processor has to be asked for.
async function lackOfWebGpu(isAsked) {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  if (!adapter) return "this browser gives none";
  if (adapter.info?.isFallbackAdapter && !isAsked) return "only one that computes on the processor";
  if (model.precision === "fp16" && !adapter.features.has("shader-f16")) return "it has no 16-bit numbers";
  return "";
}

// What the page shows of the bundle. threads: undefined for what onnxruntime-web takes, half the processor's cores;
// one where the page is not isolated from others.
async function start(provider, site, [graph, data], threads) {
  const device = { webgpu: "WebGPU", wasm: "WebAssembly" }[provider];
  say(`Starting ${model.name} on ${device} …`);
  try {
    await openSession(provider, new URL("onnxruntime/", site).href, graph, data, threads);
  } catch (error) {
    throw new Error(`onnxruntime-web can't run the graph here (${device}): ${error?.message ?? error}`);
  }
  const { numThreads } = ort.env.wasm;
  const counted = numThreads === 1 ? ", 1 thread" : `, ${numThreads} threads`;
  return { ...model, backend: "onnxruntime-web", device: device + (provider === "wasm" ? counted : "") };
}

async function openSession(provider, folder, graph, data, threads) {
  ort = await import(`${folder}ort.${provider}.min.mjs`);
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = folder;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? threads : 1;
  session = await ort.InferenceSession.create(graph, {
    executionProviders: [provider],
    externalData: data.length ? [{ path: model.files[1].name.split("/").at(-1), data }] : [],
    logSeverityLevel: 3,
  });
  if (provider === "webgpu") { // its programs are made at the first run, which tells whether they can be
    const frame = frameFor({ width: 1, height: 1 });
    await run(new Uint8Array(3 * frame.width * frame.height), frame);
  }
}

// --- depth ----------------------------------------------------------------------------------------

// picture: Blob or ImageBitmap.
async function depthOf(picture) {
  if (!session) throw new Error("The graph is not loaded: load the page again.");
  const begin = performance.now();
  const { rgb, size } = await pixelsOf(picture);
  const frame = frameFor(size);
  const values = await run(resize(rgb, size, frame, 3), frame);
  const whole = resize(values, frame, size, 1);
  return { values: whole, ...size, ms: performance.now() - begin };
}

async function pixelsOf(picture) {
  let bitmap = picture;
  if (picture instanceof Blob) {
    const asItIs = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    bitmap = await createImageBitmap(picture, asItIs).catch(() => {
      throw new Error("This browser can't read that as a picture: JPEG and PNG work everywhere.");
    });
  }
  const { width, height } = bitmap;
  try {
    if (Math.min(width, height) < MIN_SIDE) throw new Error(`${width}×${height} is too small: both sides must have at least ${MIN_SIDE} pixels.`);
    if (width * height > MAX_PIXELS) throw new Error(`${width}×${height} is too large: make it smaller first, 16 megapixels at most.`);
    const painter = new OffscreenCanvas(width, height).getContext("2d", { alpha: false, willReadFrequently: true });
    painter.drawImage(bitmap, 0, 0);
    const rgba = painter.getImageData(0, 0, width, height).data;
    const rgb = new Uint8Array(3 * width * height);
    for (let from = 0, to = 0; to < rgb.length; from += 4, to += 3) {
      rgb[to] = rgba[from];
      rgb[to + 1] = rgba[from + 1];
      rgb[to + 2] = rgba[from + 2];
    }
    return { rgb, size: { width, height } };
  } finally {
    bitmap.close();
  }
}

// The frame for a picture: the graph's own, or the nearest that its range allows.
function frameFor({ width, height }) {
  const side = (size, extent) => {
    if (typeof extent === "number") return extent;
    const [least, , most] = extent;
    return Math.min(Math.max(Math.round(size / model.stride) * model.stride, least), most);
  };
  return { width: side(width, model.width), height: side(height, model.height) };
}

// rgb: uint8 [H,W,3] -> Float32Array [H,W]
async function run(rgb, { width, height }) {
  const image = new ort.Tensor("uint8", rgb, [1, height, width, 3]);
  const { depth } = await session.run({ image });
  return depth.data;
}
