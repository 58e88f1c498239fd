"use strict";

// What mouse, fingers and keys do to the map.

class Hands {
  constructor(map) {
    this.map = map;
    this.pointers = new Map(); // where each finger is, by its id
    this.moved = 0;
    this.isCutting = false; // whether the line between the dates is dragged
    const { canvas } = map;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    map.box.addEventListener("keydown", (event) => this.press(event));
  }

  down(event) {
    this.map.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.offsetX, event.offsetY]);
    this.moved = 0;
    const line = this.map.cut * this.map.box.clientWidth;
    this.isCutting = this.map.dates.length > 1 && Math.abs(event.offsetX - line) < 9;
    this.map.box.classList.add("moving");
  }

  drag(event) {
    const last = this.pointers.get(event.pointerId);
    if (!last) return;
    const here = [event.offsetX, event.offsetY];
    const [dx, dy] = [here[0] - last[0], here[1] - last[1]];
    this.moved += Math.abs(dx) + Math.abs(dy);
    if (this.pointers.size === 2) this.pinch(event.pointerId, here);
    else if (this.isCutting) this.map.swipe(here[0] / this.map.box.clientWidth);
    else this.map.move(dx, dy);
    this.pointers.set(event.pointerId, here);
  }

  up(event) {
    const isClick = event.type === "pointerup" && this.pointers.has(event.pointerId) && this.moved < 5;
    this.pointers.delete(event.pointerId);
    this.map.box.classList.remove("moving");
    if (isClick) this.map.pick(event.offsetX, event.offsetY);
  }

  pinch(moving, here) {
    const still = [...this.pointers].find(([id]) => id !== moving)[1];
    const last = this.pointers.get(moving);
    const far = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    this.map.zoom(far(still, here) / far(still, last), ...still);
  }

  wheel(event) {
    event.preventDefault();
    const step = event.deltaMode ? 0.05 : 0.0015; // per line, or per pixel
    this.map.zoom(Math.exp(-event.deltaY * step), event.offsetX, event.offsetY);
  }

  press(event) {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (event.key in moves) this.map.move(...moves[event.key]);
    else if (event.key === "+" || event.key === "=") this.map.zoom(1.5);
    else if (event.key === "-") this.map.zoom(1 / 1.5);
    else return;
    event.preventDefault();
  }
}
