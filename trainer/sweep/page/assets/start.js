/* Controls, and what is drawn anew when something changes. */
function options(select, names, chosen) {
  select.append(...names.map((name) => element("option", {value: name, textContent: label(name), selected: name === chosen})));
}

const ofJobs = [drawCurves, drawAgainst, drawFront, drawParallel];
const ofAll = [...ofJobs, drawPanels, drawImportance, drawLineage, drawMembers];
let waiting = [], isDrawing = false;

/* One plot after the other, so that the page answers between two of them. */
function drawInTurn(drawings) {
  waiting = [...new Set([...drawings, ...waiting])];
  document.documentElement.dataset.ready = "no";
  if (!isDrawing) drawNext();
}

function drawNext() {
  const drawing = waiting.shift();
  isDrawing = drawing !== undefined;
  if (isDrawing) {
    drawing();
    setTimeout(drawNext);
  } else {
    document.documentElement.dataset.ready = "yes";
  }
}

function on(id, event, listener) {
  const target = document.getElementById(id);
  if (target) target.addEventListener(event, listener);
}

function connect() {
  const metric = document.getElementById("metric"), curve = document.getElementById("curve");
  if (metric) options(metric, content.metrics, state.metric);
  if (curve) {
    options(curve, content.curves.names, state.metric);
    suggestLogarithm();
  }
  on("metric", "change", () => chooseMetric(metric.value));
  on("clear", "click", () => select([]));
  on("curve", "change", () => (suggestLogarithm(), drawCurves()));
  for (const id of ["log-x", "log-y"]) on(id, "change", drawCurves);
  on("log-panels", "change", drawPanels);
  on("parallel-plot", "keydown", (event) => event.key === "Escape" && select([]));
}

whenChanged((what) => {
  if (what === "metric") {
    renewScores();
    const curve = document.getElementById("curve");
    curve.value = state.metric;
    suggestLogarithm();
  }
  if (content.kind !== "run") renewSelection();
  drawInTurn(what === "colours" ? ofAll : ofJobs);
});

function printAs(isPaper) {
  isPrinting = isPaper;
  for (const drawing of ofAll) drawing();
}

connect();
drawInTurn(ofAll);
darkness.addEventListener("change", () => changed("colours"));
addEventListener("beforeprint", () => printAs(true));
addEventListener("afterprint", () => printAs(false));
