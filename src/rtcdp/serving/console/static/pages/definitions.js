// Definitions: those in force, drafts and their reviews, and a text that can be checked and proposed or put in force.

import {get, post} from "../api.js";
import {card, h, say, table} from "../dom.js";
import {number, t} from "../text.js";
import {backtest} from "./backtest.js";
import {drafts} from "./drafts.js";

const DRAFT = "draft";
const EXAMPLE = "features:\n  orders: {count: Order Completed}\nsegments:\n  buyers: orders >= 1\n";

export async function show() {
  const [current, {review}] = await Promise.all([get("/v1/definitions/current"), get("/v1/definitions")]);
  const counts = Object.entries(current.definitions).filter(([, held]) => held && typeof held === "object")
    .map(([name, held]) => [name, number(Array.isArray(held) ? held.length : Object.keys(held).length)]);
  const text = h("textarea", {id: "draft", spellcheck: "false", value: sessionStorage.getItem(DRAFT) || EXAMPLE,
    oninput: () => { sessionStorage.setItem(DRAFT, text.value); apply.disabled = propose.disabled = true; }});
  const found = h("div", {role: "status"});
  const files = () => ({files: {"draft.yaml": text.value}});
  const apply = h("button", {type: "button", disabled: true, onclick: () => putInForce(files(), found)}, t("apply"));
  const note = h("input", {id: "note", maxlength: "2000", autocomplete: "off"});
  const propose = h("button", {type: "button", disabled: true, onclick: async () => {
    try {
      say(`${t("proposed")}: ${(await post("/v1/drafts", {...files(), note: note.value})).version}`);
      await list();
    } catch (problem) { found.replaceChildren(h("p", {class: "bad"}, problem.message)); }
  }}, t("propose"));
  const check = h("button", {type: "button", class: "main", onclick: async () => {
    try {
      const report = await post("/v1/definitions/check", files());
      propose.disabled = !report.ok;
      apply.disabled = !report.ok || review !== "none";
      found.replaceChildren(told(report));
    } catch (problem) { found.replaceChildren(h("p", {class: "bad"}, problem.message)); }
  }}, t("check"));
  const write = (words) => {
    text.value = words;
    text.dispatchEvent(new Event("input"));
    text.focus();
  };
  const edit = h("button", {type: "button", onclick: () => write(JSON.stringify(current.definitions, null, 2))}, t("edit")); // JSON is YAML
  const tried = backtest();
  const test = h("button", {type: "button", onclick: () => tried.run(files())}, t("backtest"));
  const place = h("div", {class: "grid"});
  const list = async () => place.replaceChildren(await drafts(write, list, tried.run));
  await list();
  return [place, tried.place, h("div", {class: "grid"},
    card(`${t("current")} · ${current.version}`, "half", table([t("definitions"), t("count")], counts, [1]), h("p", {}, edit),
      h("pre", {tabindex: "0", "aria-label": t("current")}, JSON.stringify(current.definitions, null, 2))),
    card("", "half", h("h2", {}, h("label", {for: "draft"}, t("draft"))), text, h("p", {}, check, " ", apply),
      h("form", {onsubmit: (event) => event.preventDefault()}, h("label", {for: "note"}, t("note"), note), propose),
      h("form", {onsubmit: (event) => event.preventDefault()}, tried.days, test), found))];
}

function told(report) {
  const places = [...report.errors, ...report.warnings].map((one) => [`${one.line}:${one.column}`, one.message, one.hint]);
  const line = report.ok ? h("p", {class: "good"}, `${t("ok")} · ${report.version} · ${report.warnings.length} ${t("warnings")}`)
    : h("p", {class: "bad"}, `${report.errors.length} ${t("errors")}`);
  return h("div", {}, line, places.length ? table(["", t("detail"), ""], places) : "");
}

async function putInForce(draft, found) {
  if (!confirm(t("applyAsk"))) return;
  try {
    const done = await post("/v1/definitions/apply", draft);
    say(`${t("applied")}: ${done.version}`);
  } catch (problem) {
    found.replaceChildren(h("p", {class: "bad"}, problem.message), h("ul", {}, problem.errors.map((text) => h("li", {}, text))));
  }
}
