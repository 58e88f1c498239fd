"use strict";

// Outlines as they come, and what is made of them.
//
// They come as rings `[x, y, dx, dy, dx, dy, ...]`, in millionths of a degree from the origin of
// `data.plane`. On the map, longitudes stay counted from there: nothing but the run is on it, and so
// the date line is nowhere near.

const STEP = 1e-6;
const METRES_PER_DEGREE = 111195;

// The corners of a ring, closed: degrees east of the origin, and latitude.
function cornersOf(steps, { lat }) {
  let [x, y] = [0, 0];
  const corners = [];
  for (let i = 0; i < steps.length; i += 2) {
    x += steps[i];
    y += steps[i + 1];
    corners.push([x * STEP, lat + y * STEP]);
  }
  return [...corners, corners[0]];
}

function polygonsOf(outline, plane) {
  return outline.map((rings) => rings.map((ring) => cornersOf(ring, plane)));
}

// West, south, east, north of polygons.
function boundsOf(polygons) {
  const bounds = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of polygons.flat(2)) {
    bounds[0] = Math.min(bounds[0], x);
    bounds[1] = Math.min(bounds[1], y);
    bounds[2] = Math.max(bounds[2], x);
    bounds[3] = Math.max(bounds[3], y);
  }
  return bounds;
}

// The smallest box around several.
function boxAround(all) {
  const ends = [0, 1].map((i) => Math.min(...all.map((bounds) => bounds[i])));
  return [...ends, ...[2, 3].map((i) => Math.max(...all.map((bounds) => bounds[i])))];
}

// A square around an object with some ground, at least half a kilometre: its middle, and its edges in
// degrees of longitude and latitude.
function squareAround([west, south, east, north]) {
  const middle = [(west + east) / 2, (south + north) / 2];
  const narrow = Math.cos((middle[1] * Math.PI) / 180);
  const edge = Math.max((east - west) * narrow * 1.7, (north - south) * 1.7, 480 / METRES_PER_DEGREE);
  return { middle, width: edge / narrow, height: edge };
}

// Polygons as the path of an SVG; `place` gives the place of a corner on it.
function pathOf(polygons, place) {
  return polygons.flat().map((ring) => `M${ring.slice(0, -1).map((c) => place(c).join(" ")).join("L")}Z`).join("");
}

// Polygons as GeoJSON, in true longitudes; a ring that lies beyond 180 is turned back as a whole.
function geometryOf(polygons, { lon }) {
  const back = (ring) => {
    const middle = lon + ring.reduce((sum, corner) => sum + corner[0], 0) / ring.length;
    const turn = lon - 360 * Math.round(middle / 360);
    return ring.map(([x, y]) => [x + turn, y].map((n) => Number(n.toFixed(6))));
  };
  return { type: "MultiPolygon", coordinates: polygons.map((rings) => rings.map(back)) };
}
