// Everything about one profile.

import {get, part, post} from "../api.js";
import {card, h, list, say} from "../dom.js";
import {identities} from "../identities.js";
import {number, t, when} from "../text.js";
import {entry} from "./overview.js";

const NAMESPACES = ["user_id", "email", "phone", "member_card", "unionid", "openid", "device", "anonymous_id"];

export async function show([namespace, value]) {
  const known = NAMESPACES.includes(namespace) || !namespace ? NAMESPACES : [namespace, ...NAMESPACES];
  const select = h("select", {id: "namespace"}, known.map((name) => h("option", {value: name, selected: name === namespace}, name)));
  const field = h("input", {id: "value", value: value || "", required: true, autocomplete: "off", size: "32"});
  const find = (event) => { event.preventDefault(); location.hash = `#/profile/${part(select.value)}/${part(field.value.trim())}`; };
  const form = h("form", {onsubmit: find, role: "search"}, h("label", {for: "namespace"}, t("namespace"), select),
    h("label", {for: "value"}, t("value"), field), h("button", {class: "main"}, t("find")));
  return [form, ...(value ? await one(`/v1/profiles/${part(namespace)}/${part(value)}`) : [])];
}

async function one(path) {
  const [view, timeline, now] = await Promise.all([get(path), get(`${path}/timeline`), get(`${path}/now`)]);
  const shown = (values) => h("dl", {}, Object.entries(values).map(([name, held]) =>
    [h("dt", {}, name), h("dd", {}, typeof held === "string" ? held : JSON.stringify(held))]));
  const segments = Object.entries(view.segments).map(([name, since]) => {
    const place = h("div", {});
    const ask = h("button", {type: "button", "aria-expanded": "false", onclick: () => explain(path, name, place, ask)}, t("why"));
    return h("div", {}, h("p", {}, h("a", {href: `#/segments/${part(name)}`}, name), " ", h("span", {class: "dim"}, `${t("since")} ${when(since)}`), " ", ask), place);
  });
  return [h("div", {class: "grid"},
    card(t("identity"), "third", h("dl", {}, h("dt", {}, t("profile")), h("dd", {}, view.key), h("dt", {}, t("asOf")), h("dd", {}, when(view.now)),
      h("dt", {}, t("wakes")), h("dd", {}, view.wakes ? when(view.wakes) : t("never")), view.stage && [h("dt", {}, t("stage")), h("dd", {}, h("span", {class: "chip"}, view.stage))])),
    card(t("traits"), "third", Object.keys(view.traits).length ? shown(view.traits) : h("p", {class: "dim"}, t("none"))),
    card(t("tags"), "third", h("p", {class: "dim"}, Object.keys(view.tags).length ? "" : t("none"), Object.entries(view.tags).map(([name, held]) => h("span", {class: "chip"}, `${name}: ${held}`))),
      view.waiting.length > 0 && [h("h2", {}, t("waits")), h("p", {}, view.waiting.map((name) => h("span", {class: "chip"}, name)))],
      now.offers.length > 0 && [h("h2", {}, t("offers")), h("p", {}, now.offers.map((offer) => h("span", {class: "chip"}, `${offer.trigger} · ${offer.channel}`)))],
      Object.keys(view.consent || {}).length > 0 && [h("h2", {}, t("consent")), h("dl", {}, Object.entries(view.consent).map(([name, answer]) =>
        [h("dt", {}, name), h("dd", {}, h("span", {class: answer.granted ? "good" : "bad"}, t(answer.granted ? "granted" : "denied")), " ",
          h("span", {class: "dim"}, answer.at ? `${t("since")} ${when(answer.at)}` : t("byDefault")))]))]),
    card(t("identifiers"), "", identities(view.key, view.identifiers, (other, button) => split(path, other, button))),
    card(t("segments"), "half", segments.length ? segments : h("p", {class: "dim"}, t("none"))),
    card(t("timeline"), "half", h("ul", {class: "live", tabindex: "0", "aria-label": t("timeline")}, timeline.records.map((record) => entry(record.kind || (record.type === "rtcdp.cancel" ? "cancel" : "trigger"), record, false)))),
    card(t("features"), "", list(Object.entries(view.features).map(([name, held]) => [name, readable(held)]))))];
}

/** A feature's value as people read it. */
function readable(held) {
  if (typeof held === "number") return number(held);
  if (typeof held === "string") return /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(held) ? when(held) : held;
  return held !== null && Object.keys(held).length === 0 ? "–" : JSON.stringify(held);
}

/** Take an identifier out of the person: it is done when the answer comes, and shown a moment later. */
async function split(path, identifier, button) {
  button.disabled = true;
  say(t("splitting"));
  try {
    const apart = await post(`${path}/split`, {identifier});
    say(apart.approximate.length ? `${t("apart")} ${t("approximate")}: ${apart.approximate.join(", ")}` : t("apart"));
    setTimeout(() => dispatchEvent(new Event("hashchange")), 1000);
  } catch (problem) {
    button.disabled = false;
    say(problem.message);
  }
}

async function explain(path, name, place, button) {
  if (place.hasChildNodes()) {
    place.replaceChildren();
    button.setAttribute("aria-expanded", "false");
    return;
  }
  button.setAttribute("aria-expanded", "true");
  try {
    const why = await get(`${path}/why/${part(name)}`);
    place.replaceChildren(why.tree ? h("ul", {class: "tree"}, tree(why.tree)) : "",
      why.until ? h("p", {class: "dim"}, `${t("until")} ${when(why.until)}`) : "",
      why.change ? h("div", {}, h("strong", {}, t("neededFor")), h("ul", {class: "tree"}, need(why.change))) : "");
  } catch (problem) {
    place.replaceChildren(h("p", {class: "bad"}, problem.message));
  }
}

function tree(one) {
  const mark = one.holds === undefined || one.holds === null ? "" : one.holds ? "✔ " : "✘ ";
  const word = mark && h("span", {class: one.holds ? "good" : "bad", "aria-label": one.holds ? t("holds") : t("holdsNot"), role: "img"}, mark);
  const held = mark ? "" : ` = ${one.value ?? "–"}`;
  return h("li", {}, word, h("code", {}, one.text), held, one.until ? h("span", {class: "dim"}, ` ${t("until")} ${when(one.until)}`) : "",
    one.parts?.length ? h("ul", {class: "tree"}, one.parts.map(tree)) : "");
}

function need(one) {
  const inner = [...(one.all || []), ...(one.any || [])];
  return h("li", {}, one.text || "", one.at ? h("span", {class: "dim"}, ` ${when(one.at)}`) : "", inner.length ? h("ul", {class: "tree"}, inner.map(need)) : "");
}
