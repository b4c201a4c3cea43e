// What a report does in the browser: it draws charts as they come into view, looks into cells, saves, sorts, filters.
// All names from results reach the document as text.
const report = JSON.parse(document.getElementById("report").textContent);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// Charts ------------------------------------------------------------------------------------------------------------

/** A chart's data: its own columns, or one metric of some runs, which all charts share; "nan" and "inf" are text. */
function rows(chart) {
  if (chart.columns) {
    const names = Object.keys(chart.columns);
    return chart.columns[names[0]].map((_, i) => Object.fromEntries(names.map(name => [name, chart.columns[name][i]])));
  }
  return chart.runs.flatMap(number => {
    const { rule, attack, seed, series } = report.runs[number];
    const points = (series[chart.metric] ?? []).map((value, i) => [series.round[i], value]);
    return points.filter(([, value]) => value !== null)
      .map(([round, value]) => ({ _run: number, rule, attack, seed, round, value }));
  });
}

/** The same as it is drawn: a gap where what was measured is not finite, or too large for an axis. */
function drawn(chart) {
  const gap = value => (typeof value === "number" && Math.abs(value) <= report.largest ? value : null);
  const known = ([name, value]) => [name, report.measured.includes(name) ? gap(value) : value];
  return rows(chart).map(row => Object.fromEntries(Object.entries(row).map(known)));
}

const embed = (place, spec) => vegaEmbed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, ast: true });

/** A drawing without its legends, which the page has as text. */
const bare = spec => JSON.parse(JSON.stringify(spec), (key, value) => (key === "legend" ? null : value));

/** What a screen reader says of a chart. */
const described = chart => ({ description: `${chart.title}; ${chart.about}` });

/** Draw a chart in the page: as wide as its place, in the page's ink. */
function draw(place, chart) {
  const spec = report.specs[chart.spec];
  const fit = { width: "container", autosize: { type: "fit-x", contains: "padding" } };
  const data = { values: drawn(chart) };
  return embed(place, { ...(chart.metric ? bare(spec) : spec), ...fit, ...described(chart), data, config: report.page });
}

function drawOnce(place) {
  seen.unobserve(place);
  if (!place.dataset.drawn) {
    place.dataset.drawn = "yes";
    draw(place, report.charts[place.id]);
  }
}

const seen = new IntersectionObserver(
  entries => entries.filter(entry => entry.isIntersecting).forEach(entry => drawOnce(entry.target)),
  { rootMargin: "300px" },
);
all(".chart[id]").forEach(place => seen.observe(place));

// Saving ------------------------------------------------------------------------------------------------------------

const quoted = value => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

/** A chart's data with one row a point; columns that only serve the drawing begin with an underscore. */
function csv(chart) {
  const found = rows(chart);
  const names = (chart.columns ? Object.keys(chart.columns) : ["rule", "attack", "seed", "round", "value"])
    .filter(name => !name.startsWith("_"));
  const head = names.map(name => (name === "value" && chart.metric ? chart.metric : name));
  const lines = [head, ...found.map(row => names.map(name => row[name] ?? ""))];
  return lines.map(line => line.map(value => quoted(String(value))).join(",") + "\n").join("");
}

/** The chart as a file holds it: with title and legend, dark on white. */
async function image(chart, kind) {
  const title = { text: chart.title, subtitle: chart.about, anchor: "start", frame: "group" };
  const data = { values: drawn(chart) };
  const spec = { width: report.width, ...report.specs[chart.spec], ...described(chart), title, data };
  const { view } = await embed(document.createElement("div"), { ...spec, config: report.paper });
  const made = kind === "png" ? await view.toImageURL("png", 2) : await view.toSVG();
  view.finalize();
  return made;
}

async function save(chart, kind) {
  const blob = (text, type) => URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  if (kind === "csv") link.href = blob(csv(chart), "text/csv");
  else link.href = kind === "png" ? await image(chart, kind) : blob(await image(chart, kind), "image/svg+xml");
  link.download = `${chart.file}.${kind}`;
  link.click();
}

/** Say of each button of a figure which chart it saves. */
function label(figure, chart) {
  for (const button of all("[data-save]", figure)) {
    button.ariaLabel = button.title = `Save ${chart.title} as ${button.textContent}`;
  }
}
all("figure[data-chart]").forEach(figure => label(figure, report.charts[figure.dataset.chart]));

document.addEventListener("click", event => {
  const button = event.target.closest("[data-save]");
  const chart = button && (button.closest("figure").chart ?? report.charts[button.closest("figure").dataset.chart]);
  if (chart) save(chart, button.dataset.save);
});

// Looking into a cell of the heat map -------------------------------------------------------------------------------

const figure = document.getElementById("figure");

function look(button) {
  const section = button.closest("section");
  const place = section.querySelector(".look");
  const runs = button.dataset.runs.split(",").map(Number);
  const { rule, attack } = report.runs[runs[0]];
  const title = attack === "no attack" ? `${rule} without attack` : `${rule} under ${attack}`;
  const seeds = [...new Set(runs.map(number => report.runs[number].seed))];
  const flags = [...new Set(runs.flatMap(number => report.runs[number].flags ?? []))];
  place.hidden = false;
  place.querySelector("h4").textContent = title;
  place.querySelector(".runs").textContent = `${seeds.length === 1 ? "Seed" : "Seeds"} ${seeds.join(", ")}`;
  place.querySelector(".flags").textContent = flags.join("; ");
  const measured = metric => runs.some(number => metric in report.runs[number].series);
  const panels = report.details[section.id].filter(detail => measured(detail.metric)).map(detail => {
    const made = figure.content.firstElementChild.cloneNode(true);
    const file = `${section.id}-${detail.metric}-${title}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/-$/, "");
    made.chart = { ...detail, runs, title: `${detail.title}, ${title}`, about: detail.about, file };
    made.querySelector("figcaption span").textContent = detail.title;
    label(made, made.chart);
    return made;
  });
  place.querySelector(".panels").replaceChildren(...panels);
  panels.forEach(made => draw(made.querySelector(".chart"), made.chart));
  all("[aria-pressed]", section).forEach(other => other.setAttribute("aria-pressed", other === button));
  place.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function leave(section) {
  section.querySelector(".look").hidden = true;
  const pressed = section.querySelector("[aria-pressed=true]");
  pressed?.setAttribute("aria-pressed", false);
  pressed?.focus({ preventScroll: true });
}

document.addEventListener("click", event => {
  const button = event.target.closest(".heat button");
  if (button?.getAttribute("aria-pressed") === "false") look(button);
  else if (button || event.target.closest(".close")) leave(event.target.closest("section"));
});
document.addEventListener("keydown", event => {
  const section = event.key === "Escape" && event.target.closest("section");
  if (section && section.querySelector(".look:not([hidden])")) leave(section);
});

// Tables that sort and filter ---------------------------------------------------------------------------------------

const collator = new Intl.Collator("en", { numeric: true });

/** Numbers by size with those that are missing last, all else as text. */
function sort(head) {
  const body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") !== "ascending";
  const number = row => Number.parseFloat(row.cells[head.cellIndex].dataset.value.replace("inf", "Infinity"));
  const text = row => row.cells[head.cellIndex].textContent;
  const order = head.classList.contains("number")
    ? (a, b) => (up ? 1 : -1) * (number(a) - number(b)) || Number.isNaN(number(a)) - Number.isNaN(number(b))
    : (a, b) => (up ? 1 : -1) * collator.compare(text(a), text(b));
  all("th[aria-sort]", head.parentElement).forEach(other => other.setAttribute("aria-sort", "none"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  body.append(...[...body.rows].sort(order));
}

function filter(input) {
  const table = input.closest("section").querySelector("table");
  const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
  const lines = [...table.tBodies[0].rows];
  for (const row of lines) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  const shown = lines.filter(row => !row.hidden).length;
  input.closest("section").querySelector("output").textContent = words.length ? `${shown} of ${lines.length}` : "";
}

all("th[aria-sort] button").forEach(button => button.addEventListener("click", () => sort(button.closest("th"))));
all("input[type=search]").forEach(input => input.addEventListener("input", () => filter(input)));

// What an address names is opened ------------------------------------------------------------------------------------

function reveal() {
  const named = document.getElementById(location.hash.slice(1));
  const part = named?.closest("details:not([open])");
  if (part) {
    part.open = true;
    named.scrollIntoView();
  }
}
addEventListener("hashchange", reveal);
reveal();

// Paper holds everything --------------------------------------------------------------------------------------------

addEventListener("beforeprint", () => {
  all("details:not([open])").forEach(part => (part.open = part.dataset.opened = true));
  all(".chart[id]").forEach(drawOnce);
});
addEventListener("afterprint", () => {
  all("details[data-opened]").forEach(part => {
    part.open = false;
    delete part.dataset.opened;
  });
});
