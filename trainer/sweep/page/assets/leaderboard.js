/* The tables: all jobs, settings over their seeds, what failed. */
const tableColumns = makeColumns();
let sorting = {key: "score", descending: content.modes[content.metric] === "max"};
let rows = [];

function makeColumns() {
  const made = [{key: "job", text: content.kind === "comparison" ? "run" : "job", of: (job) => jobs[job].number ?? jobs[job].name, show: (job) => jobName(job), number: jobs.some((job) => job.number !== null)}];
  varied.forEach((column, place) =>
    made.push({key: column.key, text: column.label, title: column.key, of: (job) => jobs[job].values[place], show: (job) => plain(jobs[job].values[place]), number: column.numeric}));
  made.push({key: "score", text: "", of: (job) => score(job), show: (job) => shown(state.metric, score(job)), number: true, isScore: true});
  for (const name of content.metrics.filter((name) => name.startsWith("validation/") && name !== content.metric))
    made.push({key: name, text: label(name), of: (job) => score(job, name), show: (job) => shown(name, score(job, name)), number: true});
  for (const name of content.tests)
    made.push({key: "test/" + name, text: "test " + label(name), of: (job) => jobs[job].test[name] ?? null, show: (job) => shown(name, jobs[job].test[name]), number: true});
  made.push({key: "status", text: "status", of: (job) => jobs[job].status, show: (job) => jobs[job].status.replace(/_/g, " ")});
  made.push({key: "epoch", text: "best epoch", of: (job) => jobs[job].epoch, show: (job) => plain(jobs[job].epoch), number: true});
  made.push({key: "epochs", text: "epochs", of: (job) => jobs[job].epochs, show: (job) => plain(jobs[job].epochs), number: true});
  made.push({key: "seconds", text: "time", of: (job) => jobs[job].seconds, show: (job) => duration(jobs[job].seconds), number: true});
  return made;
}

function compare(a, b) {
  const known = (value) => value !== null && value !== undefined && value !== "";
  if (!known(a) || !known(b)) return Number(known(b)) - Number(known(a));
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", {numeric: true});
  return sorting.descending ? -order : order;
}

function sortRows() {
  const column = tableColumns.find((each) => each.key === sorting.key);
  rows.sort((one, other) => compare(column.of(one.job), column.of(other.job)) || one.job - other.job);
  document.querySelector("#leaderboard tbody").append(...rows.map((row) => row.line));
  for (const heading of document.querySelectorAll("#leaderboard th[data-key]")) {
    const direction = sorting.descending ? "descending" : "ascending";
    heading.setAttribute("aria-sort", heading.dataset.key === sorting.key ? direction : "none");
  }
}

function makeHeading(column) {
  const button = element("button", {type: "button", textContent: column.text, title: column.title || ""});
  const heading = element("th", {scope: "col", className: column.number ? "number" : ""}, button);
  heading.dataset.key = column.key;
  button.addEventListener("click", () => {
    const best = column.isScore && content.modes[state.metric] === "max";
    sorting = {key: column.key, descending: sorting.key === column.key ? !sorting.descending : best};
    sortRows();
  });
  return heading;
}

function makeRow(job) {
  const box = element("input", {type: "checkbox"});
  box.setAttribute("aria-label", `Select job ${jobName(job)}`);
  box.addEventListener("change", () => toggle(job));
  const cells = tableColumns.map((column) => {
    const cell = element("td", {className: column.number ? "number" : "", textContent: column.show(job)});
    if (column.key === "status") cell.classList.add(jobs[job].status);
    return cell;
  });
  const line = element("tr", {}, element("td", {}, box, element("span", {className: "swatch"})), ...cells, element("td", {className: "command-cell"}, copyButton(job)));
  line.dataset.job = job;
  line.title = jobs[job].error || "";
  return {job, line, box, cells, text: cells.map((cell) => cell.textContent).join(" ").toLowerCase() + " " + jobs[job].name.toLowerCase()};
}

function makeLeaderboard() {
  const headings = [element("th", {scope: "col", textContent: ""}), ...tableColumns.map(makeHeading), element("th", {scope: "col", className: "command-cell", textContent: "command"})];
  rows = jobs.map((_, job) => makeRow(job));
  document.getElementById("leaderboard").append(element("thead", {}, element("tr", {}, ...headings)), element("tbody"));
  document.getElementById("filter").addEventListener("input", filterRows);
  renewScores();
  renewSelection();
  filterRows();
}

function renewScores() {
  const place = tableColumns.findIndex((column) => column.isScore);
  document.querySelector('#leaderboard th[data-key="score"] button').textContent = label(state.metric);
  for (const row of rows) row.cells[place].textContent = tableColumns[place].show(row.job);
  if (sorting.key === "score") sorting.descending = content.modes[state.metric] === "max";
  sortRows();
}

function renewSelection() {
  for (const row of rows) {
    const isSelected = state.selected.includes(row.job);
    row.box.checked = isSelected;
    row.line.classList.toggle("chosen", isSelected);
    row.line.style.setProperty("--swatch", colourOf(row.job) || "transparent");
  }
  const count = state.selected.length;
  document.getElementById("clear").hidden = !count;
  document.getElementById("chosen").textContent = count ? `${count} selected` : jobs.length > MOST_HIGHLIGHTED ? `The best ${MOST_HIGHLIGHTED} are in colour` : "";
}

function filterRows() {
  const words = document.getElementById("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of rows) {
    const fits = words.every((word) => row.text.includes(word));
    row.line.hidden = !fits;
    count += fits;
  }
  document.getElementById("shown").textContent = words.length ? `${count} of ${jobs.length}` : "";
}

function fillTable(id, headings, lines) {
  const head = headings.map(([text, isNumber]) => element("th", {scope: "col", className: isNumber ? "number" : "", textContent: text}));
  const body = lines.map((cells) => element("tr", {}, ...cells.map((cell, place) => (cell instanceof Node ? cell : element("td", {className: headings[place] && headings[place][1] ? "number" : "", textContent: cell})))));
  const table = document.getElementById(id);
  if (head.some((cell) => cell.textContent)) table.append(element("thead", {}, element("tr", {}, ...head)));
  table.append(element("tbody", {}, ...body));
}

function fillHeader() {
  const {what, by, of, told, job} = content.headline;
  document.getElementById("where").textContent = content.title;
  const heading = document.getElementById("what");
  heading.textContent = what[0].toUpperCase() + what.slice(1) + " ";
  if (by && content.kind !== "run") heading.append(element("small", {textContent: by}));
  for (const [name, value] of of)
    document.getElementById("of").append(element("div", {}, element("dt", {textContent: name}), element("dd", {textContent: value})));
  for (const sentence of told) document.getElementById("told").append(element("p", {textContent: sentence}));
  if (job !== undefined)
    document.getElementById("best-command").append(element("code", {textContent: jobs[job].command}), copyButton(job));
}

function fillTables() {
  const places = content.keys.map((column) => [column.label, column.numeric]);
  fillTable("group-table", [...places, ["seeds", true], ["mean", true], ["spread", true], ["least", true], ["greatest", true]],
    content.groups.map((group) => [...content.keys.map((_, place) => plain(jobs[group.job].values[place])), String(group.seeds), ...group.numbers.map((number) => shown(content.metric, number))]));
  const broken = jobs.map((_, job) => job).filter((job) => jobs[job].error);
  fillTable("failure-table", [["job"], ["what was varied"], ["status"], ["reason"]],
    broken.map((job) => [jobName(job), element("td", {className: "wide", textContent: settingsOf(job)}), element("td", {className: jobs[job].status, textContent: jobs[job].status}), element("td", {className: "wide", textContent: jobs[job].error})]));
  if (content.front !== null) {
    const {names, labels, values, jobs: best} = content.front, known = values.filter((each) => each !== null).length;
    document.getElementById("front-note").textContent = `${best.length} of ${known} jobs: no other is as good in all objectives and better in one. Click a point to select its job.`;
    fillTable("front-table", [["job", true], ...labels.map((text) => [text, true]), ...varied.map((column) => [column.label, column.numeric])],
      best.map((job) => [jobName(job), ...names.map((name, at) => shown(name, values[job][at])), ...varied.map((_, place) => plain(jobs[job].values[place]))]));
  }
  if (content.kind === "comparison")
    fillTable("difference-table", [["key"], ...jobs.map((_, job) => [jobName(job)])], columns.map((column, place) => [column.key, ...jobs.map(({values}) => plain(values[place]))]));
  if (content.kind !== "run") return;
  fillTable("summary-table", [["", false], ["", false]], content.summary);
  document.getElementById("configuration-text").textContent = content.configuration;
}

function dropWhatIsEmpty() {
  const isRun = content.kind === "run", has = content.metrics.length > 0;
  const many = has && content.population === null && (content.kind === "sweep" || (!isRun && jobs.length >= FEWEST_TO_PLOT));
  const wanted = {
    jobs: !isRun, bar: !isRun && has, curves: !isRun && has, panels: isRun && has, groups: content.groups.length > 0,
    against: many && content.keys.length > 0, parallel: many && columns.length > 0, differences: content.kind === "comparison" && columns.length > 0, importance: content.importance !== null,
    population: content.population !== null, front: content.front !== null, failures: !isRun && jobs.some((job) => job.error), summary: isRun, configuration: isRun,
  };
  for (const [id, isWanted] of Object.entries(wanted)) if (!isWanted) document.getElementById(id).remove();
}

fillHeader();
fillTables();
if (content.kind !== "run") makeLeaderboard();
dropWhatIsEmpty();
