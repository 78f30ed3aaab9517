// The value under the pointer, over the picture or its depth, or under the mark that arrow keys move.

export class Readout {
  // canvases: of one size, each with a mark beside it; the last takes the keys. output: gets the words.
  constructor(canvases, output) {
    this.canvases = canvases;
    this.output = output;
    this.depth = null;
    this.place = null;
    for (const canvas of canvases) {
      for (const kind of ["pointermove", "pointerdown"]) {
        canvas.addEventListener(kind, (event) => {
          const box = canvas.getBoundingClientRect();
          this.move((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height);
        });
      }
    }
    canvases.at(-1).addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step || !this.depth) return;
      event.preventDefault();
      const { width, height } = this.depth;
      const pixels = event.shiftKey ? 10 : 1;
      const [x, y] = this.place ?? [0.5, 0.5];
      this.move(x + (pixels * step[0]) / width, y + (pixels * step[1]) / height);
    });
  }

  // Another depth is shown: {values, width, height}.
  show(depth) {
    this.depth = depth;
    if (this.place) this.move(...this.place);
  }

  // To a place in parts of the width and the height; there is where the middle of a pixel is.
  move(x, y) {
    if (!this.depth) return;
    const { values, width, height } = this.depth;
    const column = Math.min(Math.max(Math.floor(x * width), 0), width - 1);
    const row = Math.min(Math.max(Math.floor(y * height), 0), height - 1);
    this.place = [(column + 0.5) / width, (row + 0.5) / height];
    this.output.value = `x ${column} · y ${row} · depth ${values[row * width + column].toFixed(3)}`;
    for (const canvas of this.canvases) {
      const mark = canvas.nextElementSibling;
      mark.hidden = false;
      mark.style.left = `${100 * this.place[0]}%`;
      mark.style.top = `${100 * this.place[1]}%`;
    }
  }
}
