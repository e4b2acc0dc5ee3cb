// The first tab: what runs there are and how good their students are; and the last: what they ran on.
const runName = place => head.runs[place].label;
const student = row => head.runs.length > 1 ? `${runName(row.run)} · ${row.stage}` : row.stage;
const byRun = {title: "run", value: row => runName(row.run), short: true};
const byStage = {title: "student", value: row => row.stage, short: true};
const interval = {title: "95 % interval", value: row => row.low, show: row => span(row.low, row.high), number: true};

function warnOfSets(host, letters, what) {
  if (letters.length < 2) return;
  const told = head.sets.filter(one => letters.includes(one.letter)).map(one => `${one.letter} (${one.problems} problems)`);
  host.append(el("p", {class: "warning", role: "note"},
    `${what} were measured on different problems, or asked or graded differently: ${told.length ? told.join(", ") : letters.join(", ")}. `
    + "They cannot be compared, and stand apart."));
}

function overview(host) {
  sweeps(host);
  const letters = head.sets.map(one => one.letter);
  warnOfSets(host, letters, "These students");
  for (const letter of letters) measuredOn(host, head.sets.find(one => one.letter === letter), letters.length > 1);
  const others = head.students.filter(one => !known(one.set));
  if (others.length) host.append(el("h2", {}, "Not measured"), studentTable(others, "finished stages without a held-out accuracy"));
  host.append(el("h2", {}, "Runs"), table([
    {title: "run", value: run => run.label, short: true},
    {title: "state", value: run => run.state, show: run => badge(run.state)},
    {title: "recipe", value: run => run.name, short: true},
    {title: "seed", value: run => run.seed, number: true},
    {title: "steps", value: run => run.steps, show: run => count(run.steps), number: true},
    {title: "version", value: run => run.version, short: true},
    {title: "what to know", value: run => [run.state === "finished" ? "" : run.words, ...run.notes].filter(Boolean).join(" · ")},
  ], head.runs, {tall: head.runs.length > 20, caption: `${head.runs.length} runs`}));
  if (head.notes.length) host.append(el("h2", {}, "Left out, or not readable"), el("ul", {}, head.notes.map(note => el("li", {}, note))));
}

function measuredOn(host, set, several) {
  const rows = head.students.filter(row => row.set === set.letter);
  const asked = Object.entries(set.sampling).map(([key, value]) => `${key.replace("_", " ")} ${value}`).join(", ");
  host.append(el("h2", {}, several ? `Held-out accuracy on problems ${set.letter}` : "Held-out accuracy"),
    el("p", {class: "soft"}, `${set.problems} problems (${set.hash}), ${asked}; intervals are over problems.`));
  const runs = new Set(rows.map(row => row.run)).size;
  host.append(dots("held-out accuracy of each student", rows, {
    title: "held-out accuracy, 95 % interval", text: student, value: row => row.accuracy, low: row => row.low, high: row => row.high,
    group: row => runs > 1 ? row.run : head.runs[row.run].stages.indexOf(row.stage),
  }), studentTable(rows, "one row for each student; tokens and seconds are those of its own stage"));
  const means = head.means.filter(row => row.set === set.letter);
  if (means.length) host.append(el("h3", {}, "Mean over seeds"), table([
    {title: "runs", value: row => row.runs.join(", ")}, byStage,
    {title: "seeds", value: row => row.seeds, show: row => `${row.seeds} of ${row.runs.length}`, number: true},
    {title: "accuracy", value: row => row.mean, show: row => share(row.mean), number: true}, interval,
    {title: "what to know", value: row => row.notes.join(" · ")},
  ], means, {caption: "runs whose recipes differ in their seed only; intervals are over seeds, Student's t", tall: means.length > 20}));
}

function studentTable(rows, caption) {
  return table([
    ...(head.runs.length > 1 ? [byRun] : []), byStage,
    {title: "accuracy", value: row => row.accuracy, show: row => share(row.accuracy), number: true}, interval,
    {title: "steps", value: row => row.step, show: row => count(row.step), number: true},
    {title: "sampled tokens", value: row => row.generated_tokens, show: row => count(row.generated_tokens), number: true},
    {title: "trained tokens", value: row => row.trained_tokens, show: row => count(row.trained_tokens), number: true},
    {title: "seconds", value: row => row.seconds, show: row => amount(row.seconds), number: true},
    {title: "alarms", value: row => row.alarms, number: true},
  ], rows, {caption, tall: rows.length > 20});
}

function sweeps(host) {
  for (const sweep of head.sweeps) {
    host.append(el("h2", {}, "Sweep"), el("p", {class: "soft"}, sweep.path));
    host.append(...sweep.warnings.map(text => el("p", {class: "warning", role: "note"}, text[0].toUpperCase() + text.slice(1) + ".")));
    const number = text => text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
    const columns = sweep.header.map((title, place) => ({
      title, text: "name", number: sweep.rows.length > 0 && sweep.rows.every(row => row[place] === "" || number(row[place]) !== null),
      value: row => number(row[place]) ?? (row[place] || null),
      show: row => number(row[place]) === null ? row[place] : amount(number(row[place])),
    })).filter(column => column.title !== "remarks");
    if (columns.length) host.append(table(columns, sweep.rows, {caption: "its own results table", tall: sweep.rows.length > 20}));
    else host.append(el("p", {}, "It has no results table yet."));
    const remarks = sweep.header.indexOf("remarks");
    const remarked = sweep.rows.filter(row => row[remarks]);  // below: a column of sentences would make rows as high as a screen
    if (remarked.length) host.append(el("ul", {}, remarked.map(row => el("li", {}, el("strong", {}, row[0]), ": ", row[remarks]))));
    if (sweep.failures.length) host.append(el("p", {}, "Cells that failed:"), el("ul", {}, sweep.failures.map(text => el("li", {}, text))));
  }
}

async function environmentPage(host) {
  const data = await unpack("environment");
  const columns = [
    {title: "key", value: row => row[0]},
    ...head.runs.map((run, place) => ({title: run.label, value: row => row[place + 1]})),
  ];
  const differs = row => new Set(row.slice(1).filter(known)).size > 1 ? "differs" : null;
  host.append(el("h2", {}, "What they ran on"));
  if (head.runs.length > 1) host.append(el("p", {class: "soft"}, "Rows in which runs differ are marked."));
  host.append(table(columns, data.environment, {caption: "machine and versions", mark: differs}));
  if (head.runs.length > 1) {
    host.append(el("h2", {}, "Keys in which the recipes differ"));
    host.append(data.differing.length ? table(columns, data.differing, {caption: `${data.differing.length} keys`, tall: data.differing.length > 20})
      : el("p", {}, "None: these runs have one recipe."));
  }
  const place = el("div");
  const show = number => place.replaceChildren(table(
    [{title: "key", value: row => row[0]}, {title: "value", value: row => row[1]}], data.recipes[number],
    {caption: `resolved recipe of ${runName(number)}`, tall: true}));
  show(0);
  host.append(el("h2", {}, "Recipe"), el("div", {class: "controls"},
    label("run", choice(head.runs.map((run, number) => [String(number), run.label]), "0", value => show(Number(value))))), place);
}

async function alarmsPage(host) {
  const data = await unpack("alarms");
  const steps = data.stages.length;
  if (!data.alarms.length) return host.append(el("p", {}, steps ? `No alarm rang in the ${steps} stages with recorded steps.` : "No steps are recorded."));
  const ringing = new Set(data.alarms.map(student));
  const stages = data.stages.filter(row => data.stages.length <= 30 || ringing.has(student(row)));
  const names = [...new Set(data.alarms.map(one => one.alarm))];
  const line = (name, place, rows, width) => ({
    type: "scatter", mode: "lines+markers", name, line: {width, color: place}, marker: {size: width + 4, color: place}, connectgaps: false,
    x: rows.flatMap(row => [row.first, row.last, null]), y: rows.flatMap(row => [student(row), student(row), null]),
    hovertemplate: `${name}: step %{x}<br>%{y}<extra></extra>`,
  });
  const parts = () => ({
    traces: [
      {...line("the stage", "rgba(128,136,146,.45)", stages, 3), mode: "lines"},
      ...names.map((name, place) => line(name, color(place), data.alarms.filter(one => one.alarm === name), 7)),
    ],
    layout: {xaxis: {title: {text: "step of the run"}, rangemode: "tozero"}, yaxis: {type: "category", autorange: "reversed"}, margin: {l: 10, r: 12, t: 8, b: 44}},
  });
  host.append(el("div", {class: "chart"}, figure("alarms over the steps of each run", parts, 140 + 24 * stages.length)));
  if (stages.length < data.stages.length) host.append(el("p", {class: "soft"}, `Drawn are the ${stages.length} stages with an alarm, of ${data.stages.length}.`));
  host.append(table([
    {title: "alarm", value: row => row.beside ? `${row.alarm} (${row.beside})` : row.alarm, short: true}, byRun, byStage,
    {title: "first step", value: row => row.first, show: row => count(row.first), number: true},
    {title: "last step", value: row => row.last, show: row => count(row.last), number: true},
    {title: "what it said", value: row => row.text || "the log of the run says it"},
  ], data.alarms, {caption: `${data.alarms.length} rings`, tall: data.alarms.length > 20}));
}
