/* Learning curves: of all jobs in one plot, or of one run in a panel a metric. */
function linesOf(name) {
  const lines = [];
  content.curves.jobs.forEach(({x, lines: own}, job) => {
    if (own[name]) lines.push({job, x, y: own[name]});
  });
  return lines;
}

function drawCurves() {
  const target = document.getElementById("curve-plot");
  if (!target) return;
  const name = document.getElementById("curve").value, colours = theme();
  const lines = linesOf(name), strong = highlighted(), isNarrow = target.clientWidth < NARROW;
  const others = lines.filter(({job}) => !strong.includes(job));
  const areShort = lines.every(({x}) => x.length <= 2);
  const mode = areShort ? "lines+markers" : "lines";
  const traces = [joined(others, name, {mode, line: {width: 1, color: faded(colours.mute, others.length > 200 ? 0.45 : 0.8)}, showlegend: false})];
  for (const job of [...strong].reverse()) {
    const line = lines.find((each) => each.job === job);
    if (!line) continue;
    const style = {mode: line.x.length <= 40 ? "lines+markers" : "lines", line: {width: 2.2, color: colourOf(job)}, marker: {size: 4.5}};
    traces.push({...joined([line], name, style), name: legendName(job, isNarrow), meta: job, showlegend: true});
  }
  draw(target, traces, {
    xaxis: axis(content.curves.over, {type: document.getElementById("log-x").checked ? "log" : "linear"}),
    yaxis: metricAxis(name, document.getElementById("log-y").checked),
    showlegend: true,
    legend: isNarrow ? {orientation: "h", y: 1.02, yanchor: "bottom", traceorder: "reversed"} : {x: 1.01, y: 1, traceorder: "reversed"},
  });
}

/* Amounts that span decades show more on a logarithmic axis. */
function suggestLogarithm() {
  const name = document.getElementById("curve").value;
  document.getElementById("log-y").checked = !isFraction(name) && isWide(linesOf(name).flatMap(({y}) => y.filter((value) => value !== null)));
}

function panelsOfRun() {
  const panels = new Map();
  for (const name of content.curves.names) {
    const isMetric = !name.startsWith("hyperparameter/");
    const title = isMetric ? name.split("/").pop() : name;
    if (!panels.has(title)) panels.set(title, []);
    panels.get(title).push(name);
  }
  return panels;
}

function drawPanels() {
  const grid = document.getElementById("panel-plots");
  if (!grid) return;
  const panels = panelsOfRun(), [{x, lines}] = content.curves.jobs;
  while (grid.children.length < panels.size) grid.append(element("div", {className: "plot"}));
  [...panels].forEach(([title, names], place) => {
    const known = names.filter((name) => lines[name]);
    const traces = known.map((name, at) => ({
      type: "scatter", mode: x.length <= 40 ? "lines+markers" : "lines", x, y: lines[name], name: safe(name.split("/").slice(0, -1).join(" ") || label(name)),
      line: {width: 2, color: colour(at + 2 * title.startsWith("hyperparameter/"))}, marker: {size: 4.5},
      hovertemplate: `%{x}: %{y:${hoverFormat(name)}}<extra>${safe(label(name))}</extra>`,
    }));
    const values = known.flatMap((name) => lines[name]);
    const isLogarithmic = title.endsWith("loss") ? document.getElementById("log-panels").checked : title.startsWith("hyperparameter/") && isWide(values);
    draw(grid.children[place], traces, {
      xaxis: axis(content.curves.over), yaxis: metricAxis(title, isLogarithmic),
      showlegend: known.length > 1, legend: {orientation: "h", y: 1.02, yanchor: "bottom"}, margin: {l: 56, r: 12, t: 30, b: 44},
      shapes: bestLine(),
    });
  });
}

function bestLine() {
  const epoch = jobs[0].epoch;
  if (epoch === null || content.curves.over !== "epoch") return [];
  return [{type: "line", x0: epoch, x1: epoch, y0: 0, y1: 1, yref: "paper", line: {color: theme().mute, width: 1, dash: "dash"}}];
}
