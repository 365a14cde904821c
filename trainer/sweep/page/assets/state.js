"use strict";
/* What the page knows, what is selected, and who wants to hear of it. */
const content = JSON.parse(document.getElementById("content").textContent);
const jobs = content.jobs;
const columns = [...content.keys, ...content.seeds];
/* Told apart by colour-blind eyes too, on paper and on a dark screen. */
const ON_LIGHT = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#9467BD", "#8C8C00"];
const ON_DARK = ["#4FA8E8", "#F28A45", "#35C79C", "#EBA5CB", "#F2C14E", "#9AD7FA", "#BBA0E8", "#CFCF50"];
const darkness = matchMedia("(prefers-color-scheme: dark)");
let isPrinting = false;
const MOST_HIGHLIGHTED = 8;
const FEWEST_TO_PLOT = 8;
/* What tells jobs apart at a glance: what runs differ in may be too much for that. */
const varied = content.kind === "comparison" ? [] : columns;

const state = {metric: content.metric, selected: [], listeners: [], strong: null};

function whenChanged(listener) {
  state.listeners.push(listener);
}

function changed(what) {
  state.strong = null;
  for (const listener of state.listeners) listener(what);
}

function chooseMetric(name) {
  state.metric = name;
  changed("metric");
}

function select(numbers) {
  state.selected = [...new Set(numbers)].slice(0, 40);
  changed("selection");
}

function toggle(job) {
  const others = state.selected.filter((each) => each !== job);
  select(others.length < state.selected.length ? others : [...state.selected, job]);
}

function score(job, metric = state.metric) {
  const value = jobs[job].best[metric];
  return value === undefined ? null : value;
}

/* The numbers of all jobs that have a value, the best first. */
function ranked(metric = state.metric) {
  const sign = content.modes[metric] === "max" ? -1 : 1;
  const known = jobs.map((_, job) => job).filter((job) => score(job, metric) !== null);
  return known.sort((a, b) => sign * (score(a, metric) - score(b, metric)) || a - b);
}

/* The jobs that have colours: those selected, else the best. */
function highlighted() {
  state.strong ??= state.selected.length ? state.selected : ranked().slice(0, MOST_HIGHLIGHTED);
  return state.strong;
}

function colourOf(job) {
  const place = highlighted().indexOf(job);
  return place < 0 ? null : colour(place);
}

function colour(place) {
  return (darkness.matches && !isPrinting ? ON_DARK : ON_LIGHT)[place % ON_LIGHT.length];
}
