// Marks on the map that are not of the ground: hatching, days, the bar of the scale.

// Lines that a dark and a light ground both show.
function hatching(context) {
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

// Write the days of the dates, and the bar of the scale.
function tell({ box, pictures, view }, cut, width) {
  const day = (role) => {
    const days = new Set(pictures.filter((p) => p.role === role).map((p) => p.day));
    return days.size ? `${role} ${[...days].sort().join(", ")}` : "";
  };
  box.querySelector(".left").textContent = cut > 0 ? day("before") : "";
  box.querySelector(".right").textContent = cut < width ? day("after") : "";
  const metres = (100 / view.scale) * METRES_PER_DEGREE;
  const power = 10 ** Math.floor(Math.log10(metres));
  const nice = [5, 2, 1].find((n) => n * power <= metres) * power;
  const bar = box.querySelector(".scale");
  bar.querySelector("i").style.width = `${(nice / METRES_PER_DEGREE) * view.scale}px`;
  bar.querySelector("span").textContent = nice >= 1000 ? `${nice / 1000} km` : `${nice} m`;
}
