// The audit log: who read whom, and who changed what.

import {get} from "../api.js";
import {card, h, table} from "../dom.js";
import {t, when} from "../text.js";

export async function show() {
  const found = h("div", {role: "status"});
  const field = (name, word, hint) => h("label", {for: `audit-${name}`}, t(word), h("input", {id: `audit-${name}`, name, placeholder: hint, autocomplete: "off"}));
  const form = h("form", {onsubmit: (event) => { event.preventDefault(); look(); }},
    field("who", "who", "crm"), field("what", "what", "profile"), field("profile", "profile", "user_id:u42"), field("from", "from", "2027-01-01"),
    h("button", {class: "main"}, t("find")));
  const look = async () => {
    const query = new URLSearchParams([...new FormData(form)].filter(([, value]) => value));
    try {
      found.replaceChildren(listed(await get(`/v1/audit?${query}`)));
    } catch (problem) { found.replaceChildren(h("p", {class: "bad"}, problem.message)); }
  };
  found.append(listed(await get("/v1/audit")));
  return [card("", "", h("p", {class: "dim"}, t("auditHelp")), form, found)];
}

function listed({entries, more}) {
  if (!entries.length) return h("p", {class: "dim"}, t("none"));
  const whom = (subjects) => !subjects ? "–" : [h("code", {}, subjects[0]), subjects.length > 1 ? ` +${subjects.length - 1}` : ""];
  const about = (one) => Object.entries(one.about || {}).map(([name, value]) => `${name}=${value}`).join(" ") || "–";
  const rows = entries.map((one) => [when(one.at), `${one.who.name || one.who.id}`, one.who.kind, one.what,
    h("span", {class: one.outcome === "refused" ? "bad" : "good"}, t(one.outcome || "done")), one.tenant || "–", whom(one.subjects), about(one)]);
  return h("div", {}, table([t("time"), t("who"), "", t("what"), "", t("tenant"), t("whom"), t("detail")], rows),
    more ? h("p", {class: "dim"}, t("older")) : "");
}
