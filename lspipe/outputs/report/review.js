// What a person decides: kept by the browser under the name of the run, and given out as GeoJSON.

class Decisions {
  constructor(run, inList) {
    this.key = `lspipe decisions: ${run}`;
    this.inList = inList; // id -> what the list says already
    this.made = new Map(Object.entries(this.read()));
    this.isKept = true;
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  }

  of(id) {
    return this.made.get(id)?.answer ?? this.inList.get(id) ?? null;
  }

  decide(id, answer) {
    if (answer) this.made.set(id, { answer, when: new Date().toISOString() });
    else this.made.delete(id);
    try {
      localStorage.setItem(this.key, JSON.stringify(Object.fromEntries(this.made)));
      this.isKept = true;
    } catch {
      this.isKept = false; // storage is full, or this browser keeps none
    }
  }

  // Those about objects of this list; others were made about an earlier list of the run.
  ofList() {
    return [...this.made].filter(([id]) => this.inList.has(id));
  }

  geojson(featureOf) {
    const features = this.ofList().map(([id, { answer, when }]) => featureOf(id, { reviewed: answer, when }));
    return JSON.stringify({ type: "FeatureCollection", features }, null, 1);
  }
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/geo+json" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}
