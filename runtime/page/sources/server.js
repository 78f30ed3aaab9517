// Where depth comes from here: the API of `serve`. Beside this the page knows it as ./source.js.

import { parseNpy } from "./files.js";

const QUALITY = 0.9; // of a stream's JPEGs

// The link that `serve` printed has the token behind its #, which no request carries; it leaves the
// address bar, and lasts as long as the tab.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
const token = given ?? sessionStorage.getItem("token");
const authorization = token ? { Authorization: `Bearer ${token}` } : {};

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { ...authorization, ...options.headers } });
  } catch {
    throw new Error("The server does not answer.");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => null);
    throw new Error(problem?.detail ?? `The server answers ${answer.status}.`);
  }
  return answer;
}

// {bundles: [{name, backend, device, precision, frame: {height, width} or null, ...}], limits: {bytes}}
export async function info() {
  return (await ask("/v1/info")).json();
}

// Of a picture file, in its size: {values: Float32Array, width, height, ms}.
export async function depthOf(picture, bundle) {
  const answer = await ask(`/v1/depth?bundle=${encodeURIComponent(bundle)}`, {
    method: "POST",
    body: picture,
    headers: { Accept: "application/x-npy" },
  });
  const ms = /dur=([\d.]+)/.exec(answer.headers.get("server-timing") ?? "");
  return { ...parseNpy(await answer.arrayBuffer()), ms: ms ? Number(ms[1]) : null };
}

// A stream of frames, one under way: {next(canvas) -> depth as of depthOf, steady; close()}.
export function openStream(bundle) {
  const address = new URL(`/v1/stream?bundle=${encodeURIComponent(bundle)}`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, ["apdepth.v1", ...(token ? [`bearer.${token}`] : [])]);
  socket.binaryType = "arraybuffer";
  let waiting = null;
  let told = null;
  const opened = new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onclose = ({ reason }) => {
      const error = new Error(reason || "The stream ended.");
      reject(error);
      waiting?.reject(error);
    };
  });
  opened.catch(() => {}); // next() tells it
  socket.onmessage = ({ data }) => {
    if (typeof data !== "string") {
      waiting.resolve({ ...parseNpy(data), ms: told.ms });
      return;
    }
    told = JSON.parse(data);
    if (told.error) waiting.reject(new Error(told.error));
  };
  return {
    async next(canvas) {
      const picture = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
      await opened;
      if (socket.readyState !== WebSocket.OPEN) throw new Error("The stream ended.");
      return new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.send(picture);
      });
    },
    close: () => socket.close(),
  };
}
