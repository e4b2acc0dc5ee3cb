// Metrics over steps, tokens or seconds: several charts, runs compared in each, drag to zoom, double click to go back.
const FIRST_METRICS = ["reward/mean", "rollout/correct_fraction", "loss", "logprob/chosen", "evaluation/accuracy", "policy/entropy", "gradient/norm"];
const MOST_TRACES = 60, MOST_POINTS = 40000, MOST_CHARTS = 4;

async function curvesPage(host) {
  const shared = await unpack("curves"), metrics = Object.keys(shared.metrics);
  if (!metrics.length) return host.append(el("p", {}, "No steps are recorded."));
  const stages = [...new Set(shared.pieces.map(piece => piece.stage))], runs = [...new Set(shared.pieces.map(piece => piece.run))];
  const state = {axis: shared.axes[0], smooth: 0, log: false, runs: new Set(runs), stages: new Set(stages), oneRun: runs.length === 1};
  const tallies = new Map(metrics.map(name => [name, 0]));
  const charts = [];
  const redraw = () => charts.forEach(chart => chart.redraw());
  const slider = el("input", {type: "range", min: 0, max: 0.98, step: 0.02, value: 0, "aria-label": "smoothing", oninput: () => {
    state.smooth = Number(slider.value); redraw();
  }});
  const log = el("input", {type: "checkbox", onchange: () => { state.log = log.checked; redraw(); }});
  host.append(
    el("p", {class: "soft"}, "Drag to zoom, double click to see all again. A point is " + (shared.thinned ? `the mean of neighbouring steps where a stage has more than ${shared.points}.` : "a step.")),
    el("div", {class: "controls"},
      label("over", choice(shared.axes.map(name => [name, name]), state.axis, value => { state.axis = value; redraw(); })),
      label("smoothing", slider), el("label", {}, log, "logarithmic")),
    chosenOnes("stages", stages.map((name, place) => [name, `${name} ${state.oneRun ? "" : DASH_MARKS[place % DASH_MARKS.length]}`, state.oneRun ? color(place) : null]), state.stages, redraw),
    runs.length > 1 ? chosenOnes("runs", runs.map(run => [run, runName(run), color(run)]), state.runs, redraw) : "");
  const grid = el("div", {class: "charts"});
  host.append(grid);
  const first = FIRST_METRICS.filter(name => tallies.has(name));
  const shown = [...first, ...metrics.filter(name => !first.includes(name))].slice(0, MOST_CHARTS);
  for (const metric of shown) {
    const chart = curveChart(shared, state, stages, metric);
    charts.push(chart.plot);
    grid.append(chart.box);
  }
}

function chosenOnes(title, options, chosen, changed) {
  const boxes = options.map(([value, text, shade]) => {
    const box = el("input", {type: "checkbox", checked: true, onchange: () => { chosen[box.checked ? "add" : "delete"](value); changed(); }});
    box.dataset.text = text.toLowerCase();
    return el("label", {}, box, shade ? el("span", {class: "swatch", style: `--swatch:${shade}`}) : null, text);
  });
  const all = to => {
    for (const [place, part] of boxes.entries()) {
      if (part.hidden) continue;
      part.firstChild.checked = to;
      chosen[to ? "add" : "delete"](options[place][0]);
    }
    changed();
  };
  const filter = el("input", {type: "text", placeholder: "filter", "aria-label": `filter ${title}`, oninput: () => {
    for (const part of boxes) part.hidden = !part.firstChild.dataset.text.includes(filter.value.toLowerCase());
  }});
  return el("fieldset", {style: "border:0;padding:0;margin:.4rem 0;min-width:0"},
    el("legend", {}, title), options.length > 8 ? filter : null, " ",
    el("button", {type: "button", class: "plain", onclick: () => all(true)}, "all"), " ",
    el("button", {type: "button", class: "plain", onclick: () => all(false)}, "none"),
    el("div", {class: "choices"}, boxes));
}

function curveChart(shared, state, stages, first) {
  const about = el("p", {class: "soft"});
  let metric = first, curves = {};
  const load = async name => {
    metric = name;
    curves = await unpack("curve-" + Object.keys(shared.metrics).indexOf(name));
    plot.redraw();
  };
  const plot = figure("curves of a metric", () => {
    const {traces, note} = traced(shared, state, stages, curves);
    const [text, unit] = shared.metrics[metric];
    about.textContent = [text + (unit ? ` (${unit})` : ""), note].filter(Boolean).join(" · ");
    plot.setAttribute("aria-label", `${metric} over ${state.axis}, ${traces.length} curves`);
    const hover = traces.length <= 8 ? "x unified" : "closest";
    return {traces, layout: {
      xaxis: {title: {text: state.axis}}, yaxis: {type: state.log ? "log" : "linear", exponentformat: "power"},
      showlegend: false, hovermode: hover, uirevision: metric + state.axis + state.log,
    }};
  });
  load(first);
  const pick = choice(Object.keys(shared.metrics).map(name => [name, name]), first, load);
  pick.setAttribute("aria-label", "metric");
  return {plot, box: el("div", {class: "chart"}, pick, plot, about)};
}

function traced(shared, state, stages, curves) {
  const pieces = Object.entries(curves).map(([place, values]) => ({...shared.pieces[place], values}))
    .filter(piece => state.runs.has(piece.run) && state.stages.has(piece.stage) && piece.values.some(known));
  const points = pieces.reduce((sum, piece) => sum + piece.values.length, 0);
  const every = Math.max(1, Math.ceil(points / MOST_POINTS));
  const lines = pieces.map(piece => curve(piece, state, stages, every));
  const note = every > 1 ? `every ${every}th point is drawn; choose fewer runs to see all` : "";
  return {traces: lines.length > MOST_TRACES ? together(lines) : lines, note};
}

function curve(piece, state, stages, every) {
  const x = [], y = [];
  let held = null;
  piece.values.forEach((value, place) => {
    if (!known(value)) return;
    held = held === null ? value : state.smooth * held + (1 - state.smooth) * value;
    if (place % every && place !== piece.values.length - 1) return;
    x.push(piece.x[state.axis][place]);
    y.push(held);
  });
  const stage = stages.indexOf(piece.stage);
  const line = {color: color(state.oneRun ? stage : piece.run), width: 1.7, dash: state.oneRun ? "solid" : DASHES[stage % DASHES.length]};
  return {type: "scatter", mode: x.length > 1 ? "lines" : "markers", x, y, line, name: student(piece), hovertemplate: "%{y:.5g}"};
}

// Hundreds of curves are drawn as one trace for each look, with gaps between them: as many traces would be slow.
function together(lines) {
  const looks = new Map();
  for (const line of lines) {
    const key = line.line.color + line.line.dash, look = looks.get(key);
    if (!look) looks.set(key, {...line, mode: "lines", x: [...line.x], y: [...line.y], text: line.x.map(() => line.name), hovertemplate: "%{text}: %{y:.5g}<extra></extra>"});
    else {
      look.x.push(null, ...line.x);
      look.y.push(null, ...line.y);
      look.text.push("", ...line.x.map(() => line.name));
    }
  }
  return [...looks.values()];
}
