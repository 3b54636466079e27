// The page: everything shown is put in as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const el = (name, kind, text) => { const made = document.createElement(name); if (kind) made.className = kind; if (text !== undefined) made.textContent = text; return made; };
  const { show, known } = Charts;
  const count = data.surfed.status.length, stages = data.stages, last = Math.max(0, stages.length - 1), pictures = data.pictures;
  const { did, who: runner } = data.named, Did = did[0].toUpperCase() + did.slice(1);
  const met = (who, i) => data.statuses[who.status[i]][2];
  const total = (who) => who.status.reduce((n, _, i) => n + (met(who, i) ? 1 : 0), 0);
  const surfaces = new Map((data.surfaces ? data.surfaces.items : []).map((item) => [item.target, item]));
  const state = { target: data.featured.length ? data.featured[0] : 0, stage: last, playing: false, height: "norm", scale: "shared" };
  const opened = new Map();
  const wave = new Wave.View($("gl"), $("over"));
  let sheet = null, other = null;

  function surface() {
    if (!surfaces.has(state.target)) return null;
    if (!opened.has(state.target)) opened.set(state.target, new Wave.Surface(surfaces.get(state.target), data.surfaces.size, data.surfaces.frames.length));
    return opened.get(state.target);
  }

  function colours() {
    const style = getComputedStyle(document.documentElement), of = (name) => style.getPropertyValue(name).trim();
    return { surf: of("--surf"), direct: of("--direct"), truth: of("--truth"), halo: "#ffffff" };
  }

  let waiting = false;
  function redraw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    const here = surface();
    if (here && wave.paint) wave.draw(here, last ? state.stage * (data.surfaces.frames.length - 1) / last : 0, state.stage, { height: state.height, scale: state.scale, colours: colours() });
    else wave.clear();
    document.documentElement.dataset.painted = `${state.target}/${state.stage.toFixed(2)}/${state.height}/${state.scale}`;
  }

  function step() {
    if (!stages.length) return 0;
    const k = Math.min(last, Math.floor(state.stage)), n = Math.min(last, k + 1);
    return stages[k][1] + (stages[n][1] - stages[k][1]) * (state.stage - k);
  }

  function go(stage) {
    state.stage = Math.max(0, Math.min(last, stage));
    $("when").value = state.stage;
    const text = `training step ${show(Math.round(step()))}`;
    $("when").setAttribute("aria-valuetext", `${text}, stage ${Math.round(state.stage) + 1} of ${last + 1}`);
    const near = Math.round(state.stage), norm = stages.length ? data.ride.norm[near][state.target] : null;
    $("now").replaceChildren(el("b", "", show(Math.round(step()))), "training step", el("br"), `${last ? `stage ${near + 1} of ${last + 1}, ` : ""}residual ${norm === null ? "–" : show(norm)}`);
    for (const [i, button] of [...$("strip").children].entries()) button.setAttribute("aria-current", i === near);
    cursor();
    redraw();
  }

  let clock = 0, held = 0;
  function play(on) {
    state.playing = on;
    $("play").setAttribute("aria-pressed", on);
    $("playword").textContent = on ? "Pause" : "Play";
    if (!on) return;
    if (state.stage >= last) go(0);
    clock = performance.now();
    held = 500;
    requestAnimationFrame(tick);
  }

  function tick(now) {
    if (!state.playing) return;
    const passed = Math.min(100, now - clock);
    clock = now;
    if (held > 0) held -= passed;
    else go(state.stage + (passed / 1000) * Math.max(0.9, last / 9));
    if (state.stage >= last) play(false);
    else requestAnimationFrame(tick);
  }

  // Pictures.
  function cell(number) { return [(number % pictures.columns) * pictures.width, Math.floor(number / pictures.columns) * pictures.height]; }
  function picture(number, other) {
    const canvas = el("canvas", "cell");
    canvas.width = pictures.width; canvas.height = pictures.height;
    const pen = canvas.getContext("2d");
    pen.drawImage(sheet, ...cell(number), pictures.width, pictures.height, 0, 0, pictures.width, pictures.height);
    if (other !== undefined) {
      pen.globalCompositeOperation = "difference";
      pen.drawImage(sheet, ...cell(other), pictures.width, pictures.height, 0, 0, pictures.width, pictures.height);
      tint(pen);
    }
    return canvas;
  }
  // Errors: white where there is none, over red to dark red at half of the range.
  function tint(pen) {
    const image = pen.getImageData(0, 0, pictures.width, pictures.height), d = image.data;
    for (let i = 0; i < d.length; i += 4) {
      const t = Math.min(1, (d[i] + d[i + 1] + d[i + 2]) / 382), high = t > 0.5 ? (t - 0.5) * 2 : 0, low = Math.min(1, t * 2);
      d[i] = 255 - 24 * low - 128 * high; d[i + 1] = 255 - 195 * low - 60 * high; d[i + 2] = 255 - 211 * low - 31 * high;
    }
    pen.putImageData(image, 0, 0);
  }
  // What was measured of a target: a picture, or a bar for each number.
  const measured = data.measured, bytes = measured && measured.bars ? Int8Array.from(atob(measured.bars), (c) => c.charCodeAt(0)) : null;
  function evidence(i) {
    if (!measured) return null;
    if (bytes) {
      const n = measured.count, svg = Charts.node("svg", { class: "bars", viewBox: `0 0 ${n} 40`, preserveAspectRatio: "none", role: "img", "aria-label": `${measured.name}, largest on the page ${show(measured.scale)}` }, el("span"));
      Charts.node("path", { class: "zero", d: `M0 20H${n}` }, svg);
      for (let k = 0; k < n; k++) { const v = bytes[i * n + k] / 127 * 19; Charts.node("rect", { x: k + 0.12, width: 0.76, y: v > 0 ? 20 - v : 20, height: Math.max(0.3, Math.abs(v)) }, svg); }
      return svg;
    }
    if (!other || i >= measured.places.length) return null;
    const canvas = el("canvas", "cell"), at = measured.places[i];
    canvas.width = measured.width; canvas.height = measured.height;
    canvas.getContext("2d").drawImage(other, (at % measured.columns) * measured.width, Math.floor(at / measured.columns) * measured.height, measured.width, measured.height, 0, 0, measured.width, measured.height);
    return canvas;
  }
  // A tile's pictures side by side, drawn when it comes into sight: there may be a thousand.
  const painter = new IntersectionObserver((seen) => { for (const { isIntersecting, target } of seen) if (isIntersecting) { painter.unobserve(target); const pen = target.getContext("2d"); target.places.forEach((number, k) => pen.drawImage(sheet, ...cell(number), pictures.width, pictures.height, k * (pictures.width + 3), 0, pictures.width, pictures.height)); } });
  function row(places) {
    const made = el("canvas", "row");
    made.width = places.length * (pictures.width + 3) - 3; made.height = pictures.height;
    made.places = places;
    painter.observe(made);
    return made;
  }
  function figure(canvas, name, note) { const made = el("figure"), below = el("figcaption"); below.append(el("b", "", name)); if (note) below.append(el("br"), note); made.append(canvas, below); return made; }

  function card() {
    const i = state.target, home = $("card"), rows = el("div", "pair");
    home.replaceChildren(el("h2", "", `Target ${i}`));
    const has = (which) => sheet && pictures[which] && i < pictures[which].length;
    if (has("surfed")) {
      const goal = has("target") ? pictures.target[i] : null;
      const seen = evidence(i), wide = seen && bytes;
      if (goal !== null) rows.append(figure(picture(goal), "Target", measured ? "the true signal" : "what was measured"));
      if (seen && !wide) rows.append(figure(seen, "Measured", measured.name === "measured" ? "grey-blue: not measured" : measured.name));
      if (rows.children.length % 2) rows.append(el("span"));
      if (wide) { const line = figure(seen, "Measured", measured.name); line.className = "wide"; rows.append(line); }
      for (const [which, name] of [["surfed", Did], ["direct", "Direct"]]) if (has(which)) {
        const mine = pictures[which][i];
        rows.append(figure(picture(mine), name));
        if (goal !== null) rows.append(figure(picture(mine, goal), "Its error", "absolute difference"));
      }
      home.append(rows);
    }
    const list = el("dl"), both = [data.surfed, data.direct];
    list.append(el("dt", "", ""), el("dd", "h s", did), el("dd", "h d", data.direct ? "direct" : ""));
    for (const [name, key] of [["residual ‖AG(z)−y‖", "norm"], ["latent error ‖z−z*‖", "error"], ["cost, forwards", "cost"]]) {
      if (!data.surfed[key]) continue;
      list.append(el("dt", "", name));
      for (const who of both) list.append(el("dd", "", who && who[key] ? (known(who[key][i]) ? show(who[key][i]) : "not finite") : ""));
    }
    home.append(list);
    for (const [who, name, kind] of [[data.surfed, Did, "s"], [data.direct, "Direct", "d"]]) if (who) {
      const [status, message] = data.statuses[who.status[i]], line = el("p", "sentence");
      line.append(el("b", kind, `${name}: ${status.replace(/_/g, " ")}. `), message[0].toUpperCase() + message.slice(1));
      home.append(line);
    }
  }

  function strip() {
    const home = $("strip"), places = sheet && pictures.strips[state.target];
    home.replaceChildren();
    $("seen").hidden = last === 0 || !pictures || !Object.keys(pictures.strips).length;
    if ($("seen").hidden) return;
    if (!places) { home.append(el("p", "muted", "There was no room in this page for this target's strip.")); return; }
    places.forEach((place, k) => {
      const button = el("button");
      button.type = "button";
      button.setAttribute("aria-label", `Stage ${k + 1}, training step ${Math.round(stages[k][1])}`);
      button.append(picture(place), el("span", "", `step ${show(Math.round(stages[k][1]))}`));
      button.addEventListener("click", () => { play(false); go(k); });
      home.append(button);
    });
  }

  // Curves.
  const median = (values, q = 0.5) => { const s = values.filter(known).sort((a, b) => a - b); return s.length ? s[Math.min(s.length - 1, Math.floor(q * s.length))] : null; };
  const charts = {};
  // A chart is drawn as wide as its place, so that the type keeps its size.
  function chart(name) { if (!charts[name]) { charts[name] = el("div", "chart"); $("curves").append(charts[name]); } Charts.fit(charts[name].clientWidth - 44); return charts[name]; }
  let marker = null;
  function cursor() { if (marker) { const x = marker.x(state.stage); marker.line.setAttribute("x1", x); marker.line.setAttribute("x2", x); } }

  const stageTicks = () => stages.map((s, k) => [k, show(Math.round(s[1]))]);
  function residuals() {
    if (stages.length < 2) return;
    const { H, LEFT, RIGHT, TOP, BOTTOM, node, line } = Charts, i = state.target, mine = data.ride.norm.map((row) => row[i]);
    const low = data.ride.norm.map((row) => median(row, 0.1)), mid = data.ride.norm.map((row) => median(row)), high = data.ride.norm.map((row) => median(row, 0.9));
    const direct = data.direct ? data.direct.norm[i] : null, all = [...mine, ...low, ...high, direct].filter((v) => known(v) && v > 0);
    const svg = Charts.frame(chart("residual"), "Residual along the ride", `Orange: target ${i}, at the end of each stage, on that stage's own network. Grey: median and middle 80% of all targets.${data.direct ? " Dashed: where direct descent ended." : ""} Logarithmic; what is below a thousandth of the largest is drawn at the bottom.`, ["training step of the stage", "‖A G(z) − y‖"]);
    const peak = Math.max(...all, 1e-9), bottom = Math.max(Math.min(...all), peak * 1e-3), x = Charts.linear(0, last, LEFT + 12, Charts.W - RIGHT - 12), y = Charts.logarithmic(bottom / 1.5, peak * 1.5, H - BOTTOM, TOP);
    Charts.axes(svg, x, y, stageTicks());
    marker = { x, line: node("line", { class: "cursor", y1: TOP, y2: H - BOTTOM, x1: x(state.stage), x2: x(state.stage) }, svg) };
    const at = (row) => row.map((v, k) => [x(k), known(v) ? y(v) : null]);
    const band = [...at(high), ...at(low).reverse()].filter((p) => p[1] !== null);
    if (count > 1 && band.length > 2) { node("path", { class: "band", d: "M" + band.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L") + "Z" }, svg); line(svg, at(mid), "soft"); }
    if (known(direct) && direct > 0) { line(svg, [[LEFT, y(direct)], [Charts.W - RIGHT, y(direct)]], "direct"); node("text", { class: "ldirect", x: (LEFT + Charts.W) / 2, y: y(direct) + (y(direct) < 30 ? 15 : -6) }, svg, "direct"); }
    line(svg, at(mine), "surf");
    for (const p of at(mine)) if (p[1] !== null) node("circle", { class: "dot", cx: p[0], cy: p[1], r: 4 }, svg);
  }

  function spent() {
    if (stages.length < 2) return;
    const { H, LEFT, RIGHT, TOP, BOTTOM, node } = Charts, i = state.target, mine = data.ride.cost.map((row) => row[i]), all = data.ride.cost.map((row) => median(row));
    const svg = Charts.frame(chart("cost"), "Cost of each stage", `In forward passes of the generator for one latent. Orange: target ${i}, with its descent steps above; grey: the median of all targets.`, ["training step of the stage", "forward-equivalents"]);
    const x = Charts.linear(-0.6, last + 0.6, LEFT, Charts.W - RIGHT), y = Charts.linear(0, Math.max(1, ...mine.filter(known), ...all.filter(known)) * 1.12, H - BOTTOM, TOP), wide = Math.min(26, (x(1) - x(0)) * 0.36);
    Charts.axes(svg, x, y, stageTicks());
    mine.forEach((v, k) => {
      if (known(v)) { node("rect", { class: "bar", x: x(k) - wide, width: wide - 1, y: y(v), height: y(0) - y(v), rx: 2 }, svg); node("text", { x: x(k) - wide / 2, y: y(v) - 5, "text-anchor": "middle" }, svg, data.ride.steps[k][i]); }
      if (known(all[k])) node("rect", { class: "bar all", x: x(k) + 1, width: wide - 1, y: y(all[k]), height: y(0) - y(all[k]), rx: 2 }, svg);
    });
  }

  function damping() {
    if (!data.ride.damping || stages.length < 2) return;
    const { H, LEFT, RIGHT, TOP, BOTTOM, node, line } = Charts, i = state.target, rows = data.ride.damping, mine = rows.map((row) => row[i]);
    const low = rows.map((row) => median(row, 0.1)), mid = rows.map((row) => median(row)), high = rows.map((row) => median(row, 0.9));
    const all = [...mine, ...low, ...high].filter((v) => known(v) && v > 0);
    if (!all.length) return;
    const svg = Charts.frame(chart("damping"), "Damping along the ride", `What the descent adds to the diagonal of JᵀJ at the end of each stage: it falls where the quadratic model is good, and rises where a step had to be refused. Orange: target ${i}; grey: median and middle 80% of all.`, ["training step of the stage", "damping"]);
    const peak = Math.max(...all), bottom = Math.max(Math.min(...all), peak * 1e-8), x = Charts.linear(0, last, LEFT + 12, Charts.W - RIGHT - 12), y = Charts.logarithmic(bottom / 1.5, peak * 1.5, H - BOTTOM, TOP);
    Charts.axes(svg, x, y, stageTicks());
    const at = (row) => row.map((v, k) => [x(k), known(v) ? y(v) : null]), band = [...at(high), ...at(low).reverse()].filter((p) => p[1] !== null);
    if (count > 1 && band.length > 2) { node("path", { class: "band", d: "M" + band.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L") + "Z" }, svg); line(svg, at(mid), "soft"); }
    line(svg, at(mine), "surf");
    for (const p of at(mine)) if (p[1] !== null) node("circle", { class: "dot", cx: p[0], cy: p[1], r: 4 }, svg);
  }

  // The record of a comparison, where one was given: every method at the same budgets.
  function compared() {
    const { H, LEFT, RIGHT, TOP, BOTTOM, node, line } = Charts, methods = data.success, home = chart("success");
    const costs = methods.flatMap((m) => m.points.map((p) => p[0])), trials = [...new Set(methods.map((m) => m.trials))].sort((a, b) => b - a);
    const svg = Charts.frame(home, "Success against cost", `Share of the latents found by each method, restarts included, at the same budgets; from the record of a comparison with ${trials.join(" or ")} targets per method. Shaded: the 95% interval of the first below, which are in order of their mean; at the right, the share at the least and at the largest budget.`, ["budget per target, forward-equivalents", "found"]);
    const x = Charts.logarithmic(Math.min(...costs) * 0.9, Math.max(...costs) * 1.1, LEFT, Charts.W - RIGHT), y = Charts.linear(0, 1, H - BOTTOM, TOP), ends = [...new Set(costs)].sort((a, b) => a - b);
    const mean = (m) => m.points.reduce((sum, p) => sum + p[1], 0) / m.points.length, share = (p) => Math.round(100 * p[1]);
    y.ticks = [0, 0.25, 0.5, 0.75, 1];
    Charts.axes(svg, x, y, ends.map((v) => [v, show(v)]), true);
    const list = el("ul", "methods"), ranked = [...methods].sort((a, b) => mean(b) - mean(a));
    ranked.forEach((method, k) => {
      const kind = `m${k}`;
      if (k === 0) node("path", { class: "band first", d: "M" + [...method.points.map((p) => [x(p[0]), y(p[3])]), ...method.points.map((p) => [x(p[0]), y(p[2])]).reverse()].map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L") + "Z" }, svg);
      line(svg, method.points.map((p) => [x(p[0]), y(p[1])]), kind);
      const li = el("li"), swatch = node("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" }, li);
      node("path", { class: `line ${kind}`, d: "M1 4H25" }, swatch);
      li.append(el("span", "", method.name), el("b", "", `${share(method.points[0])} → ${share(method.points.at(-1))}%`));
      list.append(li);
    });
    svg.after(list);
  }

  function success() {
    if (data.success) { compared(); return; }
    const { H, LEFT, RIGHT, TOP, BOTTOM, node, line } = Charts, methods = [[data.surfed, "surf", did], [data.direct, "direct", "direct"]].filter((m) => m[0]);
    const best = methods.reduce((a, b) => (total(b[0]) > total(a[0]) ? b : a))[0], costs = methods.flatMap(([who]) => who.cost).filter((v) => known(v) && v > 0);
    if (!costs.length) return;
    const svg = Charts.frame(chart("success"), "Success against cost", "Share of the targets whose measurements were met, by what had been spent on them when they ended. One run of each method: a failed target counts at no cost.", ["cost of a target, forward-equivalents", "measurements met"]);
    const x = Charts.logarithmic(Math.min(...costs) * 0.8, Math.max(...costs) * 1.25, LEFT, Charts.W - RIGHT), y = Charts.linear(0, 1, H - BOTTOM, TOP);
    y.ticks = [0, 0.25, 0.5, 0.75, 1];
    Charts.axes(svg, x, y, x.ticks.map((v) => [v, show(v)]), true);
    for (const [who, kind, name] of methods) {
      const done = who.cost.filter((v, i) => known(v) && met(who, i)).sort((a, b) => a - b), points = [[LEFT, y(0)]];
      done.forEach((v, k) => { points.push([x(v), y(k / count)], [x(v), y((k + 1) / count)]); });
      points.push([Charts.W - RIGHT, y(done.length / count)]);
      line(svg, points, kind);
      node("text", { class: `l${kind}`, x: Charts.W - RIGHT - 4, y: y(done.length / count) + (who === best ? -5 : 17), "text-anchor": "end" }, svg, `${name} ${done.length} of ${count}`);
    }
  }

  function drift() {
    if (!data.training || !data.training.drift.some(known)) return;
    const { H, LEFT, RIGHT, TOP, BOTTOM, node, line } = Charts, { steps, drift: moved } = data.training;
    const svg = Charts.frame(chart("drift"), last ? "Drift of the training, and the stages chosen" : "Drift of the training", `How far the generator's signals moved from each checkpoint to the next (root mean square, in units of the signal).${last ? " Orange marks: the stages of the ride." : ""}`, ["training step", "RMS change of G"]);
    const x = Charts.linear(0, Math.max(1, steps.length - 1), LEFT + 8, Charts.W - RIGHT - 12), y = Charts.linear(0, Math.max(1e-9, ...moved.filter(known)) * 1.1, H - BOTTOM, TOP);
    Charts.axes(svg, x, y, steps.map((s, k) => [k, show(s)]));
    for (const [at] of stages) node("line", { class: "stagemark", x1: x(at), x2: x(at), y1: H - BOTTOM, y2: H - BOTTOM - 12 }, svg);
    const points = moved.map((v, k) => [x(k + 1), known(v) ? y(v) : null]);
    line(svg, points, "sea");
  }

  function curves() {
    for (const draw of [residuals, damping, spent, success, drift]) draw();
    cursor();
  }

  // Targets.
  const orders = {
    feature: ["with a surface first", (a, b) => surfaces.has(b) - surfaces.has(a) || rank(a) - rank(b) || a - b],
    number: ["number", (a, b) => a - b],
    status: ["status", (a, b) => data.surfed.status[a] - data.surfed.status[b] || a - b],
    norm: ["residual, largest first", (a, b) => (data.surfed.norm[b] ?? Infinity) - (data.surfed.norm[a] ?? Infinity) || a - b],
    error: ["latent error, largest first", (a, b) => (data.surfed.error[b] ?? Infinity) - (data.surfed.error[a] ?? Infinity) || a - b],
    cost: ["cost, largest first", (a, b) => (data.surfed.cost[b] ?? Infinity) - (data.surfed.cost[a] ?? Infinity) || a - b],
  };
  if (!data.surfed.error) delete orders.error;
  function rank(i) { const d = data.direct && met(data.direct, i), s = met(data.surfed, i); return s && !d ? 0 : !s ? 1 : 2; }
  const made = new Map();
  let below = null;
  function tile(i) {
    if (made.has(i)) return made.get(i);
    const button = el("button", "tile");
    button.type = "button";
    button.dataset.target = i;
    const places = sheet ? ["target", "surfed", "direct"].filter((which) => pictures[which] && i < pictures[which].length).map((which) => pictures[which][i]) : [];
    if (places.length) button.append(row(places));
    const name = data.statuses[data.surfed.status[i]][0].replace(/_/g, " ");
    button.append(el("b", "", `${i}`), surfaces.has(i) ? " · surface" : "", el("br"), el("span", met(data.surfed, i) ? "met" : "unmet", name), el("br"), `residual ${known(data.surfed.norm[i]) ? show(data.surfed.norm[i]) : "not finite"}`);
    button.setAttribute("aria-pressed", i === state.target);
    button.addEventListener("click", () => select(i));
    made.set(i, button);
    return button;
  }
  function tiles() {
    const only = $("only").value, shown = [...Array(count).keys()].filter((i) => only === "all" || (only === "surface" ? surfaces.has(i) : only === "won" ? rank(i) === 0 : only === "met" ? met(data.surfed, i) : only === "unmet" ? !met(data.surfed, i) : String(data.surfed.status[i]) === only));
    shown.sort(orders[$("sort").value][1]);
    // The first ones at once, the others as one scrolls: there may be a thousand.
    let placed = 0;
    const home = $("tiles"), end = el("span", "end");
    const more = () => { end.before(...shown.slice(placed, placed + 48).map(tile)); placed += 48; if (placed >= shown.length) { below.disconnect(); end.remove(); } };
    if (below) below.disconnect();
    below = new IntersectionObserver((seen) => { if (seen.some((s) => s.isIntersecting)) { more(); if (end.isConnected) { below.unobserve(end); below.observe(end); } } }, { root: home, rootMargin: "600px" });
    home.replaceChildren(end);
    more();
    if (end.isConnected) below.observe(end);
    $("shown").textContent = `${shown.length} of ${count}`;
  }
  function select(i) {
    const before = made.get(state.target);
    if (before) before.setAttribute("aria-pressed", false);
    state.target = i;
    if (made.has(i)) made.get(i).setAttribute("aria-pressed", true);
    $("pick").value = i;
    card(); strip(); residuals(); damping(); spent(); caption(); go(state.stage);
  }

  function caption() {
    const item = surfaces.get(state.target), blank = $("blank");
    blank.hidden = Boolean(item && wave.paint);
    if (!item) {
      blank.textContent = data.surfaces ? "No surface was kept for this target. Targets with one are marked “surface” below." : "Surfaces need the trajectory and the measurements: solution.view(trajectory=…, y=…).";
      $("caption").textContent = "";
      return;
    }
    if (!wave.paint) blank.textContent = "This browser offers no WebGL2, which draws the surface.";
    $("caption").textContent = `The height is ${state.height === "risk" ? "−f, minus the risk," : "minus the residual norm, −‖A G(z) − y‖ = −√(2 f),"} at that moment of training, so that the best latent is a peak, on ${item.spanned}: ${show(item.width)} wide. ${!last ? "" : item.inside < 0.999 ? `${Math.round(item.inside * 100)}% of the path's squared length lies in it; a surfer off the plane floats at its own height above the point below.` : "The path lies in it."} Drag or use the arrow keys to turn it.`;
  }

  function legend() {
    const add = (name, shape) => { const li = el("li"), svg = Charts.node("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, li); shape(svg); li.append(name); $("key").append(li); };
    const node = Charts.node;
    add(last ? "surfer, and its path" : `the latent that was ${did}`, (svg) => node("circle", { cx: 8, cy: 8, r: 6, fill: "var(--surf)" }, svg));
    if (data.direct) add("where direct descent ended", (svg) => node("path", { d: "M8 1L15 8L8 15L1 8Z", fill: "var(--direct)" }, svg));
    if (data.surfed.error) add("flag: the true latent", (svg) => node("path", { d: "M4 15V1L13 4.5L4 8", fill: "var(--truth)", stroke: "var(--truth)", "stroke-width": 1.5 }, svg));
  }

  function lede() {
    const home = $("lede"), s = total(data.surfed);
    home.append(`${runner} met the measurements of `, el("b", "s", `${s} of ${count}`), count === 1 ? " target" : " targets");
    if (data.direct) home.append("; direct descent on the trained network", " met ", el("b", "d", `${total(data.direct)}`));
    home.append(".");
  }

  function words() {
    const home = $("words");
    for (const [key, name] of [["surfed", runner], ["direct", "Direct descent"]]) {
      if (!data.words[key].length) continue;
      const list = el("ul");
      for (const [line, n] of data.words[key]) { const li = el("li"), [status, ...rest] = line.split(": "), text = el("span"); text.append(el("b", "", `${status.replace(/_/g, " ")}. `), rest.join(": ").replace(/^./, (c) => c.toUpperCase())); li.append(el("b", key === "surfed" ? "s" : "d", `${n}`), text); list.append(li); }
      home.append(el("h3", "", name), list);
    }
    if (data.notes.length) home.append(el("h3", "", "Notes"), ...data.notes.map((note) => el("p", "", note)));
  }

  function option(home, value, text) { const made = el("option", "", text); made.value = value; home.append(made); }

  function setup() {
    $("title").textContent = data.title;
    for (const [name, value] of data.facts) { const li = el("li"); li.append(`${name} `, el("b", "", value)); $("facts").append(li); }
    lede(); legend(); words();
    const when = $("when");
    when.max = Math.max(last, 0.05);
    if (last === 0) when.closest(".transport").hidden = $("scale").parentElement.hidden = true;
    let edge = -1;
    stages.forEach((s, k) => { if (last === 0) return; const share = k / last, mark = el("span", "", share - edge > 46 / Math.max(1, $("when").clientWidth) ? show(Math.round(s[1])) : ""); if (mark.textContent) edge = share; mark.style.left = `${share * 100}%`; $("ticks").append(mark); });
    for (const i of data.featured) option($("pick"), i, `${i}: ${(data.direct ? [`${did}, not direct`, `not ${did}`, "both"] : ["met", "not met", "met"])[rank(i)]}`);
    $("pick").parentElement.hidden = !surfaces.size;
    for (const [key, [name]] of Object.entries(orders)) option($("sort"), key, name);
    option($("only"), "all", "all");
    if (surfaces.size) option($("only"), "surface", "with a surface");
    if (data.direct) option($("only"), "won", `met by ${runner.toLowerCase()} only`);
    const tally = new Map();
    for (const s of data.surfed.status) tally.set(s, (tally.get(s) || 0) + 1);
    option($("only"), "met", `met (${total(data.surfed)})`);
    option($("only"), "unmet", `not met (${count - total(data.surfed)})`);
    for (const [s, n] of [...tally].sort((a, b) => b[1] - a[1])) option($("only"), s, `${data.statuses[s][0].replace(/_/g, " ")} (${n})`);
    $("tilecaption").textContent = pictures ? `Left to right: ${[pictures.target && "the target", did, pictures.direct && "direct"].filter(Boolean).join(", ")}. A filled dot: measurements met.` : "These signals are no images; a filled dot: measurements met.";
    when.addEventListener("input", () => { play(false); go(Number(when.value)); });
    $("play").addEventListener("click", () => play(!state.playing));
    for (const name of ["height", "scale"]) $(name).addEventListener("change", (e) => { state[name] = e.target.value; caption(); redraw(); });
    $("pick").addEventListener("change", (e) => select(Number(e.target.value)));
    for (const name of ["sort", "only"]) $(name).addEventListener("change", tiles);
    turning(); theme(); tour();
    new ResizeObserver(redraw).observe($("stage"));
  }

  function turning() {
    const stage = $("stage");
    let grip = null;
    const turn = (dx, dy) => { wave.yaw -= dx; wave.pitch = Math.max(0.12, Math.min(1.5, wave.pitch + dy)); redraw(); };
    stage.addEventListener("pointerdown", (e) => { grip = [e.clientX, e.clientY]; stage.setPointerCapture(e.pointerId); });
    stage.addEventListener("pointermove", (e) => { if (!grip) return; turn((e.clientX - grip[0]) * 0.008, e.pointerType === "touch" ? 0 : (e.clientY - grip[1]) * 0.006); grip = [e.clientX, e.clientY]; });
    for (const name of ["pointerup", "pointercancel"]) stage.addEventListener(name, () => { grip = null; });
    stage.addEventListener("keydown", (e) => {
      const by = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.07], ArrowDown: [0, -0.07] }[e.key];
      if (by) turn(...by);
      else if (e.key === " ") play(!state.playing);
      else return;
      e.preventDefault();
    });
  }

  function theme() {
    const root = document.documentElement, button = $("theme"), system = window.matchMedia("(prefers-color-scheme: dark)");
    const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
    const name = () => { button.textContent = dark() ? "Light" : "Dark"; redraw(); };
    button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; name(); });
    system.addEventListener("change", name);
    name();
  }

  // A tour: one sentence for each part of the page.
  function tour() {
    const stops = [...document.querySelectorAll("[data-tour]")], box = $("tour");
    let at = -1;
    const leave = () => { for (const s of stops) s.classList.remove("visited"); box.hidden = true; at = -1; $("start").focus(); };
    const visit = (n) => {
      const there = stops.filter((s) => !s.hidden && s.getClientRects().length);
      if (n >= there.length) { leave(); return; }
      for (const s of stops) s.classList.remove("visited");
      at = n;
      box.hidden = false;
      there[n].classList.add("visited");
      there[n].scrollIntoView({ block: "center" });
      $("said").textContent = there[n].dataset.tour;
      $("next").textContent = n + 1 < there.length ? `Next (${n + 1} of ${there.length})` : "Done";
      $("next").focus({ preventScroll: true });
    };
    $("start").addEventListener("click", () => visit(0));
    $("next").addEventListener("click", () => visit(at + 1));
    $("leave").addEventListener("click", leave);
    box.addEventListener("keydown", (e) => { if (e.key === "Escape") leave(); });
  }

  function begin() {
    setup(); tiles(); select(state.target);
    window.addEventListener("resize", curves);
    document.documentElement.dataset.ready = Math.round(performance.now());
    // Below the first screen: once that is painted.
    requestAnimationFrame(() => setTimeout(curves));
  }

  const opening = (source, keep) => new Promise((done) => {
    const image = new Image();
    image.addEventListener("load", () => { keep(image); done(); });
    image.addEventListener("error", () => done());
    image.src = source;
  });
  const wanted = [];
  if (pictures) wanted.push(opening(pictures.png, (image) => { sheet = image; }));
  if (measured && measured.png) wanted.push(opening(measured.png, (image) => { other = image; }));
  Promise.all(wanted).then(begin);
})();
