// The page: joins where pictures come from, where depth comes from (source.js), and what is shown of it.

import { openCamera } from "./camera.js";
import { cloudOf } from "./cloud.js";
import { colourise, GRADIENT, rangeOf } from "./colours.js";
import { encodeNpy, encodePly, encodePng, save } from "./files.js";
import { PointsView } from "./points.js";
import { Readout } from "./readout.js";
import { depthOf, info, openStream } from "./source.js";

const element = (name) => document.getElementById(name);
const pictureCanvas = element("picture");
const depthCanvas = element("depth");
const readout = new Readout([pictureCanvas, depthCanvas], element("value"));

let bundles = [];
let limit = Infinity; // bytes of a picture
let points = null;
let shown = null; // {depth, pixels: RGBA, name}
let cloud = null;
let file = null; // the picture that was chosen last
let asked = 0; // how often depth was asked for: an answer that is late is dropped
let live = null; // {stop}: the camera that runs

function say(text) {
  element("said").textContent = text;
}

function fail(error) {
  element("failed").textContent = error?.message ?? "";
  element("failed").hidden = !error;
}

// Throws where there is none yet.
function bundle() {
  if (!bundles.length) throw new Error("Nothing here gives depth yet: load the page again.");
  return bundles.find(({ name }) => name === element("bundle").value) ?? bundles[0];
}

// --- what is shown --------------------------------------------------------------------------------

// picture: something to draw of the depth's size, or null where the browser can't show it.
function show(depth, picture, name, range = rangeOf(depth.values)) {
  const { width, height } = depth;
  document.querySelector("main").removeAttribute("data-empty");
  document.documentElement.style.setProperty("--shape", width / height);
  const colours = colourise(depth.values, ...range);
  for (const canvas of [pictureCanvas, depthCanvas]) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }
  depthCanvas.getContext("2d").putImageData(new ImageData(colours, width, height), 0, 0);
  const painter = pictureCanvas.getContext("2d", { willReadFrequently: true });
  painter.clearRect(0, 0, width, height);
  if (picture) painter.drawImage(picture, 0, 0, width, height);
  const pixels = picture ? painter.getImageData(0, 0, width, height).data : colours;
  shown = { depth, pixels, name };
  readout.show(depth);
  element("near").textContent = `near ${range[0].toFixed(3)}`;
  element("far").textContent = `${range[1].toFixed(3)} far`;
  for (const button of document.querySelectorAll("[data-save]")) button.disabled = false;
  showPoints();
}

function showPoints() {
  if (!shown) return;
  const { depth, pixels } = shown;
  const fov = Number(element("fov").value);
  const frame = bundle().frame ?? depth;
  const spacing = Math.max(1, Math.ceil(depth.width / frame.width), Math.ceil(depth.height / frame.height));
  cloud = { ...cloudOf(depth, pixels, fov, spacing), shape: depth.width / depth.height };
  element("count").value = `${cloud.count.toLocaleString("en")}${cloud.every > 1 ? `, of each ${cloud.every}th row and column` : ""}`;
  points?.show(cloud, fov);
}

function told(ms, { width, height }) {
  return `${width}×${height}` + (ms === null ? "" : ` · ${ms.toFixed(0)} ms`);
}

// --- pictures -------------------------------------------------------------------------------------

async function take(chosen) {
  await stopCamera();
  file = chosen;
  const turn = ++asked;
  const name = file.name || "pasted";
  await ready;
  fail(null);
  say(`Depth of ${name} …`);
  try {
    if (file.size > limit) throw new Error(`${name} is larger than ${limit >> 20} MB: make it smaller first.`);
    const [depth, picture] = await Promise.all([
      depthOf(file, bundle().name),
      createImageBitmap(file).catch(() => null), // a TIFF, say
    ]);
    if (turn !== asked) return;
    show(depth, picture, name.replace(/\.[^.]*$/, ""));
    picture?.close();
    say(`${name} · ${told(depth.ms, depth)}`);
  } catch (error) {
    if (turn !== asked) return;
    say("");
    fail(error);
  }
}

element("file").addEventListener("change", ({ target }) => {
  if (target.files[0]) take(target.files[0]);
  target.value = ""; // so that the same can be chosen again
});
addEventListener("paste", ({ clipboardData }) => {
  if (clipboardData.files[0]) take(clipboardData.files[0]);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", ({ relatedTarget }) => {
  if (!relatedTarget) document.body.classList.remove("dropping");
});
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
});

// --- the camera -----------------------------------------------------------------------------------

async function stopCamera() {
  const running = live;
  live = null;
  element("camera").setAttribute("aria-pressed", "false");
  element("camera").textContent = "Use the camera";
  await running?.stop();
}

async function startCamera() {
  await ready;
  fail(null);
  file = null;
  asked++;
  let camera;
  try {
    bundle();
    say("Opening the camera …");
    camera = await openCamera();
  } catch (error) {
    say("");
    fail(error);
    return;
  }
  const stream = openStream(bundle().name);
  let over;
  const mine = { stop: () => { stream.close(); camera.stop(); return over; } };
  live = mine;
  element("camera").setAttribute("aria-pressed", "true");
  element("camera").textContent = "Stop the camera";
  over = run(camera, stream, () => live === mine);
}

async function run(camera, stream, goesOn) {
  const side = Math.max(...Object.values(bundle().frame ?? { width: 640 }));
  const times = [];
  let range = null;
  try {
    while (goesOn()) {
      const canvas = camera.frame(side);
      const depth = await stream.next(canvas);
      if (!goesOn()) return;
      const now = rangeOf(depth.values); // followed slowly: colours that jump tell nothing
      range = range ? range.map((value, i) => value + 0.15 * (now[i] - value)) : now;
      show(depth, canvas, "camera", range);
      times.push(performance.now());
      if (times.length > 20) times.shift();
      const rate = (1000 * (times.length - 1)) / (times.at(-1) - times[0] || 1);
      say(`Camera · ${told(depth.ms, depth)} · ${rate.toFixed(1)} frames/s`);
    }
  } catch (error) {
    if (!goesOn()) return;
    live = null;
    await stopCamera();
    stream.close();
    camera.stop();
    fail(error);
  }
}

element("camera").addEventListener("click", () => (live ? stopCamera() : startCamera()));

// --- the rest -------------------------------------------------------------------------------------

element("bundle").addEventListener("change", async () => {
  showEngine();
  if (file) await take(file);
  else if (live) {
    await stopCamera();
    await startCamera();
  }
});
element("fov").addEventListener("input", ({ target }) => {
  element("degrees").value = `${target.value}°`;
  showPoints();
});
element("save").addEventListener("click", async ({ target }) => {
  const kind = target.dataset.save;
  if (!kind || !shown) return;
  const { depth, name } = shown;
  const blob = { png: encodePng, npy: encodeNpy, ply: () => encodePly(cloud) }[kind](depth);
  save(await blob, `${name}${kind === "ply" ? "" : "_depth"}.${kind}`);
});

function showEngine() {
  const { name, backend, device, precision, random_weights: random } = bundle();
  element("engine").textContent = `${bundles.length > 1 ? "" : `${name} · `}${backend} · ${device} · ${precision}`
    + (random ? " · random weights: this depth means nothing" : "");
}

async function start() {
  document.documentElement.style.setProperty("--colours", GRADIENT);
  try {
    points = new PointsView(element("points"));
  } catch (error) {
    fail(error);
  }
  try {
    const found = await info(say);
    say("");
    bundles = found.bundles;
    limit = found.limits?.bytes ?? Infinity;
    element("bundle").append(...bundles.map(({ name }) => new Option(name, name)));
    element("bundles").hidden = bundles.length < 2;
    showEngine();
  } catch (error) {
    fail(error);
  }
}

const ready = start();
