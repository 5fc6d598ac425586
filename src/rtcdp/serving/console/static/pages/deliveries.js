// Deliveries: where they go, how each destination is, and what was given up.

import {get, part, post} from "../api.js";
import {bar, card, h, say, table} from "../dom.js";
import {number, t, when} from "../text.js";
import {profileLink} from "./segments.js";

const KIND = {on: "good", held: "warn", off: "bad"};
const SHARES = {delivered: "delivered", failed: "failed", expired: "late", cancelled: "withdrawn"};

export async function show([chosen]) {
  const [found, given] = await Promise.all([get("/v1/destinations"), get(`/v1/dead-deliveries?limit=200${chosen ? `&destination=${part(chosen)}` : ""}`)]);
  const notes = [!found.watched && t("unwatched"), found.silent.length > 0 && `${t("unanswered")}: ${found.silent.join(", ")}`].filter(Boolean);
  return [h("div", {class: "grid"},
    notes.length > 0 && card("", "", notes.map((text) => h("p", {class: "warn"}, text))),
    found.destinations.length > 0 && card(`${t("destination")} · ${t("sinceStart")}`, "", destinations(found.destinations, chosen)),
    card(`${t("dead")} · ${number(given.total)}`, "", given.total ? reasons(given.counts) : h("p", {class: "dim"}, t("none"))),
    given.deliveries.length > 0 && card(chosen || "", "", letters(given.deliveries)))];
}

function destinations(all, chosen) {
  const rows = all.map((one) => {
    const ended = Object.values(one.ended).reduce((sum, count) => sum + count, 0);
    const others = Object.entries(one.attempts).filter(([verdict]) => verdict !== "delivered");
    return [h("a", {href: `#/deliveries/${part(one.name)}`, "aria-current": one.name === chosen ? "true" : null}, one.name),
      [h("span", {class: KIND[one.state]}, t(one.state)), one.state === "off" && [" ", enable(one.name)]], number(one.waiting),
      ...Object.keys(SHARES).map((outcome) => number(one.ended[outcome] ?? 0)), bar((one.ended.delivered ?? 0) / Math.max(1, ended)),
      one.mean_s === null ? "–" : `${one.mean_s.toFixed(2)} s`,
      others.map(([verdict, count]) => h("span", {class: "chip"}, `${verdict} ${number(count)}`))];
  });
  return table([t("name"), t("state"), t("queued"), ...Object.values(SHARES).map(t), "", t("latency"), t("attempts")], rows, [2, 3, 4, 5, 6, 8]);
}

function enable(name) {
  const click = async () => {
    try {
      await post(`/v1/destinations/${part(name)}/enable`, {});
      say(`${t("enabled")}: ${name}`);
    } catch (problem) { say(problem.message); }
  };
  return h("button", {type: "button", "aria-label": `${t("enable")}: ${name}`, onclick: click}, t("enable"));
}

function again(which, name) {
  const click = async () => {
    try {
      const would = await post("/v1/dead-deliveries/replay", {...which, dry_run: true});
      if (!confirm(`${t("resendAsk")} (${number(would.sent)})`)) return;
      say(`${t("resent")}: ${number((await post("/v1/dead-deliveries/replay", which)).sent)}`);
    } catch (problem) { say(problem.message); }
  };
  return h("button", {type: "button", "aria-label": `${t("replay")}: ${name}`, onclick: click}, t("replay"));
}

function reasons(counts) {
  const rows = Object.entries(counts).flatMap(([destination, held]) => Object.entries(held).map(([reason, count]) =>
    [h("a", {href: `#/deliveries/${part(destination)}`}, destination), reason, number(count), again({destination, reason}, `${destination}, ${reason}`)]));
  return table([t("destination"), t("reason"), t("count"), t("replay")], rows, [2]);
}

function letters(all) {
  const rows = all.map((one) => [when(one.at), one.destination, one.reason, one.error || "–", number(one.attempts), `${one.kind} ${one.name}`,
    profileLink(one.profile), one.id ? again({id: one.id}, one.id) : ""]);
  return table([t("time"), t("destination"), t("reason"), t("lastError"), t("attempts"), t("what"), t("profile"), t("replay")], rows, [4]);
}
