// Bilinear resizing with antialiasing, as Pillow does it for `infer`: to the bit, but where Pillow 13 begins with the
// columns (pictures much taller than the frame), and a byte is rounded otherwise.

const STEP = 2 ** -22; // of the weights that Pillow takes bytes by

// values: Uint8Array or Float32Array [height,width,channels] -> the same kind, [to.height,to.width,channels].
export function resize(values, { width, height }, to, channels) {
  const lines = along(values, { outer: height, size: width, inner: channels }, to.width);
  return along(lines, { outer: 1, size: height, inner: to.width * channels }, to.height);
}

// Along the axis `size` of values [outer,size,inner].
function along(values, { outer, size, inner }, to) {
  if (size === to) return values;
  const made = new values.constructor(outer * to * inner);
  const isBytes = values instanceof Uint8Array;
  for (let place = 0; place < to; place++) {
    const { first, weights } = sampling(place, size, to, isBytes);
    for (let line = 0; line < outer; line++) {
      const from = (line * size + first) * inner;
      const at = (line * to + place) * inner;
      for (let i = 0; i < inner; i++) {
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * values[from + k * inner + i];
        made[at + i] = isBytes ? Math.floor(sum + 0.5) : sum;
      }
    }
  }
  return made;
}

// What one of `to` samples takes of `size`: a triangle around its place, as wide as a sample where there are fewer.
function sampling(place, size, to, inSteps) {
  const scale = size / to;
  const reach = Math.max(scale, 1);
  const centre = (place + 0.5) * scale;
  const first = Math.max(0, Math.floor(centre - reach + 0.5));
  const end = Math.min(size, Math.floor(centre + reach + 0.5));
  const weights = [];
  for (let at = first; at < end; at++) weights.push(Math.max(0, 1 - Math.abs((at - centre + 0.5) / reach)));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  const rounded = (weight) => (inSteps ? Math.round(weight / STEP) * STEP : weight);
  return { first, weights: weights.map((weight) => rounded(weight / sum)) };
}
