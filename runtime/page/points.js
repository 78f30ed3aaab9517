// A cloud in WebGL: drag or arrow keys turn it, wheel, pinch, + and - zoom, Home turns back.

const VERTEX = `
  attribute vec3 xyz;
  attribute vec3 rgb;
  uniform vec2 turn;       // about y, then about x
  uniform vec3 lens;       // focal lengths across and down, and how far away the eye is
  uniform vec2 size;       // pixels of a point at distance 1 and z 1, and the middle's z
  varying vec3 colour;
  void main() {
    vec3 p = vec3(xyz.x, -xyz.y, size.y - xyz.z);  // WebGL looks along -z, y up
    vec2 s = sin(turn), c = cos(turn);
    p = vec3(c.x * p.x + s.x * p.z, p.y, c.x * p.z - s.x * p.x);
    p = vec3(p.x, c.y * p.y - s.y * p.z, s.y * p.y + c.y * p.z);
    float away = lens.z - p.z;
    gl_Position = vec4(lens.x * p.x, lens.y * p.y, away - 0.1, away);
    gl_PointSize = clamp(size.x * xyz.z / away, 1.0, 24.0);
    colour = rgb;
  }`;
const FRAGMENT = `
  precision mediump float;
  varying vec3 colour;
  void main() { gl_FragColor = vec4(colour, 1.0); }`;
const HOME = { yaw: -0.2, pitch: 0.1, zoom: 0.78 };

export class PointsView {
  // Throws where the browser has no WebGL.
  constructor(canvas) {
    this.canvas = canvas;
    this.view = { ...HOME };
    this.cloud = null;
    this.fov = 60;
    this.gl = canvas.getContext("webgl", { antialias: true, alpha: true });
    if (!this.gl) throw new Error("This browser shows no points: it has no WebGL.");
    this.build();
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      this.build();
      if (this.cloud) this.show(this.cloud, this.fov);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    this.listen();
  }

  build() {
    const { gl } = this;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    this.at = Object.fromEntries(["turn", "lens", "size"].map((name) => [name, gl.getUniformLocation(program, name)]));
    this.buffers = [["xyz", gl.FLOAT, false, 3, 12], ["rgb", gl.UNSIGNED_BYTE, true, 3, 4]].map(
      ([name, kind, normalised, width, stride]) => {
        const buffer = gl.createBuffer();
        const place = gl.getAttribLocation(program, name);
        gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
        gl.enableVertexAttribArray(place);
        gl.vertexAttribPointer(place, width, kind, normalised, stride, 0);
        return buffer;
      });
  }

  // A cloud as of cloud.js, seen by a camera with this field of view, in degrees across.
  show(cloud, fov) {
    const { gl } = this;
    this.cloud = cloud;
    this.fov = fov;
    [cloud.xyz.subarray(0, 3 * cloud.count), cloud.rgba.subarray(0, 4 * cloud.count)].forEach((data, i) => {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i]);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    });
    this.draw();
  }

  // Soon, and once for all that changed until then.
  draw() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.drawNow();
    });
  }

  drawNow() {
    const { gl, canvas, cloud, view } = this;
    if (!cloud) return;
    const scale = Math.min(devicePixelRatio, 2);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * scale));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * scale));
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    // The picture's width fills the canvas, seen from where the camera was, or its height.
    const wide = 1 / Math.tan((this.fov * Math.PI) / 360);
    const shape = canvas.width / canvas.height;
    const fit = Math.min(1, (cloud.shape ?? 4 / 3) / shape) * 0.9;
    const away = cloud.middle / view.zoom;
    gl.uniform2f(this.at.turn, view.yaw, view.pitch);
    gl.uniform3f(this.at.lens, wide * fit, wide * fit * shape, away);
    gl.uniform2f(this.at.size, 1.3 * cloud.pitch * wide * fit * canvas.width / 2, cloud.middle);
    gl.drawArrays(gl.POINTS, 0, cloud.count);
  }

  turn(yaw, pitch) {
    this.view.yaw += yaw;
    this.view.pitch = Math.min(Math.max(this.view.pitch + pitch, -1.5), 1.5);
    this.draw();
  }

  zoom(factor) {
    this.view.zoom = Math.min(Math.max(this.view.zoom * factor, 0.2), 8);
    this.draw();
  }

  listen() {
    const { canvas } = this;
    const fingers = new Map(); // pointer -> where it was last
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const apart = () => {
        const [a, b] = [...fingers.values()];
        return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
      };
      const was = fingers.size === 2 ? apart() : 0;
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      if (was) this.zoom(apart() / was);
      else this.turn((event.clientX - before[0]) / 200, (event.clientY - before[1]) / 200);
    });
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 600));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.turn(-0.08, 0), ArrowRight: () => this.turn(0.08, 0),
      ArrowUp: () => this.turn(0, -0.08), ArrowDown: () => this.turn(0, 0.08),
      "+": () => this.zoom(1.15), "=": () => this.zoom(1.15), "-": () => this.zoom(1 / 1.15),
      Home: () => {
        this.view = { ...HOME };
        this.draw();
      },
    };
    canvas.addEventListener("keydown", (event) => {
      if (!keys[event.key] || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}
