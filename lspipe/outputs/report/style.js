// What the map shows of a date, as a style of MapLibre: pictures, gaps, outlines.

const DOT = 5; // pixels: an object that is smaller on the screen is shown as a dot of this size
const WORLD = 512; // pixels of the world's 360 degrees at zoom 0
const FARTHEST_IN = 19; // zoom: 0.15 m per pixel of the screen at the equator
const HATCHING = "hatching";

function features(objects) {
  return { type: "FeatureCollection", features: objects };
}

function outlineFeature({ polygons, properties }) {
  return { type: "Feature", properties, geometry: { type: "MultiPolygon", coordinates: polygons } };
}

function dotFeature({ bounds: [west, south, east, north], properties }) {
  const middle = [(west + east) / 2, (south + north) / 2];
  return { type: "Feature", properties, geometry: { type: "Point", coordinates: middle } };
}

// The zoom at which something so wide (degrees) is as large as a dot.
function zoomOf([west, south, east, north]) {
  const narrow = Math.cos((((south + north) / 2) * Math.PI) / 180);
  const edge = Math.max(east - west, (north - south) / narrow);
  return Math.log2((DOT * 360) / (WORLD * edge));
}

function styleOf(role, data, pictures, shapes) {
  const shown = pictures.filter((picture) => picture.role === role);
  const gaps = shown.map((picture) => outlineFeature({ polygons: picture.gaps, properties: {} }));
  const images = shown.map(({ image, bounds: [west, south, east, north] }) => ({
    type: "image",
    url: image,
    coordinates: [[west, north], [east, north], [east, south], [west, south]],
  }));
  const sources = {
    gaps: { type: "geojson", data: features(gaps) },
    objects: { type: "geojson", data: features(shapes.map(outlineFeature)) },
    dots: { type: "geojson", data: features(shapes.map(dotFeature)) },
    chosen: { type: "geojson", data: features([]) },
    ...Object.fromEntries(images.map((image, number) => [`picture-${number}`, image])),
  };
  const colour = ["match", ["get", "status"], ...Object.entries(data.colours).flat(), "#ffffff"];
  const line = (id, source, paint, layout = {}) => ({ id, type: "line", source, paint, layout });
  const first = { "line-sort-key": ["-", 0, ["get", "index"]] }; // the first of the list on top
  const layers = [
    ...images.map((_, number) => (
      { id: `picture-${number}`, type: "raster", source: `picture-${number}`, paint: { "raster-fade-duration": 0 } }
    )),
    { id: "gaps", type: "fill", source: "gaps", paint: { "fill-pattern": HATCHING, "fill-antialias": false } },
    { id: "inside", type: "fill", source: "objects", paint: { "fill-opacity": 0 } }, // to be clicked on
    line("halo", "objects", { "line-color": "#fff", "line-width": 3.5, "line-opacity": 0.5 }),
    line("outlines", "objects", { "line-color": colour, "line-width": 2 }, first),
    {
      id: "dots",
      type: "circle",
      source: "dots",
      paint: { "circle-color": colour, "circle-radius": DOT / 2, "circle-opacity": whileSmall() },
    },
    line("chosen-black", "chosen", { "line-color": "#000", "line-width": 6.4 }),
    line("chosen-white", "chosen", { "line-color": "#fff", "line-width": 4.4 }),
    line("chosen", "chosen", { "line-color": colour, "line-width": 2.6 }),
  ];
  return { version: 8, sources, layers };
}

// 1 at the zooms at which an object is smaller than a dot, else 0.
function whileSmall() {
  const isSmall = (zoom) => ["case", [">", ["get", "zoom"], zoom], 1, 0];
  const steps = Array.from({ length: 2 * FARTHEST_IN }, (_, i) => [(i + 1) / 2, isSmall((i + 1) / 2)]);
  return ["step", ["zoom"], isSmall(0), ...steps.flat()];
}

// Lines that a dark and a light ground both show, as an image to fill with.
function hatching() {
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
  return tile;
}
