// The page: the list, the map, the two pictures and the decisions follow each other.

(() => {
  const element = (id) => document.getElementById(id);
  const data = JSON.parse(element("data").textContent);
  const named = Object.fromEntries(data.columns.map((column) => [column.name, valuesOf(column)]));
  const times = { date_before: valuesOf(data.times.date_before), date_after: valuesOf(data.times.date_after) };
  data.status = named.status;
  const inList = new Map(named.id.map((id, index) => [id, named.reviewed[index]]));
  const decisions = new Decisions(data.run, inList);
  const list = new LandslideList(element("list"), data, decisions);
  const map = new LandslideMap(element("map"), data, list.isListed);

  // --- the two pictures ------------------------------------------------------------------------

  function showChips(index) {
    const chip = data.chips[index] ?? data.far[index - data.chips.length];
    for (const role of ["before", "after"]) {
      const figure = element(`chip-${role}`);
      if (!figure) continue;
      const day = (times[`date_${role}`][index] ?? "").slice(0, 10);
      const isNative = Boolean(chip?.[role]);
      const picture = isNative ? imageOf(chip[role], `${role} ${day}`) : partOf(picturesOf(role), squareOf(index));
      figure.firstElementChild.replaceChildren(picture, outlineOf(index, isNative ? chip : null));
      const metres = isNative ? chip.metres : picturesOf(role)[0]?.metres;
      figure.lastElementChild.textContent = metres
        ? `${role} ${day}, pixels of ${metres} m${isNative ? "" : " (part of the map)"}`
        : `${role}: no picture`;
    }
  }

  function imageOf(address, text) {
    const image = document.createElement("img");
    image.src = address;
    image.alt = text;
    return image;
  }

  function picturesOf(role) {
    return map.pictures.filter((picture) => picture.role === role);
  }

  function squareOf(index) {
    return squareAround(map.shapes[index].bounds);
  }

  function outlineOf(index, chip) {
    const space = "http://www.w3.org/2000/svg";
    const drawing = document.createElementNS(space, "svg");
    const edge = chip?.edge ?? 1000;
    drawing.setAttribute("viewBox", `0 0 ${edge} ${edge}`);
    drawing.setAttribute("aria-hidden", "true");
    drawing.setAttribute("class", `status-${data.status[index]}`);
    for (const kind of ["under", "over"]) {
      const path = document.createElementNS(space, "path");
      path.setAttribute("class", kind);
      path.setAttribute("d", chip?.outline ?? pathOnMap(index));
      drawing.append(path);
    }
    return drawing;
  }

  function pathOnMap(index) {
    const { middle, width, height } = squareOf(index);
    const thousandths = (share) => Math.round(1000 * (share + 0.5));
    return pathOf(map.shapes[index].polygons, ([x, y]) =>
      [(x - middle[0]) / width, (middle[1] - y) / height].map(thousandths));
  }

  // --- the facts of one ------------------------------------------------------------------------

  function showFacts(index) {
    element("which").textContent = named.id[index];
    const about = element("about");
    about.replaceChildren();
    for (const column of list.columns) {
      if (column.name === "id") continue;
      const text = list.text(column, index);
      if (text === "-" && column.name !== "reviewed") continue;
      const name = document.createElement("dt");
      name.textContent = column.label;
      name.title = column.meaning;
      const value = document.createElement("dd");
      const unit = /^$|yes or no| to |,/.test(column.unit) ? "" : ` ${column.unit}`;
      value.textContent = text + unit;
      about.append(name, value);
    }
  }

  function showDecision() {
    const answer = list.chosen < 0 ? null : decisions.of(named.id[list.chosen]);
    for (const button of document.querySelectorAll("[data-answer]")) {
      button.disabled = list.chosen < 0;
      if (button.dataset.answer) button.setAttribute("aria-pressed", String(button.dataset.answer === answer));
    }
    const count = decisions.ofList().length;
    element("decided").textContent = count ? `${count} decided here, of ${list.total}` : "no decision yet";
    element("download").disabled = !count;
    if (!decisions.isKept) {
      element("keep").textContent = "This browser keeps no decisions: download them before you close the page.";
    }
  }

  list.onChoose = (index) => {
    map.choose(index);
    showChips(index);
    showFacts(index);
    showDecision();
  };
  list.onFilter = () => map.draw();
  map.onPick = (index) => list.choose(index);

  // --- decisions -------------------------------------------------------------------------------

  function decide(answer) {
    const index = list.chosen;
    if (index < 0) return;
    decisions.decide(named.id[index], answer);
    list.refresh(index);
    showFacts(index);
    showDecision();
    if (answer && element("onward").checked) list.step(1);
  }

  function featureOf(id, decision) {
    const index = named.id.indexOf(id);
    const properties = {
      id,
      status: data.status[index],
      date_before: times.date_before[index],
      date_after: times.date_after[index],
      ...decision,
    };
    return { type: "Feature", properties, geometry: geometryOf(map.shapes[index].polygons, data.plane) };
  }

  element("download").addEventListener("click", () => {
    const name = data.run.replace(/[^\w.-]+/g, "-");
    download(`decisions-${name}.geojson`, decisions.geojson(featureOf));
  });
  for (const button of document.querySelectorAll("[data-answer]")) {
    button.addEventListener("click", () => decide(button.dataset.answer));
  }

  // --- hands and keys --------------------------------------------------------------------------

  function toggleOutline() {
    const isHidden = element("detail").classList.toggle("no-outline");
    element("outline").setAttribute("aria-pressed", String(!isHidden));
  }

  const keys = {
    n: () => list.step(1),
    p: () => list.step(-1),
    t: () => decide("true"),
    f: () => decide("false"),
    u: () => decide("unsure"),
    c: () => decide(""),
    o: toggleOutline,
  };
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches?.("input:not([type=checkbox]):not([type=range]), textarea, select");
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const act = keys[event.key.toLowerCase()];
    if (act) {
      act();
      event.preventDefault();
    }
  });
  element("next").addEventListener("click", keys.n);
  element("previous").addEventListener("click", keys.p);
  element("outline").addEventListener("click", toggleOutline);
  element("zoom-in").addEventListener("click", () => map.zoom(1));
  element("zoom-out").addEventListener("click", () => map.zoom(-1));
  element("zoom-all").addEventListener("click", () => map.showAll());

  const swipe = element("swipe");
  if (swipe) {
    swipe.addEventListener("input", () => map.swipe(swipe.value / 100));
    map.onSwipe = (share) => { swipe.value = Math.round(share * 100); };
  }

  function filter() {
    const boxes = [...document.querySelectorAll("[name=status]:checked")];
    list.filter({
      statuses: new Set(boxes.map((box) => box.value)),
      least: Number(element("least").value) || 0,
      words: element("words").value,
    });
  }
  element("filters").addEventListener("input", filter);
  element("filters").addEventListener("submit", (event) => event.preventDefault());

  list.arrange();
  showDecision();
})();
