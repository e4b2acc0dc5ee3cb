// Figures, all drawn by Plotly, in the colors of the page.
const COLORS = ["#3b7dd8", "#e0812b", "#2f9e62", "#c94f7c", "#8a63c9", "#b58b00", "#1a9aa8", "#d1493f", "#7a8794", "#6b9c2e"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const DASH_MARKS = ["━━", "╍╍", "┈┈", "╍┈", "━ ━", "━┈"];
const color = place => COLORS[place % COLORS.length];

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", () => {
  for (const plot of document.querySelectorAll("section:not([hidden]) .plot")) plot.redraw();
});

function themed(layout) {
  const style = getComputedStyle(document.documentElement), of = name => style.getPropertyValue(name).trim();
  const axis = {gridcolor: of("--line"), zerolinecolor: of("--line"), linecolor: of("--line"), automargin: true};
  const mixed = {...layout};
  for (const name of ["xaxis", "yaxis"]) mixed[name] = {...axis, ...layout[name]};
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: {color: of("--ink"), size: 12},
    margin: {l: 50, r: 12, t: 12, b: 44}, hoverlabel: {bgcolor: of("--paper"), font: {color: of("--ink")}, namelength: -1},
    legend: {orientation: "h", y: -0.22}, colorway: COLORS, ...mixed,
  };
}

// A figure with a name for those who do not see it. `parts` gives its traces and its layout, again when the colors change.
function figure(name, parts, height = 340) {
  const plot = el("div", {class: "plot", role: "img", "aria-label": name, style: `height:${height}px`});
  const draw = async () => {
    const library = await plotly(), {traces, layout} = parts();
    if (!plot.isConnected) return;
    const narrow = plot.clientWidth < 500;
    const options = {displaylogo: false, responsive: true, displayModeBar: narrow ? false : "hover", modeBarButtonsToRemove: ["select2d", "lasso2d"]};
    await library.react(plot, traces, themed({...layout, height}), options);
    plot.dataset.drawn = "yes";
  };
  plot.redraw = draw;
  requestAnimationFrame(draw);
  return plot;
}

// Values with intervals, one line each, the first at the top.
const MOST_LINES = 60;
function dots(name, rows, {title, text, value, low, high, group}) {
  const shown = rows.slice(0, MOST_LINES), names = shown.map(text);
  const parts = () => ({
    traces: [{
      type: "scatter", mode: "markers", x: shown.map(value), y: names, marker: {size: 9, color: shown.map(row => color(group ? group(row) : 0))},
      error_x: {
        type: "data", symmetric: false, thickness: 1.5, width: 3, color: "#8a939e",
        array: shown.map(row => known(high(row)) ? high(row) - value(row) : 0),
        arrayminus: shown.map(row => known(low(row)) ? value(row) - low(row) : 0),
      },
      hovertemplate: "%{y}: %{x:.4g}<extra></extra>",
    }],
    layout: {xaxis: {title: {text: title}}, yaxis: {autorange: "reversed", type: "category", ticklabeloverflow: "allow"}, margin: {l: 10, r: 12, t: 8, b: 44}},
  });
  const left = rows.length - shown.length;
  return el("div", {class: "chart"}, figure(name, parts, 90 + 22 * names.length),
    left > 0 ? el("p", {class: "soft"}, `The first ${MOST_LINES} are drawn; ${left} more are in the table.`) : null);
}
