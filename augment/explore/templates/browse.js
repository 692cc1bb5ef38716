"use strict";
// The images lie in the page as text, a block per class. A block is unpacked when its class comes near the window, and
// only the images that are shown become elements: a page of very many images opens as quickly as one of few.

const PAGE = 48;  // images of a class that are shown at first, and more at each click
const FEW_PIXELS = 64;  // smaller images are enlarged without smoothing

const byId = (id) => document.getElementById(id);
const contents = JSON.parse(byId("contents").textContent);
const [main, dialog, go, sort, order] = [document.querySelector("main"), document.querySelector("dialog"),
  byId("go"), byId("sort"), byId("order")];
const classes = new Map(contents.classes.map((summary) => [summary.label, { summary, limit: PAGE }]));
const measured = { distance: contents.classes.some((c) => c.distance !== null),
  recognised: contents.classes.some((c) => c.recognised !== null) };
document.body.classList.toggle("few-pixels", contents.resolution <= FEW_PIXELS);

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const distance = (value) => value.toPrecision(3);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

// Every text goes in as text, never as HTML: the names of classes and files are data.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name === "style") made.style.cssText = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

function picture(base64, alt, missing = "") {
  if (base64 === null) return element("span", { class: "gone" }, missing);
  return element("img", { src: `data:image/webp;base64,${base64}`, alt });
}

// --- Sorting -----------------------------------------------------------------------------------------------------

const SORTS = [
  ["index", "number", () => true],
  ["worst", "recognition, worst first", () => measured.recognised],
  ["best", "recognition, best first", () => measured.recognised],
  ["near", "distance to the nearest real image, smallest first", () => measured.distance],
  ["far", "distance to the nearest real image, largest first", () => measured.distance],
];
const ORDERS = [
  ["label", "number", () => true],
  ["name", "name", () => true],
  ["worst", "recognition, worst first", () => measured.recognised],
  ["near", "median distance, smallest first", () => measured.distance],
];

function sorted(images) {
  const rows = images.index.map((_, row) => row);
  const [values, sign] = { index: [images.index, 1], worst: [images.probability, 1], best: [images.probability, -1],
    near: [images.distance, 1], far: [images.distance, -1] }[sort.value];
  return values.length ? rows.sort((a, b) => sign * (values[a] - values[b]) || a - b) : rows;
}

function orderedClasses() {
  const rank = { label: (c) => c.label, name: () => 0, worst: (c) => c.recognised ?? 2, near: (c) => c.distance ?? Infinity };
  return [...contents.classes].sort((a, b) => order.value === "name"
    ? a.name.localeCompare(b.name) : rank[order.value](a) - rank[order.value](b) || a.label - b.label);
}

function fill(select, choices) {
  select.replaceChildren(...choices.filter(([, , possible]) => possible())
    .map(([value, text]) => element("option", { value }, text)));
}

// --- Classes -----------------------------------------------------------------------------------------------------

function unpack(known) {
  known.images ??= JSON.parse(byId(`class-${known.summary.label}`).textContent);
  return known.images;
}

function caption(images, row) {
  if (images.seen_as.length && images.seen_as[row] !== images.label) {
    return element("span", { class: "wrong" }, `seen as ${contents.names[images.seen_as[row]]}`);
  }
  if (["near", "far"].includes(sort.value)) return element("span", {}, distance(images.distance[row]));
  if (["worst", "best"].includes(sort.value)) return element("span", {}, percent(images.probability[row]));
  return element("span", {}, `${images.index[row]}`);
}

function realTile(number) {
  const real = contents.real[number];
  return element("button", { type: "button", class: "tile", "data-real": number, title: real.name,
    "aria-label": `Real image ${real.name}`, onclick: () => openReal(number) },
    picture(real.image, "", real.missing));
}

function syntheticTile(known, row, position) {
  const images = known.images;
  return element("button", { type: "button", class: "tile", "data-row": row,
    "aria-label": `Synthetic image ${images.index[row]} of ${images.name}`, onclick: () => openSynthetic(known, position) },
    picture(images.image[row], ""), caption(images, row));
}

function showImages(known) {
  const shown = known.rows.slice(0, known.limit);
  known.tiles.replaceChildren(...shown.map((row, position) => syntheticTile(known, row, position)));
  const left = known.rows.length - shown.length;
  known.more.hidden = left <= 0;
  known.more.textContent = `Show ${Math.min(PAGE, left)} more (${left.toLocaleString("en")} left)`;
}

function showMore(known) {
  const first = known.limit;
  known.limit += PAGE;
  showImages(known);
  known.tiles.children[first]?.focus();
}

function build(known) {
  if (known.built) return;
  known.built = true;
  const images = unpack(known);
  known.rows = sorted(images);
  known.tiles = element("div", { class: "tiles" });
  known.more = element("button", { type: "button", class: "more", onclick: () => showMore(known) });
  const mine = contents.real.flatMap((real, number) => (real.label === images.label ? [number] : []));
  known.section.append(element("div", { class: "both" },
    element("div", { class: "of-real" }, element("h3", {}, `Real (${mine.length})`),
      element("div", { class: "tiles" }, ...mine.map(realTile))),
    element("div", {}, element("h3", {}, `Synthetic (${images.index.length.toLocaleString("en")})`), known.tiles, known.more)));
  showImages(known);
}

const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) if (entry.isIntersecting) build(classes.get(Number(entry.target.dataset.label)));
}, { rootMargin: "800px 0px" });

function heading(summary) {
  const facts = [];
  if (summary.recognised !== null) facts.push(`${percent(summary.recognised)} recognised as this class`);
  if (summary.distance !== null) facts.push(`median distance to the nearest real image ${distance(summary.distance)}`);
  return element("header", {}, element("h2", {}, summary.name), element("p", { class: "meta" }, facts.join(" · ")));
}

function arrange() {
  observer.disconnect();
  const sections = orderedClasses().map((summary) => {
    const known = classes.get(summary.label);
    known.section ??= element("section", { "data-label": summary.label, tabindex: "-1" }, heading(summary));
    return known.section;
  });
  main.replaceChildren(...sections);
  sections.forEach((section) => observer.observe(section));
  go.replaceChildren(...orderedClasses().map((c) => element("option", { value: c.label }, c.name)));
}

function jump(label) {
  const known = classes.get(label);
  const sections = [...main.children];
  const at = sections.indexOf(known.section);
  // Those just above it too: built later, they would push it out of sight.
  for (const section of sections.slice(Math.max(0, at - 5), at + 1)) build(classes.get(Number(section.dataset.label)));
  known.section.scrollIntoView();
  known.section.focus({ preventScroll: true });
}

function resort() {
  for (const known of classes.values()) {
    if (!known.built) continue;
    known.rows = sorted(known.images);
    known.limit = PAGE;
    showImages(known);
  }
}

// --- One image ---------------------------------------------------------------------------------------------------

let step = () => {};

function show(title, position, count, move, ...columns) {
  byId("title").textContent = title;
  byId("previous").disabled = position === 0;
  byId("next").disabled = position === count - 1;
  step = (by) => { if (position + by >= 0 && position + by < count) move(position + by); };
  byId("detail").replaceChildren(...columns);
  if (!dialog.open) dialog.showModal();
}

function facts(pairs) {
  return element("dl", {}, ...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, `${value}`)]));
}

function source(number, head, share = null) {
  const real = contents.real[number];
  const bar = share === null ? [] : [element("div", { class: "weight" }, element("i", { style: `width: ${100 * share}%` }))];
  return element("div", { class: "source" }, picture(real.image, `Real image ${real.name}`, real.missing),
    element("div", {}, element("b", {}, head), ...bar, element("small", {}, real.name)));
}

function openSynthetic(known, position) {
  const images = known.images;
  const row = known.rows[position];
  const name = `${String(images.label).padStart(4, "0")}_${String(images.index[row]).padStart(6, "0")}`;
  const about = [["Name in the shards", name]];
  if (images.seen_as.length) {
    about.push(["Seen as", contents.names[images.seen_as[row]]],
      [`Probability of ${images.name}`, percent(images.probability[row])]);
  }
  about.push(...Object.entries(images.record[row]));
  const made = images.sources[row].map((number, n) => [number, images.weights[row][n]]).sort((a, b) => b[1] - a[1]);
  const right = element("div", { class: "made" }, element("h3", {}, made.length
    ? `Made from ${plural(made.length, "real image")}` : "Made from noise and the prompt alone"),
    ...made.map(([number, weight]) => source(number, percent(weight), weight)));
  if (images.distance.length) {
    const nearest = contents.names[contents.real[images.nearest[row]].label];
    right.append(element("h3", {}, "Nearest real image"),
      source(images.nearest[row], `${nearest}, distance ${distance(images.distance[row])}`));
  }
  show(`${images.name}, synthetic image ${images.index[row]}`, position, known.rows.length, (to) => openSynthetic(known, to),
    element("div", {}, picture(images.image[row], `Synthetic image ${images.index[row]} of ${images.name}`), facts(about)), right);
}

function openReal(number) {
  const real = contents.real[number];
  const mine = contents.real.flatMap((other, n) => (other.label === real.label ? [n] : []));
  const images = unpack(classes.get(real.label) ?? { images: { sources: [] } });
  const used = images.sources.filter((sources) => sources.includes(number)).length;
  const missing = real.image === null ? [["On this page", `no: ${real.missing}`]] : [];
  show(`${contents.names[real.label]}, real image`, mine.indexOf(number), mine.length, (to) => openReal(mine[to]),
    element("div", {}, picture(real.image, `Real image ${real.name}`, real.missing)),
    element("div", {}, facts([["Name", real.name], ["Source of", `${used} of ${plural(images.sources.length, "synthetic image")}`],
      ...missing])));
}

byId("previous").addEventListener("click", () => step(-1));
byId("next").addEventListener("click", () => step(1));
byId("close").addEventListener("click", () => dialog.close());
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
});
go.addEventListener("change", () => jump(Number(go.value)));
sort.addEventListener("change", resort);
order.addEventListener("change", arrange);
byId("tools").addEventListener("submit", (event) => event.preventDefault());

fill(sort, SORTS);
fill(order, ORDERS);
arrange();
