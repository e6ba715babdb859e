// Draws the charts of a page from the data beside them; what each says is in its table as well.
"use strict";

const drawn = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// A long name is cut on the axis; the table has all of it. What would turn or break a line is left out.
function cut(text, most) {
  const letters = [...text.replace(/[\u0000-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g, " ")];
  return letters.length > most ? `${letters.slice(0, most - 1).join("")}…` : letters.join("");
}

function short(value, told) {
  if (told.unit !== "fen") return Number.isInteger(value) ? String(value) : "";
  const yuan = value / 100;
  const steps = told.lang === "zh" ? [[1e8, "亿"], [1e4, "万"]] : [[1e9, "bn"], [1e6, "m"], [1e3, "k"]];
  for (const [size, name] of steps) if (Math.abs(yuan) >= size) return `${+(yuan / size).toFixed(2)} ${name}`;
  return String(yuan);
}

function lies(told) {
  return told.form === "ranked" || told.form === "piled";
}

function seriesOf(told, ink) {
  if (told.form === "ranked") {
    const [money] = told.series;
    const label = { show: true, position: "right", color: ink, formatter: (about) => money.shown[about.dataIndex] };
    return [{ name: money.name, type: "bar", data: money.values, barMaxWidth: 26, label }];
  }
  return told.series.map((each, place) => told.form === "time" && place
    ? { name: each.name, type: "line", yAxisIndex: 1, data: each.values, symbolSize: 7 }
    : { name: each.name, type: "bar", data: each.values, barMaxWidth: 34, stack: told.form === "time" ? undefined : "all" });
}

function option(told, title, narrow) {
  const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
  const ranked = lies(told);
  const names = {
    type: "category", data: told.labels, inverse: ranked,
    axisLabel: { color: soft, formatter: (text) => cut(text, ranked ? (narrow ? 8 : 18) : 12), hideOverlap: !ranked, interval: ranked ? 0 : "auto" },
    axisLine: { lineStyle: { color: line } },
  };
  const amounts = {
    type: "value", minInterval: told.unit === "fen" ? 0 : 1, splitNumber: narrow || ranked ? 3 : 5, splitLine: { lineStyle: { color: line } },
    boundaryGap: told.form === "ranked" ? [0, narrow ? "45%" : "22%"] : undefined,
    axisLabel: { color: soft, formatter: (value) => short(value, told), hideOverlap: true },
  };
  const shares = { type: "value", min: 0, max: 1, splitLine: { show: false }, axisLabel: { color: soft, formatter: (value) => `${Math.round(value * 100)}%` } };
  return {
    animation: false, color: [1, 2, 3, 4].map((each) => colour(`--series-${each}`)),
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    aria: { enabled: true, label: { description: title }, decal: { show: false } },
    grid: { top: 14, left: 6, right: 14, bottom: 4, outerBoundsMode: "same", outerBoundsContain: "axisLabel" },
    xAxis: ranked ? amounts : names,
    yAxis: ranked ? names : told.form === "time" ? [amounts, shares] : amounts,
    series: seriesOf(told, ink),
  };
}

// What stands below the pointer: as text, never as markup.
function tell(chart, told, place) {
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  place.append(tip);
  chart.getZr().on("mousemove", (event) => {
    const at = [event.offsetX, event.offsetY];
    const found = chart.containPixel("grid", at) && chart.convertFromPixel({ xAxisIndex: 0, yAxisIndex: 0 }, at);
    const index = found ? Math.round(found[lies(told) ? 1 : 0]) : -1;
    tip.hidden = !(index in told.labels);
    if (tip.hidden) return;
    tip.textContent = [cut(told.labels[index], 80), ...told.series.map((each) => `${each.name} ${each.shown[index]}`)].join("\n");
    const left = Math.min(event.offsetX + 14, place.clientWidth - tip.offsetWidth - 4);
    tip.style.left = `${Math.max(left, 0)}px`;
    tip.style.top = `${Math.max(event.offsetY - tip.offsetHeight - 8, 0)}px`;
  });
  chart.getZr().on("globalout", () => { tip.hidden = true; });
}

function draw(place) {
  const told = JSON.parse(place.dataset.told);
  if (!told.labels.length || !place.hidden) return;
  place.hidden = false;
  if (lies(told)) place.style.height = `${Math.max(told.labels.length, 3) * 1.8 + 3}rem`;
  const chart = echarts.init(place, null, { devicePixelRatio: Math.max(devicePixelRatio, 2), locale: told.lang === "zh" ? "ZH" : "EN" });
  const paint = () => chart.setOption(option(told, place.dataset.title, place.clientWidth < 520), true);
  paint();
  tell(chart, told, place);
  if (told.links) chart.on("click", (about) => { location.href = told.links[about.dataIndex]; });
  drawn.push({ chart, paint });
  new ResizeObserver(() => { chart.resize(); paint(); }).observe(place);
}

document.querySelectorAll(".chart[id]").forEach(draw);
document.addEventListener("htmx:load", (event) => event.detail.elt.parentElement?.querySelectorAll(".chart[id]").forEach(draw));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach((each) => each.paint()));
// On paper every chart has the paper's width, and its own again afterwards.
addEventListener("beforeprint", () => drawn.forEach((each) => each.chart.resize({ width: 960 })));
addEventListener("afterprint", () => drawn.forEach((each) => each.chart.resize()));
