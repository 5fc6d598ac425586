// Charts over time, drawn by uPlot in the page's own colours.

import uPlot from "./vendor/uplot.js";
import {h} from "./dom.js";
import {language, number} from "./text.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
export const COLOURS = ["--main", "--warn", "--good", "--bad", "--dim"];

/** Steps between the ticks of counts: there is no half of one. */
const WHOLE = Array.from({length: 10}, (_, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();

/** A tick's text: the time of day, at midnight the day. */
function moment(seconds) {
  const at = new Date(seconds * 1000);
  const midnight = at.getHours() === 0 && at.getMinutes() === 0;
  return new Intl.DateTimeFormat(language(), midnight ? {month: "short", day: "numeric"} : {hour: "2-digit", minute: "2-digit", hourCycle: "h23"}).format(at);
}

/** Sums of `size` values each, as [times, sums of the first, ...]; for what happens rarely. */
export function grouped(size, at, ...series) {
  const ends = at.filter((_, place) => (at.length - 1 - place) % size === 0);
  const sums = series.map((values) => ends.map((_, group) => {
    const end = at.length - (ends.length - 1 - group) * size;
    return values.slice(Math.max(0, end - size), end).reduce((sum, value) => sum + value, 0);
  }));
  return [ends, ...sums];
}

/**
 * A line chart. at: times (RFC 3339). series: [{label, values, fill}]. It says what it shows to those who cannot see it.
 */
export function lines(at, series, height = 220) {
  const place = h("div", {role: "img", "aria-label": series.map((one) => `${one.label}: ${one.values.at(-1) ?? 0}`).join(", ")});
  const legend = h("p", {class: "legend"}, series.map((one, index) => {
    const mark = h("i", {});
    mark.style.background = `var(${COLOURS[index % COLOURS.length]})`;
    return h("span", {}, mark, one.label);
  }));
  const draw = () => {
    place.replaceChildren();
    if (!place.isConnected) return;
    const axis = {stroke: colour("--dim"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line")}};
    new uPlot({
      width: place.clientWidth, height, cursor: {y: false}, legend: {show: false},
      axes: [{...axis, values: (_, ticks) => ticks.map(moment)}, {...axis, size: 56, incrs: WHOLE, values: (_, ticks) => ticks.map(number)}],
      scales: {y: {range: (_, low, high) => [Math.min(0, low), Math.max(1, high * 1.08)]}},
      series: [{}, ...series.map((one, index) => ({
        label: one.label, stroke: colour(COLOURS[index % COLOURS.length]), width: 2, points: {show: at.length < 40},
        fill: one.fill ? `${colour(COLOURS[index % COLOURS.length])}22` : undefined,
      }))],
    }, [at.map((time) => Date.parse(time) / 1000), ...series.map((one) => one.values)], place);
  };
  const seen = new ResizeObserver(() => { if (place.clientWidth !== place.drawn) { place.drawn = place.clientWidth; draw(); } });
  seen.observe(place);
  document.addEventListener("themed", draw);
  return h("div", {}, place, legend);
}
