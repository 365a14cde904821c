/* Numbers and names as people read them, and elements made of text alone. */
function label(name) {
  return content.labels[name] || name.replace(/^hyperparameter\//, "").replace(/_/g, " ");
}

function isFraction(name) {
  return name.endsWith("accuracy");
}

function plain(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e6)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(6)));
}

function shown(name, value) {
  if (value === null || value === undefined) return "";
  if (isFraction(name)) return (100 * value).toFixed(2) + " %";
  if (Math.abs(value) >= 1e9) return Number(value.toPrecision(6)).toExponential();
  if (Number.isInteger(value)) return String(value);
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2);
  return Math.abs(value) < 100 ? value.toFixed(4) : String(Number(value.toPrecision(6)));
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 60) return seconds.toFixed(1) + " s";
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  const minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours}:${two(minutes % 60)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

function jobName(job) {
  const {number, name} = jobs[job];
  return number === null ? name : String(number);
}

/* What was varied in a job, on one line. */
function settingsOf(job) {
  return varied.map((column, place) => `${column.label} ${plain(jobs[job].values[place])}`).join(", ");
}

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", {value: text, readOnly: true});
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function copyButton(job) {
  const button = element("button", {type: "button", textContent: "Copy", title: jobs[job].command});
  button.setAttribute("aria-label", `Copy the command of job ${jobName(job)}`);
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    copy(jobs[job].command, button);
  });
  return button;
}
