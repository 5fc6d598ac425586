// Who is whose: a person and their identifiers, drawn, and as a table: since when, by which event.

import {h, table} from "./dom.js";
import {t, when} from "./text.js";

const ROW = 46;
const WIDTH = 760;
const PERSON = 250;
const OTHERS = 420;
const MOST = 24; // beyond, the table alone tells

/** An element of a drawing: as h(), in SVG's namespace. */
function s(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.flat());
  return element;
}

const short = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const plain = (key) => {
  const [namespace, ...rest] = key.split(":");
  try {
    return `${namespace}:${decodeURIComponent(rest.join(":"))}`;
  } catch {
    return key;
  }
};

/** identifiers: as of a profile, `NAMESPACE:VALUE` to `TIME by EVENT`. person: profile key. split: called with one that is not theirs. */
export function identities(person, identifiers, split) {
  const found = Object.entries(identifiers).map(([key, said]) => {
    const [since, event] = said.split(" by ", 2);
    return {key, name: plain(key), since, event};
  });
  if (!found.length) return h("p", {class: "dim"}, t("alone"));
  const name = plain(person.slice(person.indexOf("/") + 1));
  return h("div", {}, drawing(name, found.slice(0, MOST)),
    table([t("namespace"), t("since"), t("byEvent"), ""], found.map((one) => [one.name, when(one.since), h("code", {}, one.event), leave(one, name, split)])));
}

/** The button that takes an identifier out of a person; a token that is not told who it is names it by its pseudonym. */
const leave = (one, person, split) => h("button", {type: "button", "aria-label": `${t("split")}: ${one.name}`,
  onclick: (event) => confirm(t("splitAsk").replace("{one}", one.name).replace("{person}", person)) && split(one.key, event.target)}, t("split"));

function drawing(person, found) {
  const height = found.length * ROW;
  const middle = height / 2;
  const edges = found.map((_, place) => {
    const y = place * ROW + ROW / 2;
    return s("path", {class: "edge", d: `M${PERSON} ${middle} C${(PERSON + OTHERS) / 2} ${middle} ${(PERSON + OTHERS) / 2} ${y} ${OTHERS} ${y}`});
  });
  const nodes = found.map((one, place) => {
    const y = place * ROW + ROW / 2;
    return s("g", {}, s("circle", {class: "node", cx: OTHERS, cy: y, r: 6}),
      s("text", {class: "name", x: OTHERS + 14, y: y - 1}, short(one.name, 42)),
      s("text", {class: "said", x: OTHERS + 14, y: y + 15}, `${when(one.since)} · ${short(one.event, 28)}`));
  });
  return s("svg", {class: "graph", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": `${person}: ${found.map((one) => one.name).join(", ")}`},
    edges, s("circle", {class: "person", cx: PERSON, cy: middle, r: 9}),
    s("text", {class: "name", x: PERSON - 16, y: middle + 5, "text-anchor": "end"}, short(person, 28)), nodes);
}
