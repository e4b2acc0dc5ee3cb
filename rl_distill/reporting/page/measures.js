// Tabs of things that were measured: costs, benchmarks, words, gradients.
async function costsPage(host) {
  const data = await unpack("costs");
  if (!data.routes.length) return host.append(el("p", {}, "No run of this report has finished a stage whose costs are known."));
  const letters = [...new Set(data.routes.map(route => route.set).filter(known))].sort();
  warnOfSets(host, letters, "These routes");
  const x = (route, axis) => route.base ? 0 : route.amounts[axis];
  const drawable = axis => data.routes.filter(route => known(x(route, axis)) && x(route, axis) > 0 && known(route.accuracy)).length > 1;
  const axes = data.axes.filter(drawable), all = "FLOPs of teacher and student", state = {axis: axes.includes(all) ? all : axes[0], set: letters[0]};
  if (axes.length && letters.length) {
    const parts = () => pareto(data, state, x), plot = figure("accuracy against cost", parts, 420);
    host.append(el("h2", {}, "Accuracy against cost"), el("div", {class: "controls"},
      label("cost", choice(axes.map(axis => [axis, axis]), state.axis, value => { state.axis = value; plot.redraw(); })),
      letters.length > 1 ? label("problems", choice(letters.map(one => [one, one]), state.set, value => { state.set = value; plot.redraw(); })) : ""),
    el("div", {class: "chart"}, plot, el("p", {class: "soft"}, data.bases.length > 1
      ? "Each line joins the routes that nobody from the same base student beats for as little. A base costs nothing here, and what a route cost counts from its own."
      : "The line joins the routes that nobody beats for as little. Base costs nothing here, since each route starts from it.")));
  } else host.append(el("p", {}, "A figure needs two measured students beside base whose costs are known."));
  const unknown = data.axes.filter(axis => !axes.includes(axis));
  if (unknown.length && axes.length) host.append(el("p", {class: "soft"}, `Not drawn, for too few routes have it known or above 0: ${unknown.join(", ")}.`));
  host.append(el("h2", {}, "Routes"), table([
    ...(head.runs.length > 1 ? [byRun] : []), {title: "route", value: route => route.stage, short: true},
    ...(data.bases.length > 1 ? [{title: "base student", value: route => `that of ${data.bases[route.origin]}`}] : []),
    ...(letters.length > 1 ? [{title: "problems", value: route => route.set}] : []),
    {title: "accuracy", value: route => route.accuracy, show: route => share(route.accuracy), number: true}, interval,
    ...data.axes.map(axis => ({title: axis, value: route => route.amounts[axis], show: route => amount(route.amounts[axis]), number: true})),
  ], data.routes, {tall: data.routes.length > 20, caption: "A route counts all stages on its way; the row of base is what making it cost, which the others leave out."}));
  if (data.assumed.length) host.append(el("p", {class: "soft"}, data.assumed.join(" ")));
  seconds(host, data);
  if (data.notes.length) host.append(el("h2", {}, "What is not known, and why"), el("ul", {}, data.notes.map(([run, note]) => el("li", {}, head.runs.length > 1 ? `${run}: ${note}` : note))));
}

function pareto(data, state, x) {
  const routes = data.routes.filter(route => route.set === state.set && known(route.accuracy) && known(x(route, state.axis)));
  const fronts = Object.entries(data.fronts[state.axis][state.set] || {}).map(([origin, places]) => [Number(origin), places.map(place => data.routes[place])]);
  const best = fronts.flatMap(([_, front]) => front);
  const most = Math.max(...routes.map(route => x(route, state.axis)));
  const spent = routes.map(route => x(route, state.axis)).filter(value => value > 0);
  const toTheEnd = front => [...front, {...front[front.length - 1], amounts: {[state.axis]: most}, base: false}];
  const several = new Set(routes.map(route => route.run)).size > 1;
  const wide = spent.length && most > 100 * Math.min(...spent) && !routes.some(route => x(route, state.axis) === 0);
  return {
    traces: [
      ...fronts.map(([origin, front]) => ({type: "scatter", mode: "lines", name: baseName(data, origin), showlegend: fronts.length > 1, hoverinfo: "skip",
        line: {shape: "hv", dash: DASHES[(origin + 1) % DASHES.length], color: fronts.length > 1 ? color(origin) : "#888"},
        x: toTheEnd(front).map(route => x(route, state.axis)), y: toTheEnd(front).map(route => route.accuracy)})),
      {type: "scatter", mode: "markers+text", name: "routes", showlegend: false, textposition: "top center", cliponaxis: false,
        x: routes.map(route => x(route, state.axis)), y: routes.map(route => route.accuracy), text: routes.map(route => best.includes(route) || routes.length < 9 ? student(route) : ""),
        hovertext: routes.map(student), hovertemplate: "%{hovertext}<br>%{x:.4g}, accuracy %{y:.3f}<extra></extra>",
        marker: {opacity: 1, line: {width: 0}, size: routes.map(route => best.includes(route) ? 12 : 7), color: routes.map(route => color(several ? route.run : head.runs[route.run].stages.indexOf(route.stage)))},
        error_y: {type: "data", symmetric: false, thickness: 1, width: 3, color: "#8a939e", array: routes.map(route => route.high - route.accuracy), arrayminus: routes.map(route => route.accuracy - route.low)}},
    ],
    layout: {showlegend: fronts.length > 1, legend: {orientation: "h", y: 1.02, yanchor: "bottom"}, xaxis: {title: {text: state.axis}, type: wide ? "log" : "linear"}, yaxis: {title: {text: "held-out accuracy, 95 % interval"}}, margin: {l: 60, r: 30, t: 24, b: 44}},
  };
}

function baseName(data, origin) {
  return `nobody from the base of ${data.bases[origin]} is better`;
}

function seconds(host, data) {
  const phases = data.phases.filter(phase => phase !== "wall" && data.seconds.some(row => row[phase] > 0));
  const rows = data.seconds.filter(row => phases.some(phase => row[phase] > 0)).slice(0, MOST_LINES);
  if (!rows.length) return;
  const parts = () => ({
    traces: phases.map((phase, place) => ({type: "bar", orientation: "h", name: phase, marker: {color: color(place)}, y: rows.map(student), x: rows.map(row => row[phase] || 0), hovertemplate: `${phase}: %{x:.3g} s<extra>%{y}</extra>`})),
    layout: {barmode: "stack", xaxis: {title: {text: "seconds"}}, yaxis: {autorange: "reversed", type: "category"}, margin: {l: 10, r: 12, t: 8, b: 44}},
  });
  host.append(el("h2", {}, "Where the seconds went"), el("div", {class: "chart"}, figure("seconds of each stage by phase", parts, 150 + 24 * rows.length),
    data.seconds.length > rows.length ? el("p", {class: "soft"}, `${data.seconds.length - rows.length} stages are not drawn: their seconds by phase are not known, or there are too many.`) : null));
}

async function benchmarksPage(host) {
  const {rows} = await unpack("benchmarks");
  if (!rows.length) {
    return host.append(el("p", {}, "No evaluation of these runs was found. ", el("code", {}, "rl-distill evaluate RUN --benchmarks ..."),
      " makes one; it is looked for in the folder evaluations, or where ", el("code", {}, "--evaluations"), " says."));
  }
  for (const name of [...new Set(rows.map(row => row.benchmark))]) {
    const sets = [...new Set(rows.filter(row => row.benchmark === name).map(row => row.set))];
    if (sets.length > 1) {
      host.append(el("p", {class: "warning", role: "note"}, `${name} was measured in ${sets.length} ways that cannot be compared: other problems, versions, prompts, graders or sampling. They stand apart.`));
    }
    for (const set of sets) benchmark(host, sets.length > 1 ? `${name}, way ${set}` : name, rows.filter(row => row.benchmark === name && row.set === set));
  }
}

function benchmark(host, title, rows) {
  const largest = row => Math.max(...Object.keys(row.pass_at).map(Number));
  host.append(el("h2", {}, title), el("div", {class: "charts"},
    dots(`${title}: accuracy of each student`, rows, {title: "avg@k, 95 % interval", text: student, value: row => row.mean, low: row => row.low, high: row => row.high, group: row => row.run}),
    el("div", {class: "chart"}, figure(`${title}: pass@k and maj@k`, () => ({
      traces: rows.slice(0, MOST_LINES / 2).flatMap((row, place) => [["pass@k", row.pass_at, "solid"], ["maj@k", row.majority_at, "dot"]].map(([what, values, dash]) => ({
        type: "scatter", mode: "lines+markers", name: `${student(row)}, ${what}`, line: {dash, color: color(place)}, x: Object.keys(values).map(Number), y: Object.values(values), hovertemplate: "k=%{x}: %{y:.3f}",
      }))),
      layout: {xaxis: {title: {text: "k"}, type: "log", tickvals: Object.keys(rows[0].pass_at).map(Number)}, yaxis: {title: {text: "pass@k (line), maj@k (dots)"}}, showlegend: false},
    })))));
  host.append(table([
    ...(head.runs.length > 1 ? [byRun] : []), byStage,
    {title: "avg@k", value: row => row.mean, show: row => `${share(row.mean)} (k=${row.samples})`, number: true}, interval,
    {title: "pass@k", value: row => row.pass_at[largest(row)], show: row => `${share(row.pass_at[largest(row)])} (k=${largest(row)})`, number: true},
    {title: "maj@k", value: row => row.majority_at[largest(row)], show: row => share(row.majority_at[largest(row)]), number: true},
    {title: "tokens", value: row => row.tokens, show: row => count(row.tokens), number: true},
    {title: "truncated", value: row => row.truncated, show: row => `${(100 * row.truncated).toFixed(1)}%`, number: true},
    {title: "unverifiable", value: row => row.unverifiable, number: true},
    {title: "problems", value: row => row.problems, number: true},
  ], rows, {caption: `${rows.length} students`, tall: rows.length > 20}), el("ul", {class: "soft"}, [...new Set(rows.flatMap(row => row.caveats))].map(text => el("li", {}, text))));
}

async function wordsPage(host) {
  const data = await unpack("words");
  if (!data.rows.length) return host.append(el("p", {}, "No held-out answers are recorded."));
  const sets = [...new Set(data.rows.map(row => row.set))];
  warnOfSets(host, sets, "These answers");
  const options = Object.entries(data.classes).flatMap(([kind, labels]) => labels.map(name => [`${kind}/${name}`, `${kind === "words" ? "words" : "keywords of a behavior"}: ${name}`]));
  const occurring = options.find(([key]) => data.rows.some(row => `${row.kind}/${row.label}` === key && row.all[0] > 0));
  const state = {label: (occurring || options[0])[0], verdict: "all", set: sets[0]};
  const place = el("div");
  const show = () => {
    const rows = data.rows.filter(row => `${row.kind}/${row.label}` === state.label && row.set === state.set);
    const unit = rows.length ? rows[0].unit : "tokens";
    const rate = verdict => [
      {title: verdict, value: row => row[verdict][0], show: row => amountOr(row[verdict][0]), number: true},
      {title: `${verdict}: 95 %`, value: row => row[verdict][1], show: row => known(row[verdict][1]) ? `${row[verdict][1].toFixed(2)} - ${row[verdict][2].toFixed(2)}` : "-", number: true},
    ];
    const measured = rows.filter(row => known(row[state.verdict][0]));
    place.replaceChildren(
      measured.length ? dots(`${state.label} per 1,000 ${unit}`, measured, {
        title: `per 1,000 ${unit}, ${state.verdict} answers, 95 % interval over problems`, text: student,
        value: row => row[state.verdict][0], low: row => row[state.verdict][1], high: row => row[state.verdict][2], group: row => head.runs.length > 1 ? row.run : head.runs[row.run].stages.indexOf(row.stage),
      }) : el("p", {}, "No such answers."),
      table([...(head.runs.length > 1 ? [byRun] : []), byStage, ...["all", "correct", "wrong"].flatMap(rate)], rows, {caption: `occurrences per 1,000 ${unit} in all, correct and wrong answers`, tall: rows.length > 20}));
  };
  host.append(
    el("p", {class: "soft"}, "Whole words in held-out answers. ", el("code", {}, "rl-distill analyze"), " compares two students, length-matched, and has behaviors marked by a judge."),
    el("div", {class: "controls"},
      label("class", choice(options, state.label, value => { state.label = value; show(); })),
      label("answers", choice(["all", "correct", "wrong"].map(one => [one, one]), "all", value => { state.verdict = value; show(); })),
      sets.length > 1 ? label("problems", choice(sets.map(one => [one, one]), state.set, value => { state.set = value; show(); })) : ""), place);
  show();
}
const amountOr = value => known(value) ? value.toFixed(2) : "-";

async function gradientsPage(host) {
  for (const one of await unpack("gradients")) {
    const names = one.algorithms.map(row => row.name);
    host.append(el("h2", {}, `${runName(one.run)}/${one.folder}`), el("p", {class: "soft"}, one.student), el("div", {class: "charts"},
      el("div", {class: "chart"}, figure("norm of each algorithm's gradient", () => ({
        traces: [{type: "bar", x: names, y: one.algorithms.map(row => row.norm), marker: {color: names.map((_, place) => color(place))}, hovertemplate: "%{x}: %{y:.3g}<extra></extra>"}],
        layout: {yaxis: {title: {text: "norm of the gradient"}}, xaxis: {type: "category"}},
      }))),
      el("div", {class: "chart"}, figure("cosines between the gradients", () => ({
        traces: [{type: "heatmap", x: names, y: names, z: names.map(row => names.map(name => one.cosines[row][name])), zmin: -1, zmax: 1, colorscale: [[0, "#c0453c"], [0.5, "#9aa0a6"], [1, "#3b7dd8"]], texttemplate: "%{z:.2f}", hovertemplate: "%{y}, %{x}: %{z:.3f}<extra></extra>", colorbar: {thickness: 10}}],
        layout: {xaxis: {type: "category"}, yaxis: {type: "category", autorange: "reversed"}},
      })))));
    const parts = [...new Set(one.algorithms.flatMap(row => row.parts.map(part => `${part.division}: ${part.name}`)))];
    const part = (row, name) => row.parts.find(part => `${part.division}: ${part.name}` === name);
    host.append(table([
      {title: "algorithm", value: row => row.name, short: true}, {title: "attempts", value: row => row.attempts, number: true},
      {title: "tokens", value: row => row.tokens, show: row => count(row.tokens), number: true}, {title: "norm", value: row => row.norm, show: row => amount(row.norm), number: true},
      ...parts.map(name => ({title: name, number: true, value: row => part(row, name)?.norm, show: row => part(row, name) ? `${amount(part(row, name).norm)} (${known(part(row, name).share) ? (100 * part(row, name).share).toFixed(0) + "%" : "-"})` : "-"})),
    ], one.algorithms, {caption: "norm of each part, and its share of the whole"}));
    const left = Object.entries(one.left_out);
    if (left.length) host.append(el("ul", {class: "soft"}, left.map(([name, why]) => el("li", {}, `left out: ${name}, which ${why}`))));
  }
}
