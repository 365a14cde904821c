/* What all plots share: colours of the theme, axes, hovering, selecting by a click. */
const PRINTED = {ink: "#000000", soft: "#444444", line: "#cccccc", mute: "#aaaaaa", accent: "#0b4a86", card: "#ffffff"};
const PRINTED_WIDTH = 680;
const NARROW = 720;
const plots = new Map();

function theme() {
  if (isPrinting) return PRINTED;
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(Object.keys(PRINTED).map((name) => [name, style.getPropertyValue("--" + name).trim()]));
}

function faded(colour, opacity) {
  const [red, green, blue] = channels(colour);
  return `rgba(${red},${green},${blue},${opacity})`;
}

function channels(colour) {
  return [1, 3, 5].map((from) => parseInt(colour.slice(from, from + 2), 16));
}

function between(from, to, part) {
  const ends = channels(to);
  return "#" + channels(from).map((value, place) => Math.round(value + part * (ends[place] - value)).toString(16).padStart(2, "0")).join("");
}

/* Plotly reads a few HTML tags in its texts; what comes from folders is to be text. */
function safe(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function shortened(text, length = 34) {
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

function axis(title, more = {}) {
  const colours = theme();
  return {
    title: {text: safe(title), standoff: 8}, gridcolor: colours.line, linecolor: colours.mute, zeroline: false, automargin: true,
    tickcolor: colours.mute, showline: true, exponentformat: "power", minorloglabels: "none", ...more,
  };
}

function metricAxis(name, isLogarithmic, more = {}) {
  const format = isFraction(name) ? {tickformat: ".4~p"} : {};
  return axis(label(name), {type: isLogarithmic ? "log" : "linear", ...format, ...more});
}

function hoverFormat(name) {
  return isFraction(name) ? ".2%" : ".5~g";
}

/* Whether amounts span so much, and most of them so little of it, that their logarithms say more. */
function isWide(values, ratio = 100) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length < 2) return false;
  known.sort((a, b) => a - b);
  const least = known[0], most = known[known.length - 1];
  return least > 0 && most >= ratio * least && known[known.length >> 1] <= 0.2 * most;
}

function draw(id, traces, layout) {
  const target = typeof id === "string" ? document.getElementById(id) : id;
  if (!target) return;
  const colours = theme();
  const whole = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", showlegend: false,
    font: {color: colours.ink, family: getComputedStyle(document.body).fontFamily, size: 13},
    margin: {l: 56, r: 16, t: 12, b: 44}, autosize: true, hoverlabel: {align: "left", namelength: -1},
    ...(isPrinting ? {width: Math.min(PRINTED_WIDTH, target.clientWidth)} : {}), ...layout,
  };
  const isNew = !plots.has(target);
  plots.set(target, true);
  Plotly.react(target, traces, whole, {responsive: true, displayModeBar: false});
  if (isNew) listen(target);
}

function listen(target) {
  target.on("plotly_click", ({points}) => {
    const job = points[0] && points[0].customdata;
    if (Number.isInteger(job)) toggle(job);
  });
  target.on("plotly_selected", (event) => {
    const some = event ? event.points.map(({customdata}) => customdata).filter(Number.isInteger) : [];
    if (some.length) select(some);
  });
  target.on("plotly_legendclick", ({curveNumber, data}) => {
    const {meta} = data[curveNumber];
    if (Number.isInteger(meta)) toggle(meta);
    return false;
  });
}

/* Lines of several jobs as one trace: a thousand traces would take seconds to draw. */
function joined(lines, name, style) {
  const trace = {type: "scatter", mode: "lines", x: [], y: [], customdata: [], text: [], ...style};
  trace.hovertemplate = `%{text}<br>%{x}: %{y:${hoverFormat(name)}}<extra></extra>`;
  for (const {job, x, y} of lines) {
    const text = hoverName(job);
    x.forEach((place, at) => {
      trace.x.push(place);
      trace.y.push(y[at]);
      trace.customdata.push(job);
      trace.text.push(text);
    });
    trace.x.push(null);
    trace.y.push(null);
    trace.customdata.push(null);
    trace.text.push("");
  }
  return trace;
}

function hoverName(job) {
  const told = varied.map((column, place) => `${safe(column.label)} ${safe(shortened(plain(jobs[job].values[place])))}`);
  return [`<b>${content.kind === "sweep" ? "job " : ""}${safe(jobName(job))}</b>`, ...told.slice(0, 10)].join("<br>");
}

function legendName(job, isNarrow) {
  const told = varied.map((_, place) => plain(jobs[job].values[place])).join(", ");
  return safe(shortened(isNarrow || !told ? jobName(job) : `${jobName(job)}: ${told}`));
}
