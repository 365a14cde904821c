/* The lineage of a population, and the hyperparameters of each member over its run. */
function generations() {
  return content.population;
}

/* Whose weights the best member of the end has: a member's number for each generation. */
function bestLineage() {
  const all = generations();
  const isScored = (generation) => generation.members.some(({score: value}) => value !== null);
  let last = all.length - 1;
  while (last >= 0 && !isScored(all[last])) last -= 1;
  if (last < 0) return [];
  const sign = content.modes[content.metric] === "max" ? -1 : 1;
  const members = all[last].members.map((_, member) => member).filter((member) => all[last].members[member].score !== null);
  let member = members.sort((a, b) => sign * (all[last].members[a].score - all[last].members[b].score))[0];
  const path = [];
  for (let generation = last; generation >= 0; generation -= 1) {
    path[generation] = member;
    member = all[generation].members[member].parent ?? member;
  }
  return path;
}

/* From the generation before: a member's own line, or a copy from its parent. */
function stepsTo(generation, member, value) {
  const all = generations(), {parent} = all[generation].members[member];
  return [value(generation - 1, parent ?? member), value(generation, member)];
}

function drawLineage() {
  if (!document.getElementById("lineage-plot")) return;
  const all = generations(), colours = theme(), best = bestLineage();
  const own = {x: [], y: []}, copied = {x: [], y: []}, strong = {x: [], y: []};
  const add = (line, generation, member) => {
    const [from, to] = stepsTo(generation, member, (_, which) => which);
    line.x.push(all[generation - 1].epoch, all[generation].epoch, null);
    line.y.push(from, to, null);
  };
  all.slice(1).forEach(({members}, at) => members.forEach(({parent}, member) => add(parent === null ? own : copied, at + 1, member)));
  best.forEach((member, generation) => generation && add(strong, generation, member));
  const line = (points, style) => ({type: "scatter", mode: "lines", hoverinfo: "skip", ...points, line: style});
  draw("lineage-plot", [
    line(own, {color: colours.line, width: 1.2}), line(copied, {color: colours.mute, width: 1.2, dash: "dot"}),
    line(strong, {color: colour(1), width: 3}), lineagePoints(),
  ], {xaxis: axis("epoch"), yaxis: axis("member", {dtick: all[0].members.length > 20 ? 5 : 1, range: [-0.6, all[0].members.length - 0.4]})});
}

function lineagePoints() {
  const points = generations().flatMap(({epoch, members}) => members.map((member, number) => ({epoch, number, ...member})));
  const told = ({number, parent, score: value, hyperparameters}) => [
    `<b>member ${number}</b>${parent === null ? "" : ` from ${parent}`}`, `${safe(label(content.metric))} ${shown(content.metric, value)}`,
    ...Object.entries(hyperparameters).map(([name, number_]) => `${safe(name)} ${safe(plain(number_))}`)].join("<br>");
  const isMax = content.modes[content.metric] === "max", name = content.metric;
  const scores = points.map(({score: value}) => value), isLogarithmic = !isFraction(name) && isWide(scores, 10);
  return {
    type: "scatter", mode: "markers", x: points.map(({epoch}) => epoch), y: points.map(({number}) => number), text: points.map(told), hovertemplate: "%{text}<extra></extra>",
    marker: {size: 9, color: isLogarithmic ? scores.map((value) => value && Math.log10(value)) : scores, colorscale: "Cividis", reversescale: !isMax, showscale: true,
      colorbar: {title: {text: safe(label(content.metric)), side: "right"}, thickness: 12, outlinewidth: 0, ...(isLogarithmic ? colourMarks(name, scores) : isFraction(name) ? {tickformat: ".4~p"} : {})}},
  };
}

/* Amounts beside colours that stand for logarithms: five, from the least to the greatest. */
function colourMarks(name, values) {
  const known = values.filter((value) => value !== null).map(Math.log10), least = Math.min(...known), most = Math.max(...known);
  const tickvals = [0, 0.25, 0.5, 0.75, 1].map((part) => least + part * (most - least));
  return {tickvals, ticktext: tickvals.map((value) => shown(name, 10 ** value))};
}

function drawMembers() {
  const grid = document.getElementById("member-plots");
  if (!grid) return;
  const all = generations(), colours = theme(), best = bestLineage();
  const names = [...new Set(all.flatMap(({members}) => members.flatMap(({hyperparameters}) => Object.keys(hyperparameters))))];
  while (grid.children.length < names.length) grid.append(element("div", {className: "plot"}));
  names.forEach((name, place) => {
    const of = (generation, member) => all[generation].members[member].hyperparameters[name] ?? null;
    const line = (path, text) => ({x: steps(all), y: path.flatMap((member, generation) => [of(generation, member), of(generation, member)]), text: path.flatMap((member) => [text(member), text(member)])});
    const members = all[0].members.map((_, member) => line(all.map(() => member), (which) => `member ${which}`));
    const traces = [...members.map((each) => [each, {color: faded(colours.mute, 0.9), width: 1.2}]), [line(best, (which) => `best, as member ${which}`), {color: colour(1), width: 2.6}]];
    const isLogarithmic = isWide(members.flatMap(({y}) => y).filter((value) => typeof value === "number"));
    draw(grid.children[place], traces.map(([each, style]) => ({type: "scatter", mode: "lines", ...each, line: style, hovertemplate: "%{text}: %{y:.4~g}<extra></extra>"})), {
      xaxis: axis("epoch"), yaxis: axis(name.split(".").pop().replace(/_/g, " "), {type: isLogarithmic ? "log" : "linear"}),
    });
  });
}

/* A generation lasts from the end of the one before to its own. */
function steps(all) {
  return all.flatMap(({epoch}, at) => [at ? all[at - 1].epoch : 0, epoch]);
}
