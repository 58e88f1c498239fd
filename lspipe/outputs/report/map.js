"use strict";

// The map: pictures of the dates, what was not observed, and outlines, drawn on a canvas.
//
// Its plane: x to the east and y to the north, both in degrees of latitude from the origin of
// `data.plane`, so that shapes are true near the origin. A view is its centre on the plane and
// its scale, pixels of the screen per degree.

const METRES_PER_DEGREE = 111195;
const SMALL = 5; // pixels: what is smaller on the screen is drawn as a dot of this size

class LandslideMap {
  constructor(box, data, listed) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.veil = document.createElement("canvas");
    this.data = data;
    this.listed = listed; // of each object, whether the filters of the list let it through
    this.narrow = Math.cos((data.plane.lat * Math.PI) / 180);
    this.shapes = data.outlines.map((polygons) => this.shapeOf(polygons));
    this.pictures = data.pictures.map((picture) => this.pictureOf(picture));
    this.dates = ["before", "after"].filter((role) => data.pictures.some((p) => p.role === role));
    this.cut = 0.5;
    this.chosen = -1;
    this.onPick = () => {};
    this.listen();
    new ResizeObserver(() => this.resize()).observe(box);
    this.resize();
    this.showAll();
  }

  // --- what there is ---------------------------------------------------------------------------

  shapeOf(polygons) {
    const path = new Path2D();
    const bounds = [Infinity, Infinity, -Infinity, -Infinity];
    for (const ring of polygons.flat()) {
      let [x, y] = [0, 0];
      for (let i = 0; i < ring.length; i += 2) {
        x += ring[i] * 1e-6 * this.narrow;
        y += ring[i + 1] * 1e-6;
        if (i) path.lineTo(x, y);
        else path.moveTo(x, y);
        bounds[0] = Math.min(bounds[0], x);
        bounds[1] = Math.min(bounds[1], y);
        bounds[2] = Math.max(bounds[2], x);
        bounds[3] = Math.max(bounds[3], y);
      }
      path.closePath();
    }
    return { path, bounds };
  }

  pictureOf(picture) {
    const [west, south, east, north] = picture.bounds;
    const { lon, lat } = this.data.plane;
    const bounds = [(west - lon) * this.narrow, south - lat, (east - lon) * this.narrow, north - lat];
    return { ...picture, bounds, image: this.load(picture.image), gaps: this.load(picture.gaps) };
  }

  load(address) {
    if (!address) return null;
    const image = new Image();
    image.onload = () => this.draw();
    image.src = address;
    return image;
  }

  // --- the view --------------------------------------------------------------------------------

  resize() {
    const { clientWidth, clientHeight } = this.box;
    const dense = window.devicePixelRatio || 1;
    for (const one of [this.canvas, this.veil]) {
      one.width = Math.round(clientWidth * dense);
      one.height = Math.round(clientHeight * dense);
    }
    this.draw();
  }

  showAll() {
    const all = [...this.pictures, ...this.shapes].map((one) => one.bounds);
    if (!all.length) return this.look(0, 0, 1000);
    const ends = [0, 1].map((i) => Math.min(...all.map((b) => b[i])));
    const far = [2, 3].map((i) => Math.max(...all.map((b) => b[i])));
    this.fit([...ends, ...far], 1.03);
  }

  fit([left, bottom, right, top], room, closest = Infinity) {
    const { clientWidth, clientHeight } = this.box;
    const scale = Math.min(clientWidth / (right - left), clientHeight / (top - bottom)) / room;
    this.look((left + right) / 2, (bottom + top) / 2, Math.min(scale, closest));
  }

  look(x, y, scale) {
    this.view = { x, y, scale: Math.min(Math.max(scale, 5), 3e6) };
    this.box.dataset.view = [x, y, this.view.scale].map((n) => n.toPrecision(8)).join(" ");
    this.draw();
  }

  zoom(factor, px = this.box.clientWidth / 2, py = this.box.clientHeight / 2) {
    const [x, y] = this.onPlane(px, py);
    const scale = Math.min(Math.max(this.view.scale * factor, 5), 3e6);
    const kept = this.view.scale / scale; // the point under the pointer stays where it is
    this.look(x + (this.view.x - x) * kept, y + (this.view.y - y) * kept, scale);
  }

  move(dx, dy) {
    this.look(this.view.x - dx / this.view.scale, this.view.y + dy / this.view.scale, this.view.scale);
  }

  onPlane(px, py) {
    const { x, y, scale } = this.view;
    return [x + (px - this.box.clientWidth / 2) / scale, y - (py - this.box.clientHeight / 2) / scale];
  }

  choose(index) {
    this.chosen = index;
    if (index >= 0) this.fit(this.shapes[index].bounds, 6, 600000);
  }

  // --- drawing ---------------------------------------------------------------------------------

  draw() {
    if (this.waits || !this.view) return;
    this.waits = requestAnimationFrame(() => {
      this.waits = 0;
      this.paint();
    });
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.clearRect(0, 0, width, height);
    const cut = this.dates.length > 1 ? this.cut * width : 0;
    if (cut > 0) this.paintDate(context, "before", this.view, [0, cut]);
    if (cut < width) this.paintDate(context, "after", this.view, [cut, width]);
    this.paintShapes(context);
    if (cut > 0 && cut < width) {
      context.fillStyle = "#fff";
      context.fillRect(cut - 1, 0, 2, height);
    }
    this.tell(cut, width);
  }

  // Pictures and gaps of one date between two columns of a canvas.
  paintDate(context, role, view, [from, to]) {
    const { width, height } = context.canvas;
    const shown = this.pictures.filter((picture) => picture.role === role);
    context.save();
    context.beginPath();
    context.rect(from, 0, to - from, height);
    context.clip();
    context.imageSmoothingEnabled = view.scale < 400000;
    for (const { image, bounds } of shown) this.place(context, view, image, bounds);
    const veil = this.veil.getContext("2d");
    this.veil.width = width;
    this.veil.height = height;
    for (const { gaps, bounds } of shown) this.place(veil, view, gaps, bounds);
    veil.globalCompositeOperation = "source-in";
    veil.fillStyle = this.hatching(veil);
    veil.fillRect(0, 0, width, height);
    context.drawImage(this.veil, 0, 0);
    context.restore();
  }

  place(context, view, image, [left, bottom, right, top]) {
    if (!image || !image.complete || !image.naturalWidth) return;
    const scale = view.scale * this.dense(context, view);
    const x = context.canvas.width / 2 + (left - view.x) * scale;
    const y = context.canvas.height / 2 - (top - view.y) * scale;
    context.drawImage(image, x, y, (right - left) * scale, (top - bottom) * scale);
  }

  dense(context, view) {
    return view.dense || context.canvas.width / this.box.clientWidth;
  }

  hatching(context) {
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const lines = tile.getContext("2d");
    lines.fillStyle = "rgba(255, 255, 255, 0.28)";
    lines.fillRect(0, 0, 8, 8);
    for (const [colour, shift] of [["#111", 0], ["#fff", 1.5]]) {
      lines.strokeStyle = colour;
      lines.lineWidth = 1.2;
      lines.beginPath();
      for (const start of [-8, 0, 8]) {
        lines.moveTo(start + shift, 8);
        lines.lineTo(start + 8 + shift, 0);
      }
      lines.stroke();
    }
    return context.createPattern(tile, "repeat");
  }

  paintShapes(context) {
    const { x, y, scale } = this.view;
    const { width, height } = this.canvas;
    const dense = this.dense(context, this.view);
    const s = scale * dense;
    const status = this.data.status;
    context.save();
    context.setTransform(s, 0, 0, -s, width / 2 - x * s, height / 2 + y * s);
    const edges = [x - width / 2 / s, y - height / 2 / s, x + width / 2 / s, y + height / 2 / s];
    for (let index = this.shapes.length - 1; index >= 0; index--) {
      const [left, bottom, right, top] = this.shapes[index].bounds;
      const isAway = right < edges[0] || left > edges[2] || top < edges[1] || bottom > edges[3];
      if (isAway || (!this.listed[index] && index !== this.chosen)) continue;
      const colour = this.data.colours[status[index]];
      if (index === this.chosen) continue;
      if (Math.max(right - left, top - bottom) * scale < SMALL) {
        const edge = SMALL / scale;
        context.fillStyle = colour;
        context.fillRect((left + right - edge) / 2, (bottom + top - edge) / 2, edge, edge);
      } else {
        this.stroke(context, this.shapes[index].path, "#fff8", 3.5 / scale);
        this.stroke(context, this.shapes[index].path, colour, 2 / scale);
      }
    }
    if (this.chosen >= 0) {
      const { path } = this.shapes[this.chosen];
      this.stroke(context, path, "#000", 6 / scale);
      this.stroke(context, path, "#ff0", 3.5 / scale);
      this.stroke(context, path, this.data.colours[status[this.chosen]], 1.8 / scale);
    }
    context.restore();
  }

  stroke(context, path, colour, width) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke(path);
  }

  // Days and the bar of the scale.
  tell(cut, width) {
    const day = (role) => {
      const days = new Set(this.pictures.filter((p) => p.role === role).map((p) => p.day));
      return days.size ? `${role} ${[...days].sort().join(", ")}` : "";
    };
    this.box.querySelector(".left").textContent = cut > 0 ? day("before") : "";
    this.box.querySelector(".right").textContent = cut < width ? day("after") : "";
    const metres = (100 / this.view.scale) * METRES_PER_DEGREE;
    const power = 10 ** Math.floor(Math.log10(metres));
    const nice = [5, 2, 1].find((n) => n * power <= metres) * power;
    const bar = this.box.querySelector(".scale");
    bar.querySelector("i").style.width = `${(nice / METRES_PER_DEGREE) * this.view.scale}px`;
    bar.querySelector("span").textContent = nice >= 1000 ? `${nice / 1000} km` : `${nice} m`;
  }

  // --- hands -----------------------------------------------------------------------------------

  listen() {
    const pointers = new Map();
    let moved = 0;
    let isCutting = false;
    const canvas = this.canvas;
    const at = (event) => [event.offsetX, event.offsetY];
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, at(event));
      moved = 0;
      const line = this.cut * this.box.clientWidth;
      isCutting = this.dates.length > 1 && Math.abs(event.offsetX - line) < 9;
      this.box.classList.add("moving");
    });
    canvas.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const here = at(event);
      const [dx, dy] = [here[0] - last[0], here[1] - last[1]];
      moved += Math.abs(dx) + Math.abs(dy);
      if (isCutting) this.swipe(here[0] / this.box.clientWidth);
      else if (pointers.size === 2) this.pinch(pointers, event.pointerId, here);
      else this.move(dx, dy);
      pointers.set(event.pointerId, here);
    });
    const end = (event) => {
      const isClick = pointers.has(event.pointerId) && event.type === "pointerup" && moved < 5;
      pointers.delete(event.pointerId);
      this.box.classList.remove("moving");
      if (isClick && !isCutting) this.pick(...at(event));
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...at(event));
    }, { passive: false });
    this.box.addEventListener("keydown", (event) => this.press(event));
  }

  pinch(pointers, moving, here) {
    const [id] = [...pointers.keys()].filter((one) => one !== moving);
    const [still, last] = [pointers.get(id), pointers.get(moving)];
    const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    this.zoom(far(still, here) / far(still, last), ...still);
  }

  press(event) {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key in moves) this.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else return;
    event.preventDefault();
  }

  swipe(share) {
    this.cut = Math.min(Math.max(share, 0), 1);
    this.onSwipe?.(this.cut);
    this.draw();
  }

  // The smallest object at a place of the screen, or within a few pixels of it.
  pick(px, py) {
    const [x, y] = this.onPlane(px, py);
    const reach = 6 / this.view.scale;
    let found = -1;
    let least = Infinity;
    this.shapes.forEach(({ bounds: [left, bottom, right, top] }, index) => {
      const size = (right - left) * (top - bottom);
      const isHere = x > left - reach && x < right + reach && y > bottom - reach && y < top + reach;
      if (isHere && this.listed[index] && size < least) [found, least] = [index, size];
    });
    if (found >= 0) this.onPick(found);
  }
}
