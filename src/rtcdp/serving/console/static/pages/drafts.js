// Drafts of definitions: how they stand, and what can be done with each. A part of the page of definitions.

import {get, part, post} from "../api.js";
import {card, h, say, table} from "../dom.js";
import {t, when} from "../text.js";

const GOOD = {reviewed: "good", published: "good", rejected: "bad"};
const person = (who) => who.name || who.id;

/** The card. edit: shows a draft's text; changed: called when something was done; test: tests a draft on the past. */
export async function drafts(edit, changed, test) {
  const found = await get("/v1/drafts");
  const act = async (path, body, told) => {
    try {
      await post(path, body);
      say(told);
    } catch (problem) { return say(problem.message); }
    changed();
  };
  const buttons = (one) => {
    const path = `/v1/drafts/${part(one.version)}`;
    const button = (word, click) => h("button", {type: "button", "aria-label": `${t(word)}: ${one.version}`, onclick: click}, t(word));
    const said = (verdict, word) => button(word, () => act(`${path}/review`, {verdict}, t(word)));
    const open = button("show", async () => {
      const {files, definitions} = await get(path);
      const texts = Object.values(files);
      edit(texts.length === 1 ? texts[0] : JSON.stringify(definitions, null, 2)); // of several files, what they mean together
    });
    if (one.state === "published") return [open];
    const past = button("backtest", () => test({version: one.version}));
    return [open, " ", past, " ", said("approve", "approve"), " ", said("reject", "reject"), " ",
      button("apply", () => confirm(t("applyAsk")) && act(`${path}/publish`, {}, t("applied"))), " ",
      button("withdraw", () => act(`${path}/withdraw`, {}, t("withdraw")))];
  };
  const reviews = (one) => one.reviews.map((said) =>
    h("div", {class: said.verdict === "reject" ? "bad" : "good"}, `${person(said.by)}: ${t(said.verdict)}${said.note ? ` · ${said.note}` : ""}`));
  const rows = found.drafts.map((one) => [h("code", {}, one.version), h("span", {class: GOOD[one.state] || "warn"}, t(`state_${one.state}`)),
    person(one.by), when(one.at), one.note || "–", reviews(one).length ? reviews(one) : "–", buttons(one)]);
  return card(`${t("drafts")} · ${t(`review_${found.review}`)}`, "", rows.length
    ? table([t("version"), t("state"), t("author"), t("time"), t("note"), t("reviews"), ""], rows)
    : h("p", {class: "dim"}, t("none")));
}
