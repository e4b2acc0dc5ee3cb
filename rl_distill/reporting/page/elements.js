// Elements, numbers and tables. Text always goes in as text: a response may look like HTML.
function el(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat(2).filter(child => child !== null && child !== undefined));
  return made;
}

const known = value => value !== null && value !== undefined;
const count = value => known(value) ? Math.round(value).toLocaleString("en-US") : "unknown";
const share = value => known(value) ? value.toFixed(3) : "-";
function amount(value) {
  if (!known(value)) return "unknown";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e9)) return value.toExponential(2);
  return value.toLocaleString("en-US", {maximumSignificantDigits: size >= 1e4 ? 6 : 4});
}
const span = (low, high) => known(low) && known(high) ? `${share(low)} - ${share(high)}` : "-";

function label(text, control) { return el("label", {}, text, control); }

function choice(options, chosen, changed) {
  const made = el("select", {onchange: () => changed(made.value)});
  for (const [value, text] of options) made.append(el("option", {value, selected: value === chosen}, text));
  return made;
}

// columns: {title, value: row => what it is sorted by, show: row => text or element, number: right-aligned, short: on one line}
function table(columns, rows, {caption, tall, mark} = {}) {
  const body = el("tbody");
  const fill = ordered => body.replaceChildren(...ordered.map(row => el("tr", {class: mark ? mark(row) : null}, columns.map(column => {
    const shown = column.show ? column.show(row) : column.value(row);
    return el("td", {class: column.number ? "number" : column.short ? "short" : column.text || null}, known(shown) ? shown : "-");
  }))));
  let sorted = null, direction = 1;
  const heads = columns.map(column => {
    const head = el("th", {scope: "col", class: column.number ? "number" : null}, el("button", {type: "button", onclick: () => {
      direction = sorted === column ? -direction : column.number ? -1 : 1;
      sorted = column;
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      fill([...rows].sort((one, other) => direction * compared(column.value(one), column.value(other), direction)));
    }}, column.title));
    return head;
  });
  fill(rows);
  const made = el("table", {"aria-label": caption}, el("thead", {}, el("tr", {}, heads)), body);
  return el("div", {}, el("p", {class: "soft"}, caption), el("div", {class: tall ? "wide tall" : "wide", tabindex: 0, role: "region", "aria-label": caption}, made));
}

// What is not known comes last, whichever way is sorted.
function compared(one, other, direction) {
  if (!known(one) || !known(other)) return known(one) ? -direction : known(other) ? direction : 0;
  return typeof one === "number" ? one - other : String(one).localeCompare(String(other), "en", {numeric: true});
}

function badge(text) { return el("span", {class: "mark " + text}, text); }
