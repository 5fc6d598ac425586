// Segments: how many, how it went, who, what they share.

import {download, get, part} from "../api.js";
import {lines} from "../charts.js";
import {bar, card, h, say, table} from "../dom.js";
import {number, t, when} from "../text.js";

export async function show([chosen]) {
  const found = await get("/v1/segments");
  const most = Math.max(1, ...found.segments.map((one) => one.size));
  const rows = found.segments.map((one) => [
    h("a", {href: `#/segments/${part(one.name)}`, "aria-current": one.name === chosen ? "true" : null}, one.name),
    number(one.size), bar(one.size / most), one.description || h("code", {}, one.condition)]);
  const staged = Math.max(1, ...found.stages.map((one) => one.size));
  const list = card("", "", table([t("name"), t("size"), "", t("description")], rows, [1]));
  const stages = found.stages.length > 0 && card(t("stages"), "",
    table([t("name"), t("size"), ""], found.stages.map((one) => [one.name, number(one.size), bar(one.size / staged, true)]), [1]));
  const detail = chosen ? await one(found.segments.find((segment) => segment.name === chosen), chosen) : [];
  return [...detail, h("div", {class: "grid"}, list, stages)];
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
        lines(sizes.sizes.map((at) => at.at), [{label: t("size"), values: sizes.sizes.map((at) => at.size), fill: true},
          {label: t("exits"), values: sizes.sizes.map((at) => at.exited)}, {label: t("entries"), values: sizes.sizes.map((at) => at.entered)}])),
      card(t("overlap"), "third", table([t("name"), t("size"), ""], shared.map(([other, count]) =>
        [h("a", {href: `#/segments/${part(other)}`}, other), number(count), bar(count / Math.max(1, overlap.size))]), [1]),
        overlap.sampled < overlap.size && h("p", {class: "dim"}, `${t("estimated")} ${number(overlap.sampled)}`)),
      card(t("members"), "", h("p", {}, h("button", {type: "button", onclick: exported}, t("csv"))),
        h("div", {class: "scroll"}, h("table", {}, h("thead", {}, h("tr", {}, h("th", {scope: "col"}, t("profile")), h("th", {scope: "col"}, t("entered")))), body)), more)),
  ];
}

/** A link to a profile, by its key; of a pseudonym, which leads to nobody, its text. */
export function profileLink(key) {
  const [, namespace, value] = key.match(/^[^/]*\/([^:]*):(.*)$/) || [null, "", key];
  const text = decodeURIComponent(value);
  if (text.startsWith("~")) return h("code", {}, `${namespace}:${text}`);
  return h("a", {href: `#/profile/${part(namespace)}/${part(text)}`}, `${namespace}:${text}`);
}
