// Segments: how many, how it went, who, what they share.

import {download, get, part} from "../api.js";
import {grouped, lines} from "../charts.js";
import {bar, card, h, say, table} from "../dom.js";
import {number, t, when} from "../text.js";

const MANY = 10;
const HALF_HOUR = 6; // of five minutes

export async function show([chosen]) {
  const found = await get("/v1/segments");
  const most = Math.max(1, ...found.segments.map((one) => one.size));
  const rows = found.segments.toSorted((a, b) => b.size - a.size || a.name.localeCompare(b.name)).map((one) => [
    h("a", {href: `#/segments/${part(one.name)}`, "aria-current": one.name === chosen ? "true" : null}, one.name),
    number(one.size), bar(one.size / most), one.description || h("code", {}, one.condition)]);
  const staged = Math.max(1, ...found.stages.map((one) => one.size));
  const list = card(t("allSegments"), "", rows.length > MANY && search(() => list), table([t("name"), t("size"), "", t("description")], rows, [1]));
  const stages = found.stages.length > 0 && card(t("stages"), "",
    table([t("name"), t("size"), ""], found.stages.map((one) => [one.name, number(one.size), bar(one.size / staged, true)]), [1]));
  const detail = chosen ? await one(found.segments.find((segment) => segment.name === chosen), chosen) : [];
  return [...detail, h("div", {class: "grid"}, list, stages)];
}

/** A field that leaves only the rows of a card's table in which what was typed occurs. */
function search(place) {
  const field = h("input", {id: "search", type: "search", autocomplete: "off", oninput: () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of place().querySelectorAll("tbody tr")) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  }});
  return h("form", {role: "search", onsubmit: (event) => event.preventDefault()}, h("label", {for: "search"}, t("find"), field));
}

function moves(sizes) {
  const [at, entered, exited] = grouped(HALF_HOUR, sizes.map((one) => one.at), sizes.map((one) => one.entered), sizes.map((one) => one.exited));
  return lines(at, [{label: t("entries"), values: entered}, {label: t("exits"), values: exited}], 120);
}

async function one(segment, name) {
  const path = `/v1/segments/${part(name)}`;
  const [sizes, overlap, first] = await Promise.all([get(`${path}/sizes`), get(`${path}/overlap`), get(`${path}/members?limit=10`)]);
  const body = h("tbody", {});
  const more = h("button", {type: "button"}, t("more"));
  const add = (page) => {
    body.append(...page.members.map((member) => h("tr", {}, h("td", {}, profileLink(member.profile)), h("td", {}, when(member.entered)))));
    more.hidden = !page.next;
    more.onclick = async () => add(await get(`${path}/members?limit=10&cursor=${part(page.next)}`));
  };
  add(first);
  const exported = () => download(`${path}/members?format=csv`, `${name}.csv`).catch((problem) => say(problem.message));
  const shared = Object.entries(overlap.shared).sort(([, a], [, b]) => b - a);
  return [
    h("div", {class: "grid"},
      card(`${name} · ${number(segment.size)}`, "wide", h("p", {class: "dim"}, segment.description), h("p", {}, h("code", {}, segment.condition)),
        lines(sizes.sizes.map((at) => at.at), [{label: t("size"), values: sizes.sizes.map((at) => at.size), fill: true}], 180), moves(sizes.sizes)),
      card(t("overlap"), "third", table([t("name"), t("size"), ""], shared.map(([other, count]) =>
        [h("a", {href: `#/segments/${part(other)}`}, other), number(count), bar(count / Math.max(1, overlap.size))]), [1]),
        overlap.sampled < overlap.size && h("p", {class: "dim"}, `${t("estimated")} ${number(overlap.sampled)}`)),
      card(t("members"), "", h("p", {}, h("button", {type: "button", onclick: exported}, t("csv"))),
        h("div", {class: "scroll"}, h("table", {}, h("thead", {}, h("tr", {}, h("th", {scope: "col"}, t("profile")), h("th", {scope: "col"}, t("entered")))), body)), h("p", {}, more))),
  ];
}

/** A link to a profile, by its key; of a pseudonym, which leads to nobody, its text. */
export function profileLink(key) {
  const [, namespace, value] = key.match(/^[^/]*\/([^:]*):(.*)$/) || [null, "", key];
  const text = decodeURIComponent(value);
  if (text.startsWith("~")) return h("code", {}, `${namespace}:${text}`);
  return h("a", {href: `#/profile/${part(namespace)}/${part(text)}`}, `${namespace}:${text}`);
}
