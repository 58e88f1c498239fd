// A part of the map's pictures around an object, for one that has no pictures of its own.

const PART = 320; // pixels along its edge

function partOf(pictures, square) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = PART;
  const context = canvas.getContext("2d");
  const [west, north] = [square.middle[0] - square.width / 2, square.middle[1] + square.height / 2];
  const place = ([x, y]) => [((x - west) / square.width) * PART, ((north - y) / square.height) * PART];
  for (const picture of pictures) {
    const image = new Image();
    image.onload = () => {
      drawPart(context, image, picture.bounds, [west, north, west + square.width, north - square.height]);
      context.fillStyle = context.createPattern(hatching(), "repeat");
      context.fill(new Path2D(pathOf(picture.gaps, place)), "evenodd");
    };
    image.src = picture.image;
  }
  return canvas;
}

// Pictures are in Mercator's projection, which is straight enough within a part.
function drawPart(context, image, [west, south, east, north], [left, top, right, bottom]) {
  const across = (lon) => ((lon - west) / (east - west)) * image.naturalWidth;
  const mercator = (lat) => Math.asinh(Math.tan((lat * Math.PI) / 180));
  const scale = image.naturalHeight / (mercator(north) - mercator(south));
  const down = (lat) => (mercator(north) - mercator(lat)) * scale;
  const [x, y] = [across(left), down(top)];
  context.drawImage(image, x, y, across(right) - x, down(bottom) - y, 0, 0, PART, PART);
}
