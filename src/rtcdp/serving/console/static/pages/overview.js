// How things stand, and what happens right now.

import {follow, get, part} from "../api.js";
import {grouped, lines} from "../charts.js";
import {bar, card, h, table} from "../dom.js";
import {profileLink} from "./segments.js";
import {clock, notSentFor, number, summed, t, when} from "../text.js";

const KINDS = {entered: "entries", exited: "exits", sent: "sent", not_sent: "notSent"};
const MOST = 40;
const SHOWN = 10;
const SECOND = 1000;
const WINDOW = 10; // seconds over which a rate is taken
const HALF_HOUR = 6; // of five minutes

export async function show(_, signal) {
  const [fresh, flows, found] = await Promise.all([get("/v1/freshness"), get("/v1/flows"), get("/v1/segments")]);
  const series = Object.entries(KINDS).map(([kind, label]) => {
    const counts = Object.entries(flows.counts).filter(([what]) => what.split("|")[0] === kind).map(([, values]) => values);
    return {kind, label: t(label), all: [...counts.flat(), 0], values: flows.at.map((_at, place) => counts.reduce((sum, values) => sum + values[place], 0))};
  });
  const [at, ...sums] = grouped(HALF_HOUR, flows.at, ...series.map((one) => one.values));
  const largest = found.segments.toSorted((a, b) => b.size - a.size).slice(0, SHOWN);
  const tiles = [t("fresh"), t("lag"), t("entries"), t("sent")].map(tile);
  const rate = h("span", {class: "dim"});
  const stand = (now) => {
    const lag = Object.values(now.partitions).reduce((sum, one) => sum + one.lag, 0);
    tiles[0].set(now.behind_s === null ? "–" : `${now.behind_s.toFixed(1)} s`, now.complete ? t("complete") : t("filling"), now.complete && now.behind_s < 5 ? "good" : "warn");
    tiles[1].set(number(lag), "Kafka → Redis");
  };
  const count = () => {
    tiles[2].set(summed(series[0].all), `${t("exits")} ${summed(series[1].all)} ${t("perDay")}`);
    tiles[3].set(summed(series[2].all), `${t("notSent")} ${summed(series[3].all)} ${t("perDay")}`);
  };
  stand(fresh);
  count();
  const list = h("ul", {class: "live", tabindex: "0", "aria-label": t("live")}, h("li", {class: "dim"}, t("waiting")));
  const seen = [0];
  let first = true;
  follow("", (kind, record) => {
    if (first) { list.replaceChildren(); first = false; }
    list.prepend(entry(kind, record));
    while (list.children.length > MOST) list.lastChild.remove();
    seen[0] += 1;
    const counted = series.find((one) => one.kind === (kind === "trigger" ? "sent" : kind));
    if (counted) counted.all[counted.all.length - 1] += 1;
  }, signal).catch((problem) => list.replaceChildren(h("li", {class: "bad"}, problem.message)));
  every(SECOND, signal, () => {
    count();
    rate.textContent = ` · ${number(Math.round(seen.reduce((sum, one) => sum + one, 0) / seen.length * 10) / 10)} ${t("perSecond")}`;
    seen.unshift(0);
    seen.length = Math.min(seen.length, WINDOW);
  });
  every(2 * SECOND, signal, async () => stand(await get("/v1/freshness")));
  return [
    h("div", {class: "grid"}, tiles.map((one) => one.card)),
    h("div", {class: "grid"}, card(t("flow"), "wide", lines(at, series.map((one, place) => ({...one, values: sums[place]})), 260)), card([t("live"), rate], "third", list),
      card(t("segments"), "half", table([t("name"), t("size"), ""], largest.map((one) =>
        [h("a", {href: `#/segments/${part(one.name)}`}, one.name), number(one.size), bar(one.size / Math.max(1, largest[0].size))]), [1])),
      found.stages.length > 0 && card(t("stages"), "half", table([t("name"), t("size"), ""], found.stages.map((one) =>
        [one.name, number(one.size), bar(one.size / Math.max(1, ...found.stages.map((each) => each.size)), true)]), [1]))),
  ];
}

/** A number with its name above and a note below; `set` changes what it shows. */
function tile(label) {
  const value = h("div", {}), note = h("p", {});
  const set = (text, more, kind = "") => {
    value.textContent = text;
    value.className = `number ${kind}`;
    note.textContent = more;
  };
  return {card: h("section", {class: "card quarter tile"}, h("p", {}, label), value, note), set};
}

/** Do something again and again until the page is left; what fails is tried again. */
function every(pause, signal, act) {
  const timer = setInterval(() => Promise.resolve().then(act).catch(() => {}), pause);
  signal.addEventListener("abort", () => clearInterval(timer));
}

/** A record as a line: when, what, and (`whose`) of which profile. */
export function entry(kind, record, whose = true) {
  const key = record.profile || record.subject;
  const name = record.name || record.data.trigger;
  const what = {entered: "→", exited: "←", trigger: "★", not_sent: "✕", tag: "#", stage: "◆", cancel: "↩", consent: "§"}[kind] || "·";
  const detail = (record.reason && notSentFor(record.reason)) || (kind === "cancel" && record.data.reason) || (kind === "tag" || kind === "stage" || kind === "consent" ? `${record.old ?? "–"} → ${record.new ?? "–"}` : "");
  const at = record.at || record.time;
  return h("li", {}, h("time", {datetime: at}, whose ? clock(at) : when(at)), h("span", {class: kind === "trigger" ? "good" : ""}, `${what} ${name}`),
    detail && h("span", {class: "dim"}, detail),
    whose && profileLink(key));
}
