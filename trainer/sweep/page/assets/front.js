/* What a search for several objectives came to: a plot for each two of them, the front as a line. */
function drawFront() {
  const grid = document.getElementById("front-plots");
  if (!grid) return;
  const {names} = content.front;
  const pairs = names.flatMap((_, x) => names.map((_, y) => [x, y])).filter(([x, y]) => x < y);
  grid.classList.toggle("grid", pairs.length > 1);
  while (grid.children.length < pairs.length) grid.append(element("div", {className: "plot"}));
  pairs.forEach(([x, y], place) => draw(grid.children[place], frontTraces(x, y), {xaxis: frontAxis(x), yaxis: frontAxis(y)}));
}

/* The front lies where all are good: a few poor jobs must not push it into a corner. */
function frontAxis(at) {
  const {names, labels, values} = content.front, known = values.flatMap((each) => (each ? [each[at]] : []));
  if (isFraction(names[at])) return axis(labels[at], {tickformat: ".4~p"});
  /* Of less than two powers of ten, one alone might be written. */
  if (isWide(known, 10)) return axis(labels[at], {type: "log", ...(isWide(known) ? {} : {dtick: "D2", minorloglabels: "complete"})});
  return axis(labels[at], known.every(Number.isInteger) ? {tickformat: ",~r"} : {});
}

function frontTraces(x, y) {
  const {names, labels, values, jobs: best} = content.front, colours = theme();
  const told = `%{text}<br>${safe(labels[x])} %{x:${hoverFormat(names[x])}}<br>${safe(labels[y])} %{y:${hoverFormat(names[y])}}<extra></extra>`;
  const points = (some, style) => ({type: "scatter", x: some.map((job) => values[job][x]), y: some.map((job) => values[job][y]), customdata: some, text: some.map(hoverName), hovertemplate: told, ...style});
  const known = values.map((_, job) => job).filter((job) => values[job] !== null);
  const along = [...best].sort((a, b) => values[a][x] - values[b][x]);
  /* Of three objectives, two alone make no line. */
  const mode = names.length === 2 ? "lines+markers" : "markers";
  const selected = state.selected.filter((job) => values[job]);
  return [
    points(known.filter((job) => !best.includes(job)), {mode: "markers", marker: {size: 6, color: faded(colours.mute, 0.7)}}),
    points(along, {mode, line: {width: 1.5, color: colours.accent, shape: stairs(x, y)}, marker: {size: 9, color: colours.accent}}),
    points(selected, {mode: "markers", marker: {size: 11, color: selected.map(colourOf), line: {width: 1, color: colours.card}}}),
  ];
}

/* What is reached between two jobs of the front is what the worse of them reaches. */
function stairs(x, y) {
  return content.front.grows[x] ? "vh" : "hv";
}
