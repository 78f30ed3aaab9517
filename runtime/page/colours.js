// Depth in colour: near warm and bright, far cold and dark, in even steps of lightness.

const STOPS = [
  [255, 244, 200], [253, 196, 106], [240, 136, 78], [203, 79, 97], [139, 46, 121], [78, 32, 118], [28, 16, 68],
];
const STEPS = 4096; // finer than a channel's own

const TABLE = Uint32Array.from({ length: STEPS + 1 }, (_, step) => {
  const at = (step / STEPS) * (STOPS.length - 1);
  const stop = Math.min(Math.floor(at), STOPS.length - 2);
  const [r, g, b] = STOPS[stop].map((from, channel) =>
    Math.round(from + (at - stop) * (STOPS[stop + 1][channel] - from)));
  return (255 << 24) | (b << 16) | (g << 8) | r; // RGBA in memory
});

export const GRADIENT = `linear-gradient(to right, ${STOPS.map((stop) => `rgb(${stop})`)})`;

// The smallest and the largest of the values.
export function rangeOf(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

// Float32Array -> Uint8ClampedArray RGBA, colours from low to high.
export function colourise(values, low, high) {
  const scale = STEPS / Math.max(high - low, 1e-6);
  const pixels = new Uint32Array(values.length);
  for (let i = 0; i < values.length; i++) {
    const step = Math.round((values[i] - low) * scale);
    pixels[i] = TABLE[step < 0 ? 0 : step > STEPS ? STEPS : step];
  }
  return new Uint8ClampedArray(pixels.buffer);
}
