// Tabs: one is shown, made when it is first opened, and named by the hash of the address.
let head = null;

function pages() {
  return [
    ["overview", "Overview", overview, true],
    ["curves", "Curves", curvesPage, true],
    ["alarms", "Alarms", alarmsPage, true],
    ["costs", "Costs", costsPage, true],
    ["benchmarks", "Benchmarks", benchmarksPage, true],
    ["words", "Words", wordsPage, true],
    ["trajectories", "Trajectories", attemptsPage, true],
    ["gradients", "Gradients", gradientsPage, head.gradients > 0],
    ["environment", "Environment", environmentPage, true],
  ].filter(([, , , there]) => there);
}

async function begin() {
  head = await unpack("head");
  document.getElementById("about").textContent = `Made ${head.made} by rl_distill ${head.version}. It holds all that it shows and loads nothing.`;
  const list = document.getElementById("tabs"), main = document.getElementById("main"), made = new Set();
  const tabs = pages().map(([name, title, fill]) => {
    const panel = el("section", {id: `panel-${name}`, role: "tabpanel", "aria-labelledby": `tab-${name}`, hidden: true});
    const button = el("button", {id: `tab-${name}`, type: "button", role: "tab", "aria-controls": `panel-${name}`, onclick: () => go(name)}, title);
    list.append(button);
    main.append(panel);
    return {name, panel, button, fill};
  });
  const open = () => {
    const wanted = location.hash.slice(1).split("/")[0], current = tabs.find(tab => tab.name === wanted) || tabs[0];
    for (const tab of tabs) {
      tab.panel.hidden = tab !== current;
      tab.button.setAttribute("aria-selected", String(tab === current));
      tab.button.tabIndex = tab === current ? 0 : -1;
    }
    if (!made.has(current.name)) {
      made.add(current.name);
      Promise.resolve(current.fill(current.panel)).then(() => { current.panel.dataset.ready = "yes"; });
    } else for (const plot of current.panel.querySelectorAll(".plot")) plot.redraw(); // the colors may have changed meanwhile
  };
  const go = name => { if (location.hash !== "#" + name) location.hash = name; };
  list.addEventListener("keydown", event => {
    const here = tabs.findIndex(tab => tab.button === document.activeElement);
    const next = {ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: tabs.length - 1}[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const tab = tabs[(next + tabs.length) % tabs.length];
    go(tab.name);
    tab.button.focus();
  });
  document.querySelector(".skip").addEventListener("click", event => { event.preventDefault(); main.focus(); });
  addEventListener("hashchange", open);
  open();
}
begin();
