/* What the varied hyperparameters do to the metric. */
const MOST_AXES = 12;

function scored() {
  return jobs.map((_, job) => job).filter((job) => score(job) !== null);
}

function middle(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function drawAgainst() {
  const grid = document.getElementById("against-plots");
  if (!grid) return;
  while (grid.children.length < content.keys.length) grid.append(element("div", {className: "plot"}));
  const known = scored();
  const isLogarithmic = !isFraction(state.metric) && isWide(known.map((job) => score(job)));
  content.keys.forEach((column, place) => {
    const value = (job) => (column.numeric ? jobs[job].values[place] : safe(shortened(plain(jobs[job].values[place]), 24)));
    draw(grid.children[place], pointsAgainst(known, value), {
      xaxis: axis(column.label, column.numeric ? {type: column.log ? "log" : "linear"} : {type: "category", categoryorder: "array", categoryarray: levelsOf(known.map(value))}),
      yaxis: metricAxis(state.metric, isLogarithmic),
    });
  });
}

function pointsAgainst(known, value) {
  const colours = theme(), strong = highlighted().filter((job) => score(job) !== null);
  const points = (some, marker) => ({
    type: "scatter", mode: "markers", x: some.map(value), y: some.map((job) => score(job)), customdata: some, text: some.map(hoverName), marker,
    hovertemplate: `%{text}<br>${safe(label(state.metric))} %{y:${hoverFormat(state.metric)}}<extra></extra>`,
  });
  const alike = new Map();
  for (const job of known) {
    if (!alike.has(value(job))) alike.set(value(job), []);
    alike.get(value(job)).push(score(job));
  }
  const traces = [points(known.filter((job) => !strong.includes(job)), {size: 6, color: faded(colours.mute, 0.7)})];
  if (alike.size <= 12 && alike.size < known.length)
    traces.push({
      type: "scatter", mode: "markers", x: [...alike.keys()], y: [...alike.values()].map(middle), hovertemplate: `middle of %{text}: %{y:${hoverFormat(state.metric)}}<extra></extra>`,
      text: [...alike.values()].map((values) => `${values.length} jobs`), marker: {symbol: "line-ew", size: 26, line: {width: 2.5, color: colours.accent}},
    });
  traces.push(points(strong, {size: 9, color: strong.map(colourOf), line: {width: 1, color: colours.card}}));
  return traces;
}

function levelsOf(values) {
  return [...new Set(values)].sort((a, b) => String(a).localeCompare(String(b), "en", {numeric: true}));
}

/* An axis of the parallel coordinates: where a value lies from 0 to 1, and the values that are written beside it. */
function parallelAxis(column, values) {
  const known = values.filter((value) => value !== null);
  if (!column.numeric) {
    const levels = levelsOf(known);
    const step = Math.max(1, Math.ceil(levels.length / 16));
    const place = (value) => (levels.length < 2 ? 0.5 : levels.indexOf(value) / (levels.length - 1));
    return {place, ticks: levels.filter((_, at) => at % step === 0).map((value) => [place(value), shortened(plain(value), 18)])};
  }
  const scale = column.log ? Math.log10 : (value) => value;
  const least = Math.min(...known.map(scale)), greatest = Math.max(...known.map(scale));
  const upward = (value) => (greatest === least ? 0.5 : (scale(value) - least) / (greatest - least));
  const place = column.downward ? (value) => 1 - upward(value) : upward;
  const distinct = [...new Set(known)];
  const marks = distinct.length <= 6 ? distinct : [0, 0.25, 0.5, 0.75, 1].map((part) => least + part * (greatest - least)).map((value) => (column.log ? 10 ** value : value));
  return {place, ticks: marks.map((value) => [place(value), column.metric ? shown(column.metric, value) : plain(Number(value.toPrecision(3)))])};
}

function drawParallel() {
  if (!document.getElementById("parallel-plot")) return;
  const known = scored(), colours = theme();
  const places = (content.keys.length ? content.keys : columns).slice(0, MOST_AXES - 1);
  const metric = {label: label(state.metric), numeric: true, metric: state.metric, downward: content.modes[state.metric] !== "max"};
  metric.log = !isFraction(state.metric) && isWide(known.map((job) => score(job)));
  const axes = [...places.map((column, at) => ({column, of: (job) => jobs[job].values[at]})), {column: metric, of: (job) => score(job)}];
  for (const each of axes) Object.assign(each, parallelAxis(each.column, known.map(each.of)));
  document.getElementById("parallel-plot").style.minWidth = 110 * axes.length + "px";
  const line = (job) => ({job, x: axes.map((_, at) => at), y: axes.map(({place, of}) => (of(job) === null ? null : place(of(job))))});
  const traces = [...parallelLines(known, line), ...state.selected.filter((job) => score(job) !== null).map((job) => parallelTrace([line(job)], colourOf(job), 2.5, 1))];
  draw("parallel-plot", traces, {
    dragmode: "select", selections: [], margin: {l: 70, r: 70, t: 40, b: 16},
    xaxis: {visible: false, range: [-0.12, axes.length - 0.75], fixedrange: true}, yaxis: {visible: false, range: [-0.06, 1.06], fixedrange: true},
    shapes: axes.map((_, at) => ({type: "line", x0: at, x1: at, y0: 0, y1: 1, line: {color: colours.soft, width: 1}})),
    annotations: axes.flatMap(({column, ticks}, at) => [
      {x: at, y: 1, yref: "paper", yanchor: "bottom", text: `<b>${safe(shortened(column.label, 22))}</b>`, showarrow: false},
      ...ticks.map(([y, text]) => ({x: at, y, xanchor: "left", xshift: 4, text: safe(text), showarrow: false, font: {size: 11, color: colours.ink}, bgcolor: faded(colours.card, 0.75), borderpad: 1})),
    ]),
  });
}

function parallelTrace(lines, colour, width, opacity) {
  const trace = joined(lines, state.metric, {mode: "lines+markers", line: {width, color: faded(colour, opacity)}, marker: {size: 4, color: faded(colour, opacity)}});
  trace.hovertemplate = "%{text}<extra></extra>";
  const value = new Map(lines.map(({job}) => [job, `<br>${safe(label(state.metric))} ${shown(state.metric, score(job))}`]));
  trace.text = trace.text.map((text, at) => text + (value.get(trace.customdata[at]) || ""));
  return trace;
}

/* The better a job, the stronger its colour: a trace for each sixth of the ranks, the best drawn last. */
function parallelLines(known, line) {
  const colours = theme(), order = ranked().reverse(), sixths = 6;
  if (state.selected.length) return [parallelTrace(known.filter((job) => !state.selected.includes(job)).map(line), colours.mute, 1, 0.5)];
  return Array.from({length: sixths}, (_, sixth) => {
    const some = order.slice(Math.floor((sixth * order.length) / sixths), Math.floor(((sixth + 1) * order.length) / sixths));
    const part = sixth / (sixths - 1), room = Math.min(1, 10 / Math.sqrt(order.length));
    return parallelTrace(some.map(line), between(colours.mute, colours.accent, part), room + part, room * (0.6 + 0.4 * part));
  });
}

function drawImportance() {
  const target = document.getElementById("importance-plot");
  if (!target) return;
  const {keys, means, spreads, trust} = content.importance;
  document.getElementById("trust").textContent = trust;
  const order = keys.map((_, place) => place).sort((a, b) => means[a] - means[b]);
  const height = 64 + 30 * keys.length;
  target.style.height = height + "px";
  const names = order.map((place) => safe(content.keys.find((column) => column.key === keys[place]).label) + " ".repeat(place % 2));
  draw(target, [{
    type: "bar", orientation: "h", x: order.map((place) => means[place]), y: names, marker: {color: theme().accent},
    error_x: {type: "data", array: order.map((place) => spreads[place]), color: theme().soft, thickness: 1.2, width: 3},
    hovertemplate: "%{y}: R² falls by %{x:.3f}<extra></extra>",
  }], {height, margin: {l: 20, r: 16, t: 6, b: 44}, xaxis: axis("fall of R² when shuffled"), yaxis: axis("", {showline: false}), bargap: 0.35});
}
