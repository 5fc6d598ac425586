// Dead letters: which, why, and once more.

import {get, part, post} from "../api.js";
import {bar, card, h, say, table} from "../dom.js";
import {number, t, when} from "../text.js";

export async function show([reason]) {
  const found = await get(`/v1/dead-letters?limit=200${reason ? `&reason=${part(reason)}` : ""}`);
  if (!found.total) return [card("", "", h("p", {class: "dim"}, t("none")))];
  const again = async (which) => {
    try {
      const would = await post("/v1/dead-letters/replay", {...which, dry_run: true});
      if (!confirm(`${t("replayAsk")} (${number(would.sent)})`)) return;
      say(`${t("replayed")}: ${number((await post("/v1/dead-letters/replay", which)).sent)}`);
    } catch (problem) { say(problem.message); }
  };
  const button = (which, name) => h("button", {type: "button", "aria-label": `${t("replay")}: ${name}`, onclick: () => again(which)}, t("replay"));
  const reasons = Object.entries(found.reasons).sort(([, a], [, b]) => b - a).map(([name, count]) =>
    [h("a", {href: `#/letters/${part(name)}`}, name), number(count), bar(count / found.total, true), button({reason: name}, name)]);
  const rows = found.letters.map((one) => [one.appended ? when(one.appended) : "–", one.reason, one.field || "–", one.detail,
    h("code", {}, one.first_origin), button({origin: one.first_origin}, one.first_origin)]);
  return [h("div", {class: "grid"},
    card(`${t("letters")} · ${number(found.total)}`, "", table([t("reason"), t("count"), "", t("replay")], reasons, [1])),
    card("", "", table([t("time"), t("reason"), t("field"), t("detail"), t("origin"), t("replay")], rows)))];
}
