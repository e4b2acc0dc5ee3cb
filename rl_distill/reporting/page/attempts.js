// The browser of attempts: filters over an index, a page of rows, and the full record of the one that is looked at.
const ROWS = 50, LOWEST = -3; // nats at which a token has the full color
const COLORINGS = [["logprob", "log-prob when sampled"], ["advantage", "advantage"], ["behind", "staleness"], ["none", "nothing"]];

async function attemptsPage(host) {
  const index = await unpack("attempts"), columns = index.columns;
  if (!index.count) return host.append(el("p", {}, "No attempts are recorded: runs with an `evaluation`, or with tracking.trajectories_every, have some."));
  const browser = {index, columns, filter: {kind: "", run: "", stage: "", status: "", low: null, high: null, text: ""}, order: null, page: 0, found: [], chosen: null, other: null, coloring: "logprob", diff: true};
  browser.top = Math.max(...columns.advantage.filter(known).map(Math.abs), 1e-9);
  browser.rows = el("tbody");
  browser.count = el("p", {role: "status", class: "soft"});
  browser.detail = el("div", {id: "attempt", tabindex: -1, "aria-live": "polite"});
  browser.back = el("button", {type: "button", class: "plain", onclick: () => turnPage(browser, -1)}, "previous");
  browser.on = el("button", {type: "button", class: "plain", onclick: () => turnPage(browser, 1)}, "next");
  const grid = el("table", {class: "list", role: "grid", "aria-label": "attempts"}, el("thead", {}, el("tr", {}, listHeads(browser))), browser.rows);
  host.append(el("p", {class: "soft"}, index.rule), filters(browser),
    el("p", {class: "soft"}, el("kbd", {}, "↑"), " ", el("kbd", {}, "↓"), " or ", el("kbd", {}, "k"), " ", el("kbd", {}, "j"), " another attempt, ", el("kbd", {}, "["), " ", el("kbd", {}, "]"), " another page of them, ", el("kbd", {}, "c"), " compare with another student, ", el("kbd", {}, "Tab"), " to its tokens, ", el("kbd", {}, "←"), " ", el("kbd", {}, "→"), " along them."),
    el("div", {class: "browser"}, el("div", {}, browser.count, el("div", {class: "tall"}, grid), el("div", {class: "controls"}, browser.back, browser.on)), browser.detail));
  grid.addEventListener("keydown", event => listKey(browser, event));
  const wanted = Number(location.hash.split("/")[1]);
  browser.chosen = Number.isInteger(wanted) && wanted >= 0 && wanted < index.count && location.hash.includes("/") ? wanted : null;
  search(browser);
  await look(browser, browser.chosen ?? browser.found[0]);
}

function filters(browser) {
  const {columns, filter} = browser;
  const values = name => [...new Set(columns[name])].filter(known).sort();
  const pick = (title, name, options) => label(title, choice([["", "all"], ...options], "", value => { filter[name] = value; search(browser); }));
  const bound = (title, name) => label(title, el("input", {type: "number", min: 0, oninput: event => {
    filter[name] = event.target.value === "" ? null : Number(event.target.value);
    search(browser);
  }}));
  const runs = values("run");
  return el("div", {class: "controls", role: "search"},
    pick("kind", "kind", values("kind").map(one => [one, one])),
    runs.length > 1 ? pick("run", "run", runs.map(run => [String(run), runName(run)])) : "",
    pick("stage", "stage", values("stage").map(one => [one, one])),
    pick("verdict", "status", [...values("status").map(one => [one, one]), ["none", "not judged"]]),
    bound("tokens from", "low"), bound("to", "high"),
    label("problem or beginning", el("input", {type: "text", oninput: event => { filter.text = event.target.value.toLowerCase(); search(browser); }})));
}

const LISTED = [["verdict", "status"], ["problem", "problem"], ["student", "run"], ["tokens", "tokens"], ["advantage", "advantage"], ["beginning", "preview"]];
function listHeads(browser) {
  let direction = 1;
  const heads = LISTED.map(([title, name]) => {
    const head = el("th", {scope: "col"}, el("button", {type: "button", onclick: () => {
      direction = browser.order?.name === name ? -direction : 1;
      browser.order = {name, direction};
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      search(browser);
    }}, title));
    return head;
  });
  return heads;
}

function matches({columns, filter}, place) {
  const status = columns.status[place] ?? "none", tokens = columns.tokens[place];
  return (!filter.kind || columns.kind[place] === filter.kind) && (filter.run === "" || columns.run[place] === Number(filter.run))
    && (!filter.stage || columns.stage[place] === filter.stage) && (!filter.status || status === filter.status)
    && (filter.low === null || tokens >= filter.low) && (filter.high === null || tokens <= filter.high)
    && (!filter.text || columns.problem[place].toLowerCase().includes(filter.text) || columns.preview[place].toLowerCase().includes(filter.text));
}

function search(browser) {
  browser.found = [];
  for (let place = 0; place < browser.index.count; place++) if (matches(browser, place)) browser.found.push(place);
  if (browser.order) {
    const {name, direction} = browser.order, column = browser.columns[name];
    browser.found.sort((one, other) => direction * compared(column[one], column[other], direction));
  }
  const here = browser.found.indexOf(browser.chosen);
  browser.page = here < 0 ? 0 : Math.floor(here / ROWS);
  list(browser);
}

function turnPage(browser, by) {
  const last = Math.max(0, Math.ceil(browser.found.length / ROWS) - 1);
  browser.page = Math.min(last, Math.max(0, browser.page + by));
  list(browser);
}

function list(browser) {
  const {columns, found, page} = browser, start = page * ROWS, shown = found.slice(start, start + ROWS);
  const correct = found.filter(place => columns.status[place] === "correct").length;
  browser.count.textContent = found.length ? `${(start + 1).toLocaleString("en-US")} to ${(start + shown.length).toLocaleString("en-US")} of ${found.length.toLocaleString("en-US")} attempts, ${correct.toLocaleString("en-US")} of them correct` : "No attempt is like that.";
  browser.back.disabled = page === 0;
  browser.on.disabled = start + ROWS >= found.length;
  browser.rows.replaceChildren(...shown.map(place => el("tr", {
    "data-place": place, tabindex: place === browser.chosen ? 0 : -1, "aria-selected": String(place === browser.chosen),
    onclick: () => look(browser, place),
  }, el("td", {}, badge(columns.status[place] ?? "not judged")), el("td", {}, columns.problem[place]), el("td", {}, origin(columns, place)),
  el("td", {class: "number"}, count(columns.tokens[place])), el("td", {class: "number"}, known(columns.advantage[place]) ? columns.advantage[place].toFixed(2) : "-"),
  el("td", {}, columns.preview[place]))));
  if (!browser.rows.querySelector("[tabindex='0']") && browser.rows.firstChild) browser.rows.firstChild.tabIndex = 0;
}

function origin(columns, place) {
  const step = columns.step[place], about = known(step) ? `, step ${step}` : columns.kind[place] === "benchmark" ? ", benchmark" : "";
  return student({run: columns.run[place], stage: columns.stage[place]}) + about;
}

function listKey(browser, event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("thead")) return;
  const by = {ArrowDown: 1, j: 1, ArrowUp: -1, k: -1}[event.key];
  if (by) {
    const next = browser.found[Math.max(0, browser.found.indexOf(browser.chosen) + by)];
    if (known(next)) look(browser, next, true);
  } else if (event.key === "[" || event.key === "]") {
    turnPage(browser, event.key === "]" ? 1 : -1);
    browser.rows.firstChild?.focus();
  } else if (event.key === "Enter") {
    const row = event.target.closest("tr[data-place]");
    if (row) look(browser, Number(row.dataset.place)).then(() => browser.detail.focus());
  } else if (event.key === "c") {
    browser.other = browser.other === null ? others(browser)[0] ?? null : null;
    detail(browser);
  } else return;
  event.preventDefault();
}

async function look(browser, place, focus) {
  if (!known(place)) return;
  browser.chosen = place;
  browser.other = null;
  history.replaceState(null, "", `#trajectories/${place}`);
  const at = browser.found.indexOf(place);
  if (at >= 0) browser.page = Math.floor(at / ROWS);
  list(browser);
  const row = browser.rows.querySelector("[aria-selected='true']");
  if (row && focus) { row.focus(); row.scrollIntoView({block: "nearest"}); }
  await detail(browser);
}

const record = async (browser, place) => (await unpack(`attempts-${Math.floor(place / browser.index.piece)}`))[place % browser.index.piece];

// Other attempts at the same problem; those of other students come first.
function others({columns, index, chosen}) {
  const found = [], self = origin(columns, chosen);
  for (let place = 0; place < index.count; place++) if (place !== chosen && columns.problem[place] === columns.problem[chosen]) found.push(place);
  const same = place => Number(columns.kind[place] !== columns.kind[chosen]) + 2 * Number(origin(columns, place) === self);
  return found.sort((one, other) => same(one) - same(other) || one - other);
}

async function detail(browser) {
  const {columns, chosen, other} = browser;
  const one = await record(browser, chosen), two = other === null ? null : await record(browser, other);
  if (browser.chosen !== chosen || browser.other !== other) return; // somebody was faster
  const rivals = others(browser), name = place => `${origin(columns, place)}, ${columns.status[place] ?? "not judged"} (${place})`;
  const pick = choice([["", rivals.length ? "nobody" : "nobody else tried this problem"], ...rivals.map(place => [String(place), name(place)])], other === null ? "" : String(other), value => {
    browser.other = value === "" ? null : Number(value);
    detail(browser);
  });
  const asked = askedOf(one), otherwise = two && askedOf(two) !== asked;
  const before = two && browser.diff ? differing(responseOf(one), responseOf(two)) : null;
  const answers = [answer(browser, one, chosen, before?.first)];
  if (two) answers.push(answer(browser, two, other, before?.second));
  browser.detail.replaceChildren(
    el("h2", {style: "margin-top:0"}, columns.problem[chosen]),
    el("p", {class: "text"}, asked), el("p", {}, known(one.answer) ? `gold answer: ${one.answer}` : "nobody knows the answer"),
    el("div", {class: "controls"},
      label("color by", choice(COLORINGS, browser.coloring, value => { browser.coloring = value; detail(browser); })),
      label("beside it", pick),
      two ? el("label", {}, el("input", {type: "checkbox", checked: browser.diff, onchange: event => { browser.diff = event.target.checked; detail(browser); }}), "what differs") : ""),
    otherwise ? el("p", {class: "warning", role: "note"}, `The other one was asked otherwise: ${askedOf(two)}`) : "",
    el("div", {class: "answers"}, answers));
}

const askedOf = record => record.turns.filter(turn => turn.role === "user").at(-1)?.text ?? "";
const responseOf = record => record.turns.filter(turn => turn.role === "assistant").at(-1)?.text ?? "";

function answer(browser, record, place, parts) {
  const {columns} = browser;
  const facts = [`${count(columns.tokens[place])} tokens`];
  if (columns.finish[place] !== "stop") facts.push(columns.finish[place] === "length" ? "cut off at its limit" : "failed");
  if (known(columns.reward[place])) facts.push(`reward ${amount(columns.reward[place])}`);
  for (const [name, value] of Object.entries(record.parts || {})) facts.push(`${name} ${known(value) ? amount(value) : "unknown"}`);
  if (known(columns.advantage[place])) facts.push(`advantage ${columns.advantage[place].toFixed(3)}`);
  if (columns.context[place]) facts.push(`context ${columns.context[place]}`);
  if (record.control) facts.push("a control, never trained on");
  const last = record.turns.findLastIndex(turn => turn.role === "assistant");
  const turns = record.turns.map((turn, number) => [
    number === record.turns.length - 2 && turn.role === "user" ? null : el("div", {class: "role"}, turn.role),
    number === record.turns.length - 2 && turn.role === "user" ? null
      : number === last && parts ? el("div", {class: "text said"}, parts) : said(browser, turn, columns.advantage[place]),
  ]);
  return el("article", {class: "answer", "aria-label": origin(columns, place)}, el("h3", {}, origin(columns, place), " ", badge(columns.status[place] ?? "not judged")),
    el("p", {class: "soft"}, facts.join(" · ")), record.detail ? el("p", {class: "soft"}, record.detail) : null, turns);
}

// A turn with its tokens, each in the color of what is asked for; point at one, or go along them with the arrow keys.
function said(browser, turn, advantage) {
  if (!turn.lengths) return el("div", {class: "text" + (turn.role === "assistant" ? " said" : "")}, turn.text || "(nothing)");
  const spans = [];
  let start = 0;
  turn.lengths.forEach((length, place) => {
    const token = el("span", {}, turn.text.slice(start, start + length)), [kind, depth] = shade(browser, turn, place, advantage);
    if (depth > 0.02) { token.className = kind; token.style.setProperty("--depth", (0.65 * depth).toFixed(3)); }
    token.dataset.told = [JSON.stringify(turn.text.slice(start, start + length)), told(turn, place, advantage)].filter(Boolean).join("\n");
    start += length;
    spans.push(token);
  });
  const host = el("div", {class: "text said", tabindex: 0, role: "group", "aria-label": "tokens"}, spans);
  const show = token => { spans.forEach(one => one.classList.toggle("here", one === token)); tell(token); };
  host.addEventListener("pointerover", event => { if (event.target.dataset.told) show(event.target); });
  host.addEventListener("pointerleave", () => show(null));
  host.addEventListener("blur", () => show(null));
  host.addEventListener("keydown", event => {
    const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!by) return;
    event.preventDefault();
    const here = spans.findIndex(one => one.classList.contains("here"));
    show(spans[Math.min(spans.length - 1, Math.max(0, here + by))]);
  });
  return host;
}

function shade(browser, turn, place, advantage) {
  if (browser.coloring === "logprob") return turn.logprobs ? ["low", Math.min(1, turn.logprobs[place] / 100 / LOWEST)] : ["", 0];
  if (browser.coloring === "advantage") return known(advantage) ? [advantage > 0 ? "plus" : "low", Math.abs(advantage) / browser.top] : ["", 0];
  if (browser.coloring === "behind") return turn.behind ? ["behind", Math.min(1, turn.behind[place] / 4)] : ["", 0];
  return ["", 0];
}

function told(turn, place, advantage) {
  const lines = [];
  if (turn.logprobs) lines.push(`log-prob ${(turn.logprobs[place] / 100).toFixed(2)} (probability ${Math.exp(turn.logprobs[place] / 100).toPrecision(2)})`);
  if (known(advantage)) lines.push(`advantage ${advantage.toFixed(3)}`);
  if (turn.behind) lines.push(`sampled ${turn.behind[place]} updates behind`);
  return lines.join("\n");
}

let tip = null;
function tell(token) {
  if (!tip) document.body.append(tip = el("div", {id: "tip", role: "status", hidden: true}));
  tip.hidden = !token;
  if (!token) return;
  tip.textContent = token.dataset.told;
  const at = token.getBoundingClientRect(), box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(at.left, innerWidth - box.width - 8)) + "px";
  tip.style.top = (at.bottom + box.height + 10 < innerHeight ? at.bottom + 6 : Math.max(4, at.top - box.height - 6)) + "px";
}
