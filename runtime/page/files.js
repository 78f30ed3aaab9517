// Depth and points as files, the same as those of the command line: NPY, 16-bit PNG, PLY.

const NPY_START = "\x93NUMPY";

const latin = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

// ArrayBuffer of an NPY file, float32 [H,W] in C order -> {values: Float32Array, width, height}.
export function parseNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const head = 10 + new DataView(buffer).getUint16(8, true);
  const said = String.fromCharCode(...bytes.subarray(0, head));
  const shape = /'shape': \((\d+), (\d+)\)/.exec(said);
  if (!said.startsWith(NPY_START) || !said.includes("'<f4'") || said.includes("True") || !shape) {
    throw new Error("This is no depth: float32 [H,W] as NPY was expected.");
  }
  const [height, width] = [Number(shape[1]), Number(shape[2])];
  return { values: new Float32Array(buffer.slice(head), 0, height * width), width, height };
}

export function encodeNpy({ values, width, height }) {
  const said = `{'descr': '<f4', 'fortran_order': False, 'shape': (${height}, ${width}), }`;
  const padded = said.padEnd(Math.ceil((said.length + 11) / 64) * 64 - 11) + "\n"; // data at a multiple of 64
  const size = new Uint8Array([1, 0, padded.length & 255, padded.length >> 8]);
  return new Blob([latin(NPY_START), size, latin(padded), values], { type: "application/x-npy" });
}

// uint16, round(depth x 65535).
export async function encodePng({ values, width, height }) {
  const rows = new Uint8Array(height * (1 + 2 * width)); // each row begins with its filter, 0: none
  let at = 0;
  for (let i = 0; i < values.length; i++) {
    if (i % width === 0) at++;
    const value = Math.round(Math.min(Math.max(values[i], 0), 1) * 65535);
    rows[at++] = value >> 8;
    rows[at++] = value & 255;
  }
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const size = new DataView(new ArrayBuffer(13));
  size.setUint32(0, width);
  size.setUint32(4, height);
  size.setUint8(8, 16); // bits; then grey, and nothing special
  const chunks = [chunk("IHDR", new Uint8Array(size.buffer)), chunk("IDAT", data), chunk("IEND", new Uint8Array())];
  return new Blob([latin("\x89PNG\r\n\x1a\n"), ...chunks], { type: "image/png" });
}

function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(latin(kind), 4);
  bytes.set(data, 8);
  view.setUint32(8 + data.length, crc(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

const CRC = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
  return n;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

// A cloud as of cloud.js -> binary little-endian PLY, x right, y down, z forward.
export function encodePly({ xyz, rgba, count, note }) {
  const head = [
    "ply", "format binary_little_endian 1.0", `comment ${note}`, `element vertex ${count}`,
    "property float x", "property float y", "property float z",
    "property uchar red", "property uchar green", "property uchar blue", "end_header\n",
  ].join("\n");
  const body = new DataView(new ArrayBuffer(15 * count));
  for (let i = 0; i < count; i++) {
    for (let axis = 0; axis < 3; axis++) {
      body.setFloat32(15 * i + 4 * axis, xyz[3 * i + axis], true);
      body.setUint8(15 * i + 12 + axis, rgba[4 * i + axis]);
    }
  }
  return new Blob([head, body], { type: "application/octet-stream" });
}

// Hands a file to whoever looks at the page.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
