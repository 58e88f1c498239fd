// The map: pictures of the dates, what was not observed, and outlines, drawn on a canvas.
//
// Its plane: x to the east and y to the north, both in degrees of latitude from the origin of
// `data.plane`, so that shapes are true near the origin. A view is its centre on the plane and
// its scale, pixels of the screen per degree.

const METRES_PER_DEGREE = 111195;
const SMALL = 5; // pixels: what is smaller on the screen is drawn as a dot of this size
const MANY = 1500; // objects on the screen: from here on, quick to draw counts more than fine lines

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
    this.dates = data.dates;
    this.cut = 0.5;
    this.chosen = -1;
    this.onPick = () => {};
    this.hands = new Hands(this);
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
    tell(this, cut, width);
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
    veil.fillStyle = hatching(veil);
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

  paintShapes(context) {
    const { x, y, scale } = this.view;
    const { width, height } = this.canvas;
    const dense = this.dense(context, this.view);
    const s = scale * dense;
    const status = this.data.status;
    context.save();
    context.setTransform(s, 0, 0, -s, width / 2 - x * s, height / 2 + y * s);
    const edges = [x - width / 2 / s, y - height / 2 / s, x + width / 2 / s, y + height / 2 / s];
    const isHere = ({ bounds: [left, bottom, right, top] }, index) =>
      this.listed[index] && index !== this.chosen &&
      right > edges[0] && left < edges[2] && top > edges[1] && bottom < edges[3];
    const here = this.shapes.flatMap((shape, index) => (isHere(shape, index) ? [index] : []));
    const isMany = here.length > MANY;
    const small = isMany ? 3 * SMALL : SMALL;
    for (const index of here.reverse()) { // the first of the list on top
      const { path, bounds: [left, bottom, right, top] } = this.shapes[index];
      const colour = this.data.colours[status[index]];
      if (Math.max(right - left, top - bottom) * scale < small) {
        const edge = SMALL / scale;
        context.fillStyle = colour;
        context.fillRect((left + right - edge) / 2, (bottom + top - edge) / 2, edge, edge);
      } else {
        if (!isMany) this.stroke(context, path, "#fff8", 3.5 / scale);
        this.stroke(context, path, colour, 2 / scale);
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

  // --- what hands ask for ------------------------------------------------------------------------

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
