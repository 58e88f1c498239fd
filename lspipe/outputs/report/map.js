// The map: one of MapLibre for each date, the later above the earlier, cut where the swipe is.

const FOR_ONE = 16; // zoom: no closer than this to an object that is chosen

class LandslideMap {
  constructor(box, data, listed) {
    this.box = box;
    this.dates = data.dates;
    this.listed = listed; // of each object, whether the filters of the list let it through
    this.pictures = data.pictures.map((picture) => this.pictureOf(picture, data.plane));
    this.shapes = data.outlines.map((outline, index) => this.shapeOf(outline, index, data));
    this.chosen = -1;
    this.cut = 0.5;
    this.onPick = () => {};
    this.sides = this.open(data);
    this.dragTheCut();
    this.swipe(this.cut);
    this.tellView();
  }

  // --- what there is ---------------------------------------------------------------------------

  pictureOf(picture, plane) {
    const [west, south, east, north] = picture.bounds;
    const bounds = [west - plane.lon, south, east - plane.lon, north];
    return { ...picture, bounds, gaps: polygonsOf(picture.gaps, plane) };
  }

  shapeOf(outline, index, data) {
    const polygons = polygonsOf(outline, data.plane);
    const bounds = boundsOf(polygons);
    return { polygons, bounds, properties: { index, status: data.status[index], zoom: zoomOf(bounds) } };
  }

  open(data) {
    try {
      return this.dates.map((role) => this.sideOf(role, data));
    } catch (error) { // what MapLibre throws where there is no WebGL
      console.info(error);
      this.box.classList.add("without-map");
      return [];
    }
  }

  sideOf(role, data) {
    const side = new maplibregl.Map({
      container: this.box.querySelector(`.side.${role}`),
      style: styleOf(role, data, this.pictures, this.shapes),
      bounds: this.everything(),
      fitBoundsOptions: { padding: 8 },
      maxZoom: FARTHEST_IN,
      attributionControl: false, // it stands at the end of the page
      renderWorldCopies: false,
      dragRotate: false,
      pitchWithRotate: false,
      maxPitch: 0,
      locale: { "Map.Title": `Map ${role}. Arrow keys move it, plus and minus zoom.` },
    });
    side.touchZoomRotate.disableRotation();
    side.keyboard.disableRotation();
    side.on("styleimagemissing", ({ id }) => {
      if (id === HATCHING) side.addImage(id, hatching().getContext("2d").getImageData(0, 0, 8, 8));
    });
    side.on("load", () => this.draw());
    side.on("move", () => this.follow(side));
    side.on("click", ({ point }) => this.pick(side, point));
    side.on("idle", () => { this.box.dataset.drawn = this.sides.every((one) => one.loaded()); });
    return side;
  }

  // --- the view --------------------------------------------------------------------------------

  everything() {
    const all = [...this.pictures, ...this.shapes].map((one) => one.bounds);
    return all.length ? boxAround(all) : [-1, -1, 1, 1];
  }

  // The sides show the same place.
  follow(moved) {
    if (this.isFollowing) return;
    this.isFollowing = true;
    for (const other of this.sides.filter((side) => side !== moved)) {
      other.jumpTo({ center: moved.getCenter(), zoom: moved.getZoom() });
    }
    this.isFollowing = false;
    this.tellView();
  }

  tellView() {
    if (!this.sides.length) return;
    const { lng, lat } = this.top.getCenter();
    this.box.dataset.drawn = false;
    this.box.dataset.view = [lng, lat, this.top.getZoom()].map((n) => n.toPrecision(8)).join(" ");
    this.scale ??= this.box.appendChild(new maplibregl.ScaleControl().onAdd(this.top));
  }

  get top() {
    return this.sides.at(-1);
  }

  showAll() {
    this.top?.fitBounds(this.everything(), { padding: 8, animate: false });
  }

  zoom(by) {
    this.top?.zoomTo(this.top.getZoom() + by, { duration: 200 });
  }

  choose(index) {
    this.chosen = index;
    this.draw();
    if (index < 0 || !this.top) return;
    const { clientWidth, clientHeight } = this.box;
    const [x, y] = [clientWidth * 0.4, clientHeight * 0.4]; // a fifth of the map for the object
    const padding = { left: x, right: x, top: y, bottom: y };
    this.top.fitBounds(this.shapes[index].bounds, { padding, maxZoom: FOR_ONE, duration: 700 });
  }

  // --- what is shown ---------------------------------------------------------------------------

  draw() {
    const listed = this.shapes.filter((_, index) => this.listed[index] || index === this.chosen);
    this.box.dataset.drawn = false;
    const chosen = this.shapes.slice(this.chosen, this.chosen < 0 ? 0 : this.chosen + 1);
    for (const side of this.sides) {
      side.getSource("objects")?.setData(features(listed.map(outlineFeature)));
      side.getSource("dots")?.setData(features(listed.map(dotFeature)));
      side.getSource("chosen")?.setData(features(chosen.map(outlineFeature)));
    }
  }

  // The smallest object at a place of the screen, or within a few pixels of it.
  pick(side, { x, y }) {
    const around = [[x - 6, y - 6], [x + 6, y + 6]];
    const found = side.queryRenderedFeatures(around, { layers: ["inside", "outlines", "dots"] });
    const bySize = found.sort((a, b) => b.properties.zoom - a.properties.zoom);
    if (bySize.length) this.onPick(bySize[0].properties.index);
  }

  // --- the line between the dates ----------------------------------------------------------------

  swipe(share) {
    this.cut = this.dates.length > 1 ? Math.min(Math.max(share, 0), 1) : 0;
    const above = this.box.querySelector(".side.after");
    above.style.clipPath = `inset(0 0 0 ${100 * this.cut}%)`;
    const line = this.box.querySelector(".cut");
    if (line) line.style.left = `${100 * this.cut}%`;
    this.box.querySelector(".left").textContent = this.cut > 0 ? this.days("before") : "";
    this.box.querySelector(".right").textContent = this.cut < 1 ? this.days("after") : "";
    this.onSwipe?.(this.cut);
  }

  days(role) {
    const days = new Set(this.pictures.filter((one) => one.role === role).map((one) => one.day));
    return days.size ? `${role} ${[...days].sort().join(", ")}` : "";
  }

  dragTheCut() {
    const line = this.box.querySelector(".cut");
    line?.addEventListener("pointerdown", (event) => line.setPointerCapture(event.pointerId));
    line?.addEventListener("pointermove", (event) => {
      if (!line.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.box.getBoundingClientRect();
      this.swipe((event.clientX - left) / width);
    });
  }
}
