// Small charts as SVG; colours come from the style sheet.
const Charts = (() => {
  let W = 560;
  const H = 250, LEFT = 68, RIGHT = 16, TOP = 14, BOTTOM = 46;
  const SPACE = "http://www.w3.org/2000/svg";
  const known = (v) => v !== null && Number.isFinite(v);

  function node(name, attributes, parent, text) {
    const made = document.createElementNS(SPACE, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function show(v) {
    if (v === 0) return "0";
    const a = Math.abs(v);
    if (a >= 1e5 || a < 1e-3) { const [m, e] = v.toExponential(0).split("e"); return (m === "1" ? "" : m + "·") + "10" + [...String(Number(e))].map((c) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]).join(""); }
    return a >= 1000 ? Math.round(v).toLocaleString("en").replace(/,/g, " ") : String(Number(v.toPrecision(3)));
  }

  function linear(low, high, from, to) { const f = (v) => from + ((v - low) / (high - low || 1)) * (to - from); f.ticks = nice(low, high); return f; }
  function nice(low, high) {
    const raw = (high - low) / 4 || 1, base = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map((m) => m * base).find((s) => s >= raw) || raw, out = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-6; v += step) out.push(Number(v.toPrecision(6)));
    return out;
  }
  function logarithmic(low, high, from, to) {
    const a = Math.log10(low), b = Math.log10(high), f = (v) => from + ((Math.log10(Math.max(v, low)) - a) / (b - a || 1)) * (to - from);
    const inside = (parts, every) => {
      const found = [];
      for (let e = Math.floor(a); e <= b; e += 1) if (e % every === 0) for (const m of parts) found.push(Number(`${m}e${e}`));
      return found.filter((v) => v >= low * 0.999 && v <= high * 1.001);
    };
    const tries = [inside([1], Math.max(1, Math.ceil((b - a) / 5))), inside([1], 1), inside([1, 3], 1), inside([1, 2, 5], 1)];
    f.ticks = tries.find((ticks) => ticks.length > 2) || tries[3];
    if (f.ticks.length < 2) f.ticks = nice(low, high);
    return f;
  }

  function frame(home, title, caption, labels) {
    home.replaceChildren();
    const head = document.createElement("h2"), foot = document.createElement("p");
    head.textContent = title; foot.textContent = caption; foot.className = "caption";
    home.append(head);
    const svg = node("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${title}. ${caption}` }, home);
    home.append(foot);
    node("text", { x: (LEFT + W - RIGHT) / 2, y: H - 6, "text-anchor": "middle" }, svg, labels[0]);
    node("text", { x: 13, y: (TOP + H - BOTTOM) / 2, "text-anchor": "middle", transform: `rotate(-90 13 ${(TOP + H - BOTTOM) / 2})` }, svg, labels[1]);
    return svg;
  }

  function axes(svg, x, y, xticks, percent) {
    for (const v of y.ticks) { node("line", { class: "grid", x1: LEFT, x2: W - RIGHT, y1: y(v), y2: y(v) }, svg); node("text", { x: LEFT - 8, y: y(v) + 4, "text-anchor": "end" }, svg, percent ? `${Math.round(v * 100)}%` : show(v)); }
    node("line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: H - BOTTOM, y2: H - BOTTOM }, svg);
    let edge = -Infinity;
    for (const [v, text] of xticks) { const at = x(v); if (at - edge < 7 * text.length + 10) continue; edge = at; node("text", { x: at, y: H - BOTTOM + 18, "text-anchor": "middle" }, svg, text); }
  }

  function line(svg, points, kind) {
    let d = "", pen = "M";
    for (const p of points) { if (!known(p[1])) { pen = "M"; continue; } d += `${pen}${p[0].toFixed(1)} ${p[1].toFixed(1)}`; pen = "L"; }
    if (d) node("path", { class: `line ${kind}`, d }, svg);
  }

  // As wide as they are shown, so that the type keeps its size.
  const fit = (width) => { W = Math.round(Math.max(280, Math.min(1240, width))); };

  return { node, show, linear, logarithmic, frame, axes, line, known, fit, get W() { return W; }, H, LEFT, RIGHT, TOP, BOTTOM };
})();
