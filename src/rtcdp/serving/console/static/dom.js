// Building the page. Everything that comes from outside becomes text, never markup.

/** An element: h("td", {class: "num"}, "5"). Attributes beginning with `on` are listeners; null and false are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A card with a heading. size: "", "half", "third", "quarter", "wide". */
export const card = (title, size, ...children) => h("section", {class: `card ${size}`}, title && h("h2", {}, title), ...children);

/** A table. head: texts; those in `numbers` (places) are right-aligned. rows: arrays of children. */
export function table(head, rows, numbers = []) {
  const kind = (place) => (numbers.includes(place) ? {class: "num"} : {});
  return h("div", {class: "scroll", tabindex: "0", role: "group", "aria-label": head[0]}, h("table", {},
    h("thead", {}, h("tr", {}, head.map((text, place) => h("th", {scope: "col", ...kind(place)}, text)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map((cell, place) => h("td", kind(place), cell)))))));
}

/** Names and values, in columns where there is room. */
export const list = (pairs) => h("dl", {class: "many"}, pairs.map(([name, held]) => h("div", {}, h("dt", {}, name), h("dd", {}, held))));

/** A bar whose length is a share (0 to 1). */
export function bar(share, second = false) {
  const inner = h("div", {class: second ? "bar second" : "bar"});
  if (share > 0) inner.style.width = `max(2px, ${Math.min(1, share) * 100}%)`; // whatever there is can be seen, nothing is none
  return h("div", {class: "track"}, inner);
}

/** One sentence at the bottom of the window, for a moment. */
export function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { place.textContent = ""; }, 6000);
}
