// A back-test: what a draft would have made of the recent past. A part of the page of definitions.

import {post} from "../api.js";
import {lines} from "../charts.js";
import {bar, card, h, table} from "../dom.js";
import {days, number, t, when} from "../text.js";
import {profileLink} from "./segments.js";

const DAYS = [1, 7, 30, 90];
const DAY_MS = 86400000;

/** The choice of how far back, and where the result is shown. Both are put on the page by whoever asks. */
export function backtest() {
  const choice = h("select", {id: "days"}, DAYS.map((count) => h("option", {value: count, selected: count === 7}, days(count))));
  const place = h("div", {role: "status"});
  /** Test {files} or {version}. */
  const run = async (what) => {
    place.replaceChildren(card(t("backtest"), "", h("p", {class: "dim"}, t("testing"))));
    place.scrollIntoView({block: "start"});
    try {
      place.replaceChildren(...result(await post("/v1/definitions/backtest", {...what, days: Number(choice.value)})));
    } catch (problem) {
      place.replaceChildren(card(t("backtest"), "problem", h("p", {class: "bad"}, problem.message), h("ul", {}, problem.errors.map((text) => h("li", {}, text)))));
    }
  };
  return {days: h("label", {for: "days"}, t("past"), choice), place, run};
}

function result(found) {
  const most = Math.max(1, ...found.segments.flatMap((one) => [one.members.old, one.members.new]));
  const pair = (beside, largest) => h("div", {class: "pair"}, bar(beside.old / largest), bar(beside.new / largest, true));
  const some = (keys) => keys.map((key) => h("div", {}, profileLink(key)));
  const segments = found.segments.map((one) => [one.name, number(one.members.old), number(one.members.new), pair(one.members, most),
    signed(one.enter, "+"), signed(one.leave, "−"), one.overlap === null ? "–" : `${Math.round(one.overlap * 100)} %`, some(one.entering), some(one.leaving)]);
  const sent = Math.max(1, ...found.triggers.flatMap((one) => [one.sent.old, one.sent.new]));
  const triggers = found.triggers.map((one) => [one.name, number(one.sent.old), number(one.sent.new), pair(one.sent, sent),
    Object.entries(one.not_sent).map(([reason, count]) => h("span", {class: "chip"}, `${reason} ${number(count)}`))]);
  const groups = [...found.tags, ...found.stages].map((one) => [one.name, number(one.profiles.old), number(one.profiles.new)]);
  const head = [t("name"), t("current"), t("draft")];
  const cost = ["old", "new"].map((which) => [t(which === "old" ? "current" : "draft"), h("code", {}, found[which].version), number(found[which].bytes_mean), number(found[which].events_per_s)]);
  return [h("div", {class: "grid"},
    card(t("backtest"), "", h("p", {}, `${when(found.since)} – ${when(found.until)} · ${number(found.events)} ${t("events")} · ${number(found.profiles)} ${t("profiles")}`),
      found.cut && h("p", {class: "warn"}, t("cut")), h("p", {class: "dim"}, t("fromEmpty"))),
    card(t("segments"), "", segments.length
      ? table([...head, "", t("joins"), t("leaves"), t("inBoth"), t("joining"), t("leaving")], segments, [1, 2, 4, 5, 6]) : h("p", {class: "dim"}, t("none"))),
    card(`${t("triggers")} · ${t("sent")}`, "half", triggers.length ? table([...head, "", t("reasons")], triggers, [1, 2]) : h("p", {class: "dim"}, t("none"))),
    card(t("perDaySent"), "half", perDay(found)),
    groups.length > 0 && card(`${t("tags")}, ${t("stages")}`, "half", table(head, groups, [1, 2])),
    card(t("cost"), "half", table(["", t("version"), t("bytes"), t("eventsPerSecond")], cost, [2, 3])))];
}

const signed = (count, sign) => count ? `${sign}${number(count)}` : number(count);

/** What both versions would have sent on each day of the past. */
function perDay(found) {
  const dates = [];
  for (let at = Math.floor(Date.parse(found.since) / DAY_MS); at <= Math.floor(Date.parse(found.until) / DAY_MS); at += 1) {
    dates.push(new Date(at * DAY_MS).toISOString().slice(0, 10));
  }
  const sum = (which) => dates.map((day) => found.triggers.reduce((all, one) => all + (one.days[day]?.[which] ?? 0), 0));
  return lines(dates.map((day) => `${day}T00:00:00Z`), [{label: t("current"), values: sum("old")}, {label: t("draft"), values: sum("new")}]);
}
