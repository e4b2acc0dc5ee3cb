"use strict";
// What the page holds is gzip in base64, in script elements that are not run; each is unpacked when it is first asked for.
const promised = new Map();

async function inflate(name) {
  const letters = atob(document.getElementById("data-" + name).textContent);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

function unpack(name) {
  if (!promised.has(name)) promised.set(name, inflate(name).then(JSON.parse));
  return promised.get(name);
}

let library = null;
function plotly() {
  library ??= inflate("plotly").then(code => {
    const script = document.createElement("script");
    script.textContent = code;
    document.head.append(script);
    return window.Plotly;
  });
  return library;
}
