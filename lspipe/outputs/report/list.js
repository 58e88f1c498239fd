// The list: a page of rows at a time, in the order and through the filters that a person chose.

class LandslideList {
  constructor(table, data, decisions) {
    this.table = table;
    this.data = data;
    this.decisions = decisions;
    this.columns = data.columns.map((column) => ({ ...column, values: valuesOf(column) }));
    this.byName = Object.fromEntries(this.columns.map((column) => [column.name, column]));
    this.ids = this.byName.id.values;
    this.total = this.ids.length;
    this.order = this.ids.map((_, index) => index);
    this.isListed = this.ids.map(() => true);
    this.sorting = null;
    this.page = 0;
    this.chosen = -1;
    this.texts = this.ids.map((_, index) =>
      this.columns.filter((c) => c.decimals === null).map((c) => c.values[index] ?? "").join(" ").toLowerCase());
    this.onChoose = () => {};
    this.onFilter = () => {};
    this.listen();
  }

  // --- order and filters -----------------------------------------------------------------------

  filter({ statuses, least, words }) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const { status, area_m2: area } = this.byName;
    for (let index = 0; index < this.total; index++) {
      const text = wanted.length ? `${this.texts[index]} ${this.decisions.of(this.ids[index]) ?? ""}` : "";
      this.isListed[index] =
        statuses.has(status.values[index]) &&
        (area.values[index] ?? 0) >= least &&
        wanted.every((word) => text.includes(word));
    }
    this.arrange();
    this.onFilter();
  }

  sort(name) {
    const isAscending = this.sorting?.name === name ? !this.sorting.isAscending : !this.isNumber(name);
    this.sorting = { name, isAscending };
    for (const head of this.table.querySelectorAll("th")) {
      const isThis = head.dataset.column === name;
      head.setAttribute("aria-sort", isThis ? (isAscending ? "ascending" : "descending") : "none");
    }
    this.arrange();
  }

  isNumber(name) {
    return this.byName[name].decimals !== null && name !== "rank";
  }

  arrange() {
    this.order = this.ids.map((_, index) => index).filter((index) => this.isListed[index]);
    if (this.sorting) {
      const { name, isAscending } = this.sorting;
      const isDecision = name === "reviewed";
      const values = isDecision ? this.ids.map((id) => this.decisions.of(id)) : this.byName[name].values;
      const turn = isAscending ? 1 : -1;
      const isMissing = (value) => value === null || value === undefined;
      this.order.sort((a, b) => {
        const [one, other] = [values[a], values[b]];
        // What is missing comes last in both directions; ties stay in the order of the list.
        if (isMissing(one) || isMissing(other)) return isMissing(one) - isMissing(other) || a - b;
        return (one < other ? -turn : one > other ? turn : 0) || a - b;
      });
    }
    this.page = 0;
    this.show();
  }

  // --- rows ------------------------------------------------------------------------------------

  show() {
    const { rows } = this.data;
    const here = this.order.slice(this.page * rows, (this.page + 1) * rows);
    this.table.tBodies[0].replaceChildren(...here.map((index) => this.row(index)));
    const pages = Math.max(1, Math.ceil(this.order.length / rows));
    const count = document.getElementById("count");
    count.textContent = `${this.order.length} of ${this.total}`;
    document.getElementById("pages").hidden = pages === 1;
    document.getElementById("page").textContent = `page ${this.page + 1} of ${pages}`;
    document.getElementById("page-back").disabled = this.page === 0;
    document.getElementById("page-on").disabled = this.page >= pages - 1;
  }

  row(index) {
    const row = document.createElement("tr");
    row.dataset.landslideId = this.ids[index];
    row.tabIndex = 0;
    if (index === this.chosen) row.setAttribute("aria-current", "true");
    for (const column of this.columns.filter((one) => one.shown)) {
      const cell = row.insertCell();
      if (column.decimals !== null) cell.className = "number";
      if (column.name === "status") cell.append(swatch(column.values[index]));
      cell.append(this.text(column, index));
    }
    return row;
  }

  // The same as Column.text in rows.py.
  text(column, index) {
    const value = column.name === "reviewed" ? this.decisions.of(this.ids[index]) : column.values[index];
    if (value === null || value === undefined) return "-";
    if (column.decimals !== null) return value.toFixed(column.decimals);
    return column.name === "id" ? this.shortId(value) : value;
  }

  shortId(id) {
    const parts = id.split("_");
    const isUsual = parts.length === 5 && parts[2] in this.data.colours && /^\d+$/.test(parts[3]);
    return isUsual ? parts.slice(3).join(" ") : id;
  }

  // --- the chosen one --------------------------------------------------------------------------

  choose(index) {
    this.chosen = index;
    const place = this.order.indexOf(index);
    const page = Math.floor(place / this.data.rows);
    if (place >= 0 && page !== this.page) {
      this.page = page;
      this.show();
    }
    for (const row of this.table.tBodies[0].rows) {
      const isChosen = row.dataset.landslideId === this.ids[index];
      row.toggleAttribute("aria-current", false);
      if (!isChosen) continue;
      row.setAttribute("aria-current", "true");
      const scroller = this.table.parentElement;
      const top = row.offsetTop - scroller.scrollTop;
      if (top < 40 || top > scroller.clientHeight - 60) scroller.scrollTop = row.offsetTop - 80;
    }
    this.onChoose(index);
  }

  step(by) {
    const place = this.order.indexOf(this.chosen);
    const next = place < 0 ? (by > 0 ? 0 : this.order.length - 1) : place + by;
    if (next >= 0 && next < this.order.length) this.choose(this.order[next]);
  }

  // The decision about an object has changed: its row says so, and stays where it is.
  refresh(index) {
    for (const row of this.table.tBodies[0].rows) {
      if (row.dataset.landslideId === this.ids[index]) row.replaceWith(this.row(index));
    }
  }

  listen() {
    this.table.tHead.addEventListener("click", (event) => {
      const head = event.target.closest("th");
      if (head) this.sort(head.dataset.column);
    });
    const body = this.table.tBodies[0];
    const index = (event) => this.ids.indexOf(event.target.closest("tr")?.dataset.landslideId);
    body.addEventListener("click", (event) => {
      if (index(event) >= 0) this.choose(index(event));
    });
    body.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && index(event) >= 0) this.choose(index(event));
    });
    document.getElementById("page-back").addEventListener("click", () => this.turn(-1));
    document.getElementById("page-on").addEventListener("click", () => this.turn(1));
  }

  turn(by) {
    this.page += by;
    this.show();
    this.table.parentElement.scrollTop = 0;
  }
}

function valuesOf(column) {
  return column.values ?? column.places.map((place) => column.words[place]);
}

function swatch(status) {
  const mark = document.createElement("i");
  mark.className = `swatch status-${status}`;
  return mark;
}
