// The frame: pages by the address's hash, language, theme, token.

import {Problem, token} from "./api.js";
import {card, h} from "./dom.js";
import {language, setLanguage, t} from "./text.js";
import * as audit from "./pages/audit.js";
import * as definitions from "./pages/definitions.js";
import * as deliveries from "./pages/deliveries.js";
import * as letters from "./pages/letters.js";
import * as overview from "./pages/overview.js";
import * as profile from "./pages/profile.js";
import * as segments from "./pages/segments.js";
import * as triggers from "./pages/triggers.js";

const PAGES = {overview, segments, profile, triggers, deliveries, definitions, letters, audit};
let leaving = new AbortController();

function theme(name) {
  const chosen = name || localStorage.getItem("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = chosen;
  if (name) localStorage.setItem("theme", name);
  document.dispatchEvent(new Event("themed"));
}

function frame(current) {
  document.documentElement.lang = language();
  document.querySelector("[data-text=skip]").textContent = t("skip");
  const nav = document.getElementById("nav");
  nav.setAttribute("aria-label", "rtcdp");
  nav.replaceChildren(...Object.keys(PAGES).map((name) =>
    h("a", {href: `#/${name}`, "aria-current": name === current ? "page" : null}, t(name))));
  const dark = document.documentElement.dataset.theme === "dark";
  document.getElementById("tools").replaceChildren(
    h("button", {type: "button", "aria-label": t("theme"), onclick: () => { theme(dark ? "light" : "dark"); frame(current); }}, dark ? "☀" : "☾"),
    h("button", {type: "button", lang: language() === "en" ? "zh" : "en", onclick: () => { setLanguage(language() === "en" ? "zh" : "en"); show(); }}, t("language")));
}

function askForToken(main) {
  const field = h("input", {type: "password", id: "token", autocomplete: "off", size: "52", required: true});
  const enter = (event) => { event.preventDefault(); token.set(field.value.trim()); show(); };
  main.replaceChildren(h("h1", {}, t("token")), card("", "", h("p", {}, t("tokenHelp")),
    h("form", {onsubmit: enter}, h("label", {for: "token"}, t("token"), field), h("button", {class: "main"}, t("open")))));
  field.focus();
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const signal = leaving.signal;
  const given = location.hash.match(/token=([^&]+)/);
  if (given) {
    token.set(given[1]);
    history.replaceState(null, "", "#/overview"); // so that the token is in no history
  }
  const [name, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  const page = Object.hasOwn(PAGES, name) ? name : "overview";
  frame(page);
  const main = document.getElementById("main");
  document.title = `${t(page)} · rtcdp`;
  if (!token.get()) return askForToken(main);
  main.replaceChildren(h("h1", {}, t(page)), h("p", {class: "dim"}, t("loading")));
  try {
    const made = await PAGES[page].show(rest, signal);
    if (!signal.aborted) main.replaceChildren(h("h1", {}, t(page)), ...made);
  } catch (problem) {
    if (signal.aborted) return;
    if (problem instanceof Problem && problem.status === 401) return askForToken(main);
    main.replaceChildren(h("h1", {}, t(page)), h("section", {class: "card problem", role: "alert"}, problem.message));
  }
}

addEventListener("hashchange", () => { show(); document.getElementById("main").focus(); });
theme();
show();
