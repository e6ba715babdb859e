"use strict";
// The quick look: scroll, window, cine. Pictures are fetched by their address and kept while the page is open;
// what the server cannot give, or not any more, is said in words.
(() => {
  const told = JSON.parse(document.getElementById("told").textContent);
  const at = (id) => document.getElementById(id);
  const text = told.text;
  const KEPT_BYTES = 160 << 20;
  const AT_ONCE = 6;
  const AHEAD = 24;
  const SETTLE_MS = 120;

  const kept = new Map(); // address → blob, the oldest first
  let keptBytes = 0;
  const underWay = new Map(); // address → promise of a blob
  let queue = []; // addresses to be fetched before they are wanted
  let ended = false;

  const state = { series: told.chosen, number: told.number, window: null, direction: 1, playing: 0, drag: null };

  // --- what is shown

  function frames(series) {
    if (!series.frames) {
      series.frames = series.instances.flatMap(([uid, count]) =>
        Array.from({ length: count }, (_, n) => `${series.at}/instances/${uid}/frames/${n + 1}/rendered`));
    }
    return series.frames;
  }

  function address(number) {
    const plain = frames(told.series[state.series])[number - 1];
    return state.window ? `${plain}?window=${state.window[0]},${state.window[1]}` : plain;
  }

  function fetched(url) {
    if (kept.has(url)) {
      const blob = kept.get(url);
      kept.delete(url);
      kept.set(url, blob);
      return Promise.resolve(blob);
    }
    if (underWay.has(url)) return underWay.get(url);
    const asked = fetch(url, { headers: { Accept: "image/jpeg" }, credentials: "same-origin" })
      .then((answer) => {
        if (answer.ok) return answer.blob();
        throw Object.assign(new Error(String(answer.status)), { status: answer.status });
      })
      .then((blob) => {
        kept.set(url, blob);
        keptBytes += blob.size;
        for (const [old, one] of kept) {
          if (keptBytes <= KEPT_BYTES || old === url) break;
          kept.delete(old);
          keptBytes -= one.size;
        }
        return blob;
      })
      .finally(() => { underWay.delete(url); fill(); });
    underWay.set(url, asked);
    return asked;
  }

  function fill() {
    while (!ended && queue.length && underWay.size < AT_ONCE) {
      const url = queue.shift();
      if (!kept.has(url)) fetched(url).catch(() => {});
    }
  }

  function lookAhead() {
    const count = frames(told.series[state.series]).length;
    queue = [];
    for (let step = 1; step <= AHEAD; step += 1) {
      for (const number of [state.number + step * state.direction, state.number - Math.ceil(step / 4) * state.direction]) {
        if (number >= 1 && number <= count) queue.push(address(number));
      }
    }
    fill();
  }

  const canvas = document.createElement("canvas");
  let drawn = 0; // the last asked for wins: an older answer that comes late is not drawn

  async function show() {
    const mine = drawn = drawn + 1;
    const url = address(state.number);
    queue = [];
    tellPlace();
    for (let wait = 500; ; wait = Math.min(8000, wait * 2)) {
      try {
        const bitmap = await createImageBitmap(await fetched(url));
        if (mine !== drawn) return;
        if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
          canvas.width = bitmap.width;
          canvas.height = bitmap.height;
        }
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        bitmap.close();
        if (!canvas.isConnected) at("picture").replaceWith(canvas);
        canvas.dataset.shown = `${state.series + 1}/${state.number}/${state.window ? state.window.join(",") : ""}`;
        say("");
        lookAhead();
        return;
      } catch (error) {
        if (mine !== drawn) return;
        if ([401, 403, 404].includes(error.status)) return lost();
        if (error.status && error.status < 500 && error.status !== 429) return blank();
        say(text.retry);
        await new Promise((done) => { setTimeout(done, wait); });
        if (mine !== drawn) return;
      }
    }
  }

  function lost() {
    ended = true;
    stop();
    kept.clear();
    keptBytes = 0;
    blank(text.lost);
  }

  function blank(why) {
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    if (!canvas.isConnected) at("picture").replaceWith(canvas);
    say(why || text.failed);
  }

  function say(words) {
    if (at("said").textContent !== words) at("said").textContent = words;
  }

  function tellPlace() {
    const series = told.series[state.series];
    const count = frames(series).length;
    at("place").max = count;
    at("place").value = state.number;
    at("number").textContent = `${state.number} / ${count}`;
    at("stage").setAttribute("aria-label", `${series.title} ${text.image} ${state.number} / ${count}`);
  }

  // --- what changes it

  function go(number) {
    const count = frames(told.series[state.series]).length;
    const next = Math.max(1, Math.min(count, number));
    if (next === state.number || ended) return;
    state.direction = next > state.number ? 1 : -1;
    state.number = next;
    show();
  }

  function choose(series) {
    if (series < 0 || series >= told.series.length || ended) return;
    stop();
    state.series = series;
    state.number = 1;
    state.direction = 1;
    setWindow(null, "preset_own", true);
    at("rate").value = told.series[series].rate;
    for (const link of document.querySelectorAll("[data-series]")) {
      if (Number(link.dataset.series) === series) {
        link.setAttribute("aria-current", "true");
        link.scrollIntoView({ block: "nearest", inline: "nearest" });
      } else link.removeAttribute("aria-current");
    }
    offer();
    show();
  }

  function offer() {
    const presets = told.series[state.series].presets;
    for (const option of at("preset").options) {
      option.hidden = option.disabled = option.value !== "preset_own" && !presets[option.value.slice(7)];
    }
  }

  function setWindow(window, preset, quietly) {
    state.window = window;
    at("preset").value = preset;
    at("centre").value = window ? window[0] : "";
    at("width").value = window ? window[1] : "";
    if (!quietly) show();
  }

  function choosePreset(value) {
    const preset = told.series[state.series].presets[value.slice(7)];
    setWindow(preset || null, preset ? value : "preset_own");
  }

  let settling = 0;
  function settle() { // a window that is being dragged is asked for when the hand rests
    clearTimeout(settling);
    settling = setTimeout(show, SETTLE_MS);
  }

  function typed() {
    const centre = parseFloat(at("centre").value);
    const width = parseFloat(at("width").value);
    if (Number.isFinite(centre) && width >= 1) {
      state.window = [centre, width];
      at("preset").value = "preset_own";
      settle();
    }
  }

  function stop() {
    clearTimeout(state.playing);
    state.playing = 0;
    at("play").setAttribute("aria-pressed", "false");
    at("play").textContent = text.play;
  }

  function play() {
    if (state.playing) return stop();
    at("play").setAttribute("aria-pressed", "true");
    at("play").textContent = text.stop;
    const turn = async () => {
      const began = performance.now();
      const count = frames(told.series[state.series]).length;
      state.direction = 1;
      state.number = state.number >= count ? 1 : state.number + 1;
      await show();
      if (!state.playing) return;
      const rate = Math.max(1, Math.min(60, Number(at("rate").value) || 10));
      state.playing = setTimeout(turn, Math.max(0, 1000 / rate - (performance.now() - began)));
    };
    state.playing = setTimeout(turn, 0);
  }

  function toggle(button, name) {
    const on = at("stage").classList.toggle(name);
    button.setAttribute("aria-pressed", String(on));
  }

  function zoom() {
    const fit = at("stage").classList.toggle("fit");
    at("zoom").textContent = fit ? text.actual : text.fit;
    at("zoom").setAttribute("aria-pressed", String(!fit));
  }

  // --- hands

  let turned = 0;
  at("stage").addEventListener("wheel", (event) => {
    if (event.ctrlKey) return;
    event.preventDefault();
    turned += event.deltaMode === 1 ? event.deltaY * 30 : event.deltaY;
    const steps = Math.trunc(turned / 60);
    if (steps) {
      turned -= steps * 60;
      stop();
      go(state.number + steps);
    }
  }, { passive: false });

  at("stage").addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    at("stage").focus({ preventScroll: true });
    at("stage").setPointerCapture(event.pointerId);
    const touch = event.pointerType === "touch";
    state.drag = { x: event.clientX, y: event.clientY, number: state.number, touch, window: state.window || [128, 256], own: !state.window };
  });
  at("stage").addEventListener("pointermove", (event) => {
    const drag = state.drag;
    if (!drag) return;
    const right = event.clientX - drag.x;
    const down = event.clientY - drag.y;
    if (drag.touch) {
      stop();
      go(drag.number + Math.trunc(down / 12));
    } else if (Math.abs(right) + Math.abs(down) > 3) {
      if (drag.own) { // begin from a window that the modality is used to
        const presets = Object.values(told.series[state.series].presets);
        drag.window = presets.length ? presets[1] || presets[0] : drag.window;
        drag.own = false;
      }
      const step = Math.max(1, drag.window[1] / 300);
      state.window = [Math.round(drag.window[0] + down * step), Math.max(1, Math.round(drag.window[1] + right * step))];
      at("preset").value = "preset_own";
      at("centre").value = state.window[0];
      at("width").value = state.window[1];
      settle();
    }
  });
  for (const end of ["pointerup", "pointercancel"]) at("stage").addEventListener(end, () => { state.drag = null; });

  const KEYS = {
    ArrowDown: () => go(state.number + 1),
    ArrowUp: () => go(state.number - 1),
    PageDown: () => go(state.number + 10),
    PageUp: () => go(state.number - 10),
    Home: () => go(1),
    End: () => go(Infinity),
    ArrowRight: () => choose(state.series + 1),
    ArrowLeft: () => choose(state.series - 1),
    " ": play,
    i: () => toggle(at("invert"), "inverted"),
    z: zoom,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const inField = event.target.matches("input, select, textarea");
    const onControl = event.target.matches("button, a") && (event.key === " " || event.key === "Enter");
    if (inField || onControl) return;
    const preset = [...at("preset").options].filter((each) => !each.hidden)[Number(event.key) - 1];
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key] || (preset && (() => choosePreset(preset.value)));
    if (!act) return;
    event.preventDefault();
    if (event.key !== " ") stop();
    act();
  });

  at("previous").addEventListener("click", (event) => { event.preventDefault(); stop(); go(state.number - 1); });
  at("next").addEventListener("click", (event) => { event.preventDefault(); stop(); go(state.number + 1); });
  at("place").addEventListener("input", () => { stop(); go(Number(at("place").value)); });
  at("play").addEventListener("click", play);
  at("preset").addEventListener("change", () => choosePreset(at("preset").value));
  at("centre").addEventListener("input", typed);
  at("width").addEventListener("input", typed);
  at("invert").addEventListener("click", () => toggle(at("invert"), "inverted"));
  at("zoom").addEventListener("click", zoom);
  for (const link of document.querySelectorAll("[data-series]")) {
    link.addEventListener("click", (event) => { event.preventDefault(); choose(Number(link.dataset.series)); });
  }

  for (const part of document.querySelectorAll(".scripted")) part.hidden = false;
  at("stage").classList.add("fit");
  offer();
  show();
})();
