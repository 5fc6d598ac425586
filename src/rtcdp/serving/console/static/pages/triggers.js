// Triggers: what each decided, and why not.

import {get, part} from "../api.js";
import {grouped, lines} from "../charts.js";
import {bar, card, h, table} from "../dom.js";
import {notSentFor, number, summed, t} from "../text.js";

export async function show([chosen]) {
  const [found, flows] = await Promise.all([get("/v1/triggers"), get("/v1/flows")]);
  const rows = found.triggers.map((one) => {
    const not = Object.values(one.not_sent).reduce((sum, count) => sum + count, 0);
    const reasons = Object.entries(one.not_sent).sort(([, a], [, b]) => b - a);
    return [h("a", {href: `#/triggers/${part(one.name)}`, "aria-current": one.name === chosen ? "true" : null}, one.name), one.channel,
      summed([one.sent, ...Object.values(one.not_sent)]), number(one.sent), bar(one.sent / Math.max(1, one.sent + not)),
      reasons.map(([reason, count]) => h("span", {class: "chip", title: reason}, `${notSentFor(reason)} ${number(count)}`)), one.description];
  });
  const all = card(t("allTriggers"), "", table([t("name"), t("channel"), t("considered"), t("sent"), t("rate"), t("reasons"), t("description")], rows, [2, 3]));
  return [h("div", {class: "grid"}, found.triggers.filter((one) => one.name === chosen).map((one) => detail(one, flows)), all)];
}

function detail(found, flows) {
  const name = found.name;
  const values = (kind) => {
    const counts = Object.entries(flows.counts).filter(([what]) => what.split("|")[0] === kind && what.split("|")[1] === name);
    return flows.at.map((_, place) => counts.reduce((sum, [, held]) => sum + held[place], 0));
  };
  const [at, sent, not] = grouped(6, flows.at, values("sent"), values("not_sent"));
  return [card(name, "wide", h("p", {class: "dim"}, found.description), lines(at, [{label: t("sent"), values: sent, fill: true}, {label: t("notSent"), values: not}])),
    card(t("funnel"), "third", funnel(found))];
}

/** From what was decided to what was sent: what each reason took away. */
function funnel({sent, not_sent: reasons}) {
  const steps = Object.entries(reasons).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, sent + steps.reduce((sum, [, count]) => sum + count, 0));
  const rows = [[t("considered"), summed([sent, ...Object.values(reasons)]), bar(1)],
    ...steps.map(([reason, count]) => [h("span", {title: reason}, `− ${notSentFor(reason)}`), number(count), bar(count / most, true)]), [t("sent"), number(sent), bar(sent / most)]];
  return table([t("name"), t("count"), ""], rows, [1]);
}
