// Depth and its picture -> coloured points, without those that hang in the air behind edges: as the verb
// `points` makes them (runtime/metric/points.py says why).

const NEAR = 1; // a relief of relative depth: z of 0 and of 1
const FAR = 4;
const RATIO = 0.04;
const REACH = [1, 2, 4, 8];
const MOST = 400_000; // points: depth has no more detail than the graph's own size

// depth {values, width, height}; pixels: RGBA of the same size; fov: degrees across the width; spacing:
// how much depth was enlarged -> {xyz, rgba, count, every, middle: of z, pitch: between neighbours at z = 1, note}.
export function cloudOf({ values, width, height }, pixels, fov, spacing) {
  const every = Math.max(1, Math.ceil(Math.sqrt((width * height) / MOST)));
  const focal = width / (2 * Math.tan((fov * Math.PI) / 360));
  const inverse = values.map((depth) => 1 / (NEAR + (FAR - NEAR) * depth));
  const most = Math.ceil(width / every) * Math.ceil(height / every);
  const xyz = new Float32Array(3 * most);
  const rgba = new Uint8Array(4 * most);
  let count = 0;
  for (let y = 0; y < height; y += every) {
    for (let x = 0; x < width; x += every) {
      const at = y * width + x;
      if (!(inverse[at] > 0)) continue;
      if (isFlying(inverse, at, x, width, 1, spacing) || isFlying(inverse, at, y, height, width, spacing)) continue;
      const z = 1 / inverse[at];
      xyz.set([((x - (width - 1) / 2) / focal) * z, ((y - (height - 1) / 2) / focal) * z, z], 3 * count);
      for (let channel = 0; channel < 4; channel++) rgba[4 * count + channel] = pixels[4 * at + channel];
      count++;
    }
  }
  const note = `a relief of relative depth, z ${NEAR} to ${FAR}, not metres`;
  return { xyz, rgba, count, every, middle: middleOf(xyz, count), pitch: every / focal, note };
}

// Along one line of pixels: `place` of `size` on it, `step` from one to the next in `inverse`.
function isFlying(inverse, at, place, size, step, spacing) {
  const last = size - 1;
  if (place < spacing || place > last - spacing) return false;
  const here = inverse[at];
  const least = Math.min(
    Math.abs(here - inverse[at - spacing * step]), Math.abs(inverse[at + spacing * step] - here));
  if (!(least > RATIO * here)) return false;
  const start = at - place * step;
  const continued = (near, beyond) => 2 * inverse[start + near * step] - inverse[start + beyond * step];
  const [low, high] = [here * (1 - RATIO), here * (1 + RATIO)];
  return REACH.some((reach) => {
    const [near, beyond] = [reach * spacing, 2 * reach * spacing];
    const left = continued(Math.max(place - near, 0), Math.max(place - beyond, 0));
    const right = continued(Math.min(place + near, last), Math.min(place + beyond, last));
    return (left < low && right > high) || (right < low && left > high);
  });
}

function middleOf(xyz, count) {
  const some = [];
  for (let i = 0; i < count; i += Math.max(1, Math.floor(count / 2000))) some.push(xyz[3 * i + 2]);
  some.sort((a, b) => a - b);
  return some[some.length >> 1] ?? 2;
}
