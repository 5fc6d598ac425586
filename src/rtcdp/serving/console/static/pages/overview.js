// How things stand, and what happens right now.

import {follow, get, part} from "../api.js";
import {grouped, lines} from "../charts.js";
import {bar, card, h, table} from "../dom.js";
import {profileLink} from "./segments.js";
import {clock, number, summed, t, when} from "../text.js";

const KINDS = {entered: "entries", exited: "exits", sent: "sent", not_sent: "notSent"};
const MOST = 40;
const SHOWN = 10;
const HALF_HOUR = 6; // of five minutes

export async function show(_, signal) {
  const [fresh, flows, found] = await Promise.all([get("/v1/freshness"), get("/v1/flows"), get("/v1/segments")]);
  const series = Object.entries(KINDS).map(([kind, label]) => {
    const counts = Object.entries(flows.counts).filter(([what]) => what.split("|")[0] === kind).map(([, values]) => values);
    return {label: t(label), all: counts.flat(), values: flows.at.map((_at, place) => counts.reduce((sum, values) => sum + values[place], 0))};
  });
  const [at, ...sums] = grouped(HALF_HOUR, flows.at, ...series.map((one) => one.values));
  const largest = found.segments.toSorted((a, b) => b.size - a.size).slice(0, SHOWN);
  const total = (place) => summed(series[place].all);
  const lag = Object.values(fresh.partitions).reduce((sum, one) => sum + one.lag, 0);
  const tile = (label, value, note, kind = "") => h("section", {class: "card quarter tile"}, h("p", {}, label),
    h("div", {class: `number ${kind}`}, value), h("p", {}, note));
  const list = h("ul", {class: "live", tabindex: "0", "aria-label": t("live")}, h("li", {class: "dim"}, t("waiting")));
  let first = true;
  follow("", (kind, record) => {
    if (first) { list.replaceChildren(); first = false; }
    list.prepend(entry(kind, record));
    while (list.children.length > MOST) list.lastChild.remove();
  }, signal).catch((problem) => list.replaceChildren(h("li", {class: "bad"}, problem.message)));
  const behind = fresh.behind_s === null ? "–" : `${fresh.behind_s.toFixed(1)} s`;
  return [
    h("div", {class: "grid"},
      tile(t("fresh"), behind, fresh.complete ? t("complete") : t("filling"), fresh.complete && fresh.behind_s < 5 ? "good" : "warn"),
      tile(t("lag"), number(lag), "Kafka → Redis"),
      tile(t("entries"), total(0), `${t("exits")} ${total(1)} ${t("perDay")}`),
      tile(t("sent"), total(2), `${t("notSent")} ${total(3)} ${t("perDay")}`)),
    h("div", {class: "grid"}, card(t("flow"), "wide", lines(at, series.map((one, place) => ({...one, values: sums[place]})), 260)), card(t("live"), "third", list),
      card(t("segments"), "half", table([t("name"), t("size"), ""], largest.map((one) =>
        [h("a", {href: `#/segments/${part(one.name)}`}, one.name), number(one.size), bar(one.size / Math.max(1, largest[0].size))]), [1])),
      found.stages.length > 0 && card(t("stages"), "half", table([t("name"), t("size"), ""], found.stages.map((one) =>
        [one.name, number(one.size), bar(one.size / Math.max(1, ...found.stages.map((each) => each.size)), true)]), [1]))),
  ];
}

/** A record as a line: when, what, and (`whose`) of which profile. */
export function entry(kind, record, whose = true) {
  const key = record.profile || record.subject;
  const name = record.name || record.data.trigger;
  const what = {entered: "→", exited: "←", trigger: "★", not_sent: "✕", tag: "#", stage: "◆", cancel: "↩", consent: "§"}[kind] || "·";
  const detail = record.reason || (kind === "cancel" && record.data.reason) || (kind === "tag" || kind === "stage" || kind === "consent" ? `${record.old ?? "–"} → ${record.new ?? "–"}` : "");
  const at = record.at || record.time;
  return h("li", {}, h("time", {datetime: at}, whose ? clock(at) : when(at)), h("span", {class: kind === "trigger" ? "good" : ""}, `${what} ${name}`),
    detail && h("span", {class: "dim"}, detail),
    whose && profileLink(key));
}
