"use strict";
// The surface: WebGL2 for the water, a flat canvas above it for who rides on it.
const Wave = (() => {
  const DENSE = 132, RISE = 0.92, BASE = -0.14;
  const VERTEX = `#version 300 es
    in vec3 place; in vec3 normal; in float wall; uniform mat4 view;
    out float h; out vec3 n; out float w; out vec3 p;
    void main() { h = place.y / ${RISE}; n = normal; w = wall; p = place; gl_Position = view * vec4(place, 1.); }`;
  const FRAGMENT = `#version 300 es
    precision highp float;
    in float h; in vec3 n; in float w; in vec3 p; uniform vec3 ramp[6]; uniform vec3 eye; uniform float dark;
    out vec4 colour;
    vec3 shade(float t) { t = clamp(t, 0., 1.) * 5.; int i = min(int(t), 4); float f = t - float(i); f = f * f * (3. - 2. * f); return mix(ramp[i], ramp[i + 1], f); }
    void main() {
      vec3 up = normalize(n), light = normalize(vec3(-.55, .8, .35)), look = normalize(eye - p);
      float diffuse = .62 + .38 * max(dot(up, light), 0.);
      float gleam = pow(max(dot(reflect(-light, up), look), 0.), 28.) * .34;
      vec3 c = shade(h) * diffuse + gleam;
      float rungs = h * 16., width = fwidth(rungs), near = abs(fract(rungs - .5) - .5) / max(width, 1e-4);
      float line = (1. - smoothstep(.5, 1.5, near)) * .28 * (1. - smoothstep(.25, .6, width));
      c = mix(c, mix(vec3(1.), c * .55, smoothstep(.55, .85, h)), line);
      vec3 deep = mix(ramp[0], ramp[1], .4 + .6 * clamp(h, 0., 1.)) * (.75 + .25 * up.x);
      c = mix(c, deep, w);
      float alpha = mix(1., smoothstep(${BASE.toFixed(2)}, .22, h) * .75 + .2, w);
      colour = vec4(c * alpha, alpha);
    }`;
  const RAMP = ["#06233b", "#0a4a66", "#10788a", "#4bb3b1", "#b5e2d8", "#fffdf4"];
  const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16) / 255);

  function unpack(text, top) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer), norms = new Float32Array(bytes.length / 2);
    for (let i = 0; i < norms.length; i++) norms[i] = (view.getUint16(2 * i, true) / 65535) * top;
    return norms;
  }

  // Catmull-Rom weights from a coarse line to one of some DENSE points.
  function weights(size) {
    const out = [], fine = Math.max(3, Math.round(DENSE / (size - 1)));
    for (let i = 0; i < (size - 1) * fine + 1; i++) {
      const cell = Math.min(size - 2, Math.floor(i / fine)), t = i / fine - cell;
      const w = [(-t + 2 * t * t - t * t * t) / 2, (2 - 5 * t * t + 3 * t * t * t) / 2, (t + 4 * t * t - 3 * t * t * t) / 2, (t * t * t - t * t) / 2];
      out.push(w.map((v, j) => [Math.max(0, Math.min(size - 1, cell - 1 + j)), v]));
    }
    return out;
  }

  function multiply(a, b) {
    const out = new Float32Array(16);
    for (let c = 0; c < 4; c++) for (let r = 0; r < 4; r++) for (let k = 0; k < 4; k++) out[c * 4 + r] += a[k * 4 + r] * b[c * 4 + k];
    return out;
  }

  function camera(yaw, pitch, aspect) {
    // A narrow window needs a camera further away.
    const far = 3.45 * Math.max(1, 1.3 / aspect), cy = Math.cos(yaw), sy = Math.sin(yaw), cp = Math.cos(pitch), sp = Math.sin(pitch);
    const eye = [far * cp * sy, far * sp + 0.12, far * cp * cy];
    const turn = new Float32Array([cy, sp * sy, cp * sy, 0, 0, cp, -sp, 0, -sy, sp * cy, cp * cy, 0, 0, 0, 0, 1].map((v) => v));
    const rows = [[cy, 0, -sy], [-sp * sy, cp, -sp * cy], [cp * sy, sp, cp * cy]];
    for (let c = 0; c < 3; c++) for (let r = 0; r < 3; r++) turn[c * 4 + r] = rows[r][c];
    for (let r = 0; r < 3; r++) turn[12 + r] = -(rows[r][0] * eye[0] + rows[r][1] * eye[1] + rows[r][2] * eye[2]);
    const f = 2.5, n = 0.1, z = 30;
    const lens = new Float32Array([f / aspect, 0, 0, 0, 0, f, 0, 0, 0, 0, (z + n) / (n - z), -1, 0, 0, (2 * z * n) / (n - z), 0]);
    return { view: multiply(lens, turn), eye };
  }

  function painter(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: true, premultipliedAlpha: true, preserveDrawingBuffer: true });
    if (!gl) return null;
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) return null;
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.enable(gl.DEPTH_TEST);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    const where = (name) => gl.getUniformLocation(program, name);
    gl.uniform3fv(where("ramp"), RAMP.flatMap(rgb));
    const buffer = gl.createBuffer(), order = gl.createBuffer();
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, order);
    for (const [name, length, at] of [["place", 3, 0], ["normal", 3, 12], ["wall", 1, 24]]) {
      const slot = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(slot);
      gl.vertexAttribPointer(slot, length, gl.FLOAT, false, 28, at);
    }
    let side = 0, count = 0, mesh = null;
    function lay(n) {
      side = n;
      const index = [];
      for (let i = 0; i < n - 1; i++) for (let j = 0; j < n - 1; j++) { const a = i * n + j; index.push(a, a + 1, a + n, a + 1, a + n + 1, a + n); }
      for (let s = 0; s < 4; s++) for (let j = 0; j < n - 1; j++) { const a = n * n + s * 2 * n + 2 * j; index.push(a, a + 1, a + 2, a + 1, a + 3, a + 2); }
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, new Uint32Array(index), gl.STATIC_DRAW);
      count = index.length;
      mesh = new Float32Array((n * n + 8 * n) * 7);
    }
    function fill(height, n) {
      if (n !== side) lay(n);
      const at = (i, j) => height[Math.max(0, Math.min(n - 1, i)) * n + Math.max(0, Math.min(n - 1, j))] * RISE, step = 2 / (n - 1);
      let o = 0;
      for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
        const dx = (at(i, j + 1) - at(i, j - 1)) / (2 * step), dz = (at(i - 1, j) - at(i + 1, j)) / (2 * step), l = Math.hypot(dx, 1, dz);
        mesh[o++] = -1 + j * step; mesh[o++] = at(i, j); mesh[o++] = 1 - i * step;
        mesh[o++] = -dx / l; mesh[o++] = 1 / l; mesh[o++] = -dz / l; mesh[o++] = 0;
      }
      for (let s = 0; s < 4; s++) for (let k = 0; k < n; k++) {
        const i = s === 0 ? 0 : s === 1 ? n - 1 : k, j = s === 2 ? 0 : s === 3 ? n - 1 : k, out = [[0, 1], [0, -1], [-1, 0], [1, 0]][s];
        for (const y of [at(i, j), BASE]) { mesh[o++] = -1 + j * step; mesh[o++] = y; mesh[o++] = 1 - i * step; mesh[o++] = out[0]; mesh[o++] = 0; mesh[o++] = out[1]; mesh[o++] = 1; }
      }
      gl.bufferData(gl.ARRAY_BUFFER, mesh, gl.DYNAMIC_DRAW);
    }
    return {
      clear() { gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT); },
      draw(height, n, cam) {
        gl.viewport(0, 0, canvas.width, canvas.height);
        this.clear();
        fill(height, n);
        gl.uniformMatrix4fv(where("view"), false, cam.view);
        gl.uniform3fv(where("eye"), cam.eye);
        gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
      },
    };
  }

  // What one target's surface knows, and how high it is at a moment.
  class Surface {
    constructor(item, size, frames) {
      Object.assign(this, item);
      this.size = size;
      this.frames = frames;
      this.norm = unpack(item.norms, item.top);
      this.weights = weights(size);
      this.fine = this.weights.length;
    }
    // Residual norms on the coarse grid, between two frames.
    coarse(frame) {
      const a = Math.max(0, Math.min(this.frames - 1, Math.floor(frame))), b = Math.min(this.frames - 1, a + 1), t = frame - a, n = this.size * this.size;
      const out = new Float32Array(n);
      for (let i = 0; i < n; i++) out[i] = this.norm[a * n + i] * (1 - t) + this.norm[b * n + i] * t;
      return out;
    }
    heights(frame, kind, scale) {
      const value = kind === "risk" ? (r) => (r * r) / 2 : (r) => r, coarse = this.coarse(frame).map(value), s = this.size, f = this.fine;
      let low = 0, high = value(this.top);
      if (scale === "own") { low = Math.min(...coarse); high = Math.max(...coarse); }
      const span = Math.max(high - low, 1e-9);
      this.rise = (norm) => Math.max(-0.1, Math.min(1.05, 1 - (value(norm) - low) / span));
      const half = new Float32Array(s * f), out = new Float32Array(f * f);
      for (let i = 0; i < s; i++) for (let j = 0; j < f; j++) { let v = 0; for (const [k, w] of this.weights[j]) v += w * coarse[i * s + k]; half[i * f + j] = v; }
      for (let i = 0; i < f; i++) for (let j = 0; j < f; j++) { let v = 0; for (const [k, w] of this.weights[i]) v += w * half[k * f + j]; out[i * f + j] = 1 - (v - low) / span; }
      this.last = out;
      return out;
    }
    // Height under a point of the plane, coordinates in [0, 1].
    under(x, y) {
      const f = this.fine, j = Math.max(0, Math.min(f - 1.001, x * (f - 1))), i = Math.max(0, Math.min(f - 1.001, y * (f - 1)));
      const a = Math.floor(i), b = Math.floor(j), u = i - a, v = j - b, h = this.last;
      return (h[a * f + b] * (1 - v) + h[a * f + b + 1] * v) * (1 - u) + (h[(a + 1) * f + b] * (1 - v) + h[(a + 1) * f + b + 1] * v) * u;
    }
  }

  class View {
    constructor(gl, over) {
      this.gl = gl; this.over = over; this.pen = over.getContext("2d"); this.paint = painter(gl);
      this.yaw = 0.62; this.pitch = 0.52;
    }
    fit() {
      const box = this.over.getBoundingClientRect(), dense = Math.min(2, window.devicePixelRatio || 1);
      for (const c of [this.gl, this.over]) { const w = Math.round(box.width * dense), h = Math.round(box.height * dense); if (c.width !== w || c.height !== h) { c.width = w; c.height = h; } }
      this.dense = dense; this.wide = box.width; this.tall = box.height;
    }
    clear() { this.fit(); if (this.paint) this.paint.clear(); this.pen.clearRect(0, 0, this.over.width, this.over.height); }
    draw(surface, frame, stage, options) {
      this.fit();
      const heights = surface.heights(frame, options.height, options.scale);
      this.cam = camera(this.yaw, this.pitch, this.wide / this.tall);
      this.surface = surface;
      if (this.paint) this.paint.draw(heights, surface.fine, this.cam);
      this.pen.setTransform(this.dense, 0, 0, this.dense, 0, 0);
      this.pen.clearRect(0, 0, this.wide, this.tall);
      this.riders(surface, stage, options.colours);
    }
    at(x, y, h) {
      const p = [(x - 0.5) * 2, h * RISE, (0.5 - y) * 2], m = this.cam.view;
      const q = [0, 1, 3].map((r) => m[r] * p[0] + m[4 + r] * p[1] + m[8 + r] * p[2] + m[12 + r]);
      return [(q[0] / q[2] * 0.5 + 0.5) * this.wide, (0.5 - q[1] / q[2] * 0.5) * this.tall];
    }
    hidden(x, y, h) {
      const p = [(x - 0.5) * 2, h * RISE + 0.03, (0.5 - y) * 2], e = this.cam.eye;
      for (let s = 1; s <= 40; s++) {
        const t = s / 90, q = p.map((v, i) => v + (e[i] - v) * t), u = q[0] / 2 + 0.5, v = 0.5 - q[2] / 2;
        if (u < 0 || u > 1 || v < 0 || v > 1) return false;
        if (this.surface.under(u, v) * RISE > q[1] + 0.01) return true;
      }
      return false;
    }
    riders(surface, stage, colours) {
      const pen = this.pen, path = surface.path;
      const k = Math.min(path.length - 1, Math.floor(stage)), next = Math.min(path.length - 1, k + 1), t = stage - k;
      const here = [0, 1, 2].map((i) => path[k][i] * (1 - t) + path[next][i] * t);
      this.rope([...path.slice(0, k + 1), here], surface, colours.surf);
      if (surface.truth) this.cross(surface.truth, surface, colours);
      if (surface.direct) this.mark(surface.direct, surface, colours.direct, colours, "direct", stage >= path.length - 1.001);
      this.mark(here, surface, colours.surf, colours, "surf", true);
      pen.globalAlpha = 1;
    }
    rope(points, surface, colour) {
      const pen = this.pen, seen = [];
      for (let i = 0; i < points.length - 1; i++) for (let s = 0; s < 14; s++) { const t = s / 14; seen.push([0, 1].map((c) => points[i][c] * (1 - t) + points[i + 1][c] * t)); }
      seen.push(points[points.length - 1]);
      pen.lineWidth = 3; pen.lineCap = "round"; pen.strokeStyle = colour;
      let before = null;
      for (const p of seen) {
        const h = surface.under(p[0], p[1]) + 0.008, q = this.at(p[0], p[1], h);
        if (before) { pen.globalAlpha = this.hidden(p[0], p[1], h) ? 0.16 : 0.9; pen.beginPath(); pen.moveTo(...before); pen.lineTo(...q); pen.stroke(); }
        before = q;
      }
      pen.globalAlpha = 1;
    }
    mark(p, surface, colour, colours, shape, solid) {
      const pen = this.pen, ground = surface.under(p[0], p[1]), g = this.at(p[0], p[1], ground);
      const own = shape === "surf" ? Math.max(surface.rise(p[2]), ground) : ground, q = this.at(p[0], p[1], own);
      pen.globalAlpha = this.hidden(p[0], p[1], own) ? 0.45 : 1;
      if (Math.hypot(q[0] - g[0], q[1] - g[1]) > 3) { pen.strokeStyle = colour; pen.lineWidth = 1.5; pen.setLineDash([3, 3]); pen.beginPath(); pen.moveTo(...g); pen.lineTo(...q); pen.stroke(); pen.setLineDash([]); }
      const lift = shape === "surf" ? 8 : 0, [x, y] = [q[0], q[1] - lift];
      pen.beginPath();
      if (shape === "surf") pen.arc(x, y, 9, 0, 7);
      else { pen.moveTo(x, y - 10); pen.lineTo(x + 10, y); pen.lineTo(x, y + 10); pen.lineTo(x - 10, y); pen.closePath(); }
      pen.fillStyle = solid ? colour : colours.halo; pen.fill();
      pen.lineWidth = 2.5; pen.strokeStyle = solid ? colours.halo : colour; pen.stroke();
    }
    cross(p, surface, colours) {
      const pen = this.pen, h = surface.under(p[0], p[1]), q = this.at(p[0], p[1], h), top = this.at(p[0], p[1], h + 0.26);
      pen.globalAlpha = this.hidden(p[0], p[1], h) ? 0.5 : 1;
      pen.strokeStyle = colours.truth; pen.fillStyle = colours.truth; pen.lineWidth = 2;
      pen.beginPath(); pen.moveTo(...q); pen.lineTo(...top); pen.stroke();
      pen.beginPath(); pen.moveTo(...top); pen.lineTo(top[0] + 17, top[1] + 6); pen.lineTo(top[0], top[1] + 12); pen.closePath(); pen.fill();
    }
  }
  return { View, Surface };
})();
