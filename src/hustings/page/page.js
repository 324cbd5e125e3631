// The report's curves, reader and search. All text from models reaches the document by textContent, never as markup.
"use strict";
(() => {
  const runs = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const several = runs.length > 1;
  const SYMBOLS = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolStar, d3.symbolCross];
  const DASHES = [null, "7 4", "2 3", "9 3 2 3", "12 5", "4 2 1 2"];
  const LISTENS = ["5 4", "1.5 3.5", "10 4", "5 3 1 3", "14 4", "3 2 3 6"]; // of the shadow Default, never solid

  // An element with properties, attributes and children; strings become text nodes.
  function make(tag, options = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(options)) {
      if (name in element) element[name] = value;
      else element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  function fill(element, ...children) { element.replaceChildren(...children.filter((child) => child !== null)); }
  function number(value, digits = 1) { return value === null ? "–" : value.toFixed(digits); }
  function short(value) { return String(Number(value.toFixed(2))); }
  function capital(text) { return text.charAt(0).toUpperCase() + text.slice(1); }

  // Characters that are invisible or reverse the text are shown by their codes.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;
  function visible(text) {
    return text.replace(HIDDEN, (found) => `\u27e8U+${found.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
  }

  // Roles of all runs; every element of class `of` gets its shade from its role's colour.
  const roles = new Map();
  for (const run of runs) for (const [key, look] of Object.entries(run.roles)) if (!roles.has(key)) roles.set(key, look);
  const order = [...roles.keys()];
  const listens = (role) => roles.get(role)?.kind === "shadow";
  function of(element, role) {
    element.classList.add("of");
    element.classList.toggle("listens", listens(role));
    element.style.setProperty("--role", roles.has(role) ? roles.get(role).colour : "#808080");
    return element;
  }
  function symbol(role, size) { return d3.symbol(SYMBOLS[order.indexOf(role) % SYMBOLS.length], size)(); }

  /* ---- curves ---- */
  const topics = new Map();
  for (const run of runs) for (const [key, topic] of Object.entries(run.topics)) if (!topics.has(key)) topics.set(key, topic);
  // What can be shown, the outcome that the first run analyses first; `both` draws the other one thinly beside it.
  const outcomes = new Map(runs.flatMap((run) => Object.entries(run.outcomes)));
  const primary = (run) => Object.keys(run.outcomes)[0];
  const drawn = order.filter((role) => runs.some((run) => Object.values(run.curves).some((curves) => Object.values(curves).some((lines) => lines[role]))));
  const choice = {
    outcome: primary(runs[0]), both: false, roles: new Set(drawn), topics: new Set(topics.keys()),
    runs: new Set(runs.keys()), single: false,
  };
  if (several) choice.runs = new Set([...runs.keys()].slice(0, 4));

  function tick(label, checked, changed, swatch) {
    const box = make("input", { type: "checkbox", checked });
    box.addEventListener("change", () => changed(box.checked));
    return make("label", {}, box, swatch ?? null, label);
  }
  function chooser(title, entries, set) {
    return make("fieldset", {}, make("legend", {}, title), ...entries.map(([key, label, swatch]) =>
      tick(label, set.has(key), (on) => { if (on) set.add(key); else set.delete(key); draw(); }, swatch)));
  }
  function swatch(role, dash) {
    const svg = d3.create("svg").attr("class", "swatch").attr("viewBox", "0 0 26 14").attr("aria-hidden", "true");
    const line = svg.append("line").attr("class", "curve").attr("x2", 26).attr("y1", 7).attr("y2", 7);
    if (listens(role)) dash = LISTENS[0];
    if (dash) line.attr("stroke-dasharray", dash);
    if (role === null) { line.attr("class", null).attr("stroke", "currentColor").attr("stroke-width", 2); return svg.node(); }
    svg.append("path").attr("class", listens(role) ? "point listens" : "point").attr("transform", "translate(13,7)").attr("d", symbol(role, 60));
    return of(svg.node(), role);
  }
  function controls() {
    const form = $("curve-controls");
    form.addEventListener("submit", (event) => event.preventDefault());
    form.append(chooser("Roles", drawn.map((role) => [role, roles.get(role).label, swatch(role)]), choice.roles));
    if (topics.size > 1) form.append(chooser("Topics", [...topics].map(([key, topic]) => [key, topic.label]), choice.topics));
    if (several) form.append(chooser("Runs", runs.map((run, i) => [i, run.label, swatch(null, DASHES[i % DASHES.length])]), choice.runs));
    form.append(make("fieldset", {}, make("legend", {}, "Attitude"), ...[...outcomes].map(([name, words]) => {
      const radio = make("input", { type: "radio", name: "outcome", value: name, checked: name === choice.outcome });
      radio.addEventListener("change", () => { choice.outcome = name; draw(); });
      return make("label", {}, radio, words);
    })));
    if (outcomes.size > 1) form.append(tick("the other one beside it (thin)", false, (on) => { choice.both = on; draw(); }));
    form.append(tick("single debates", false, (on) => { choice.single = on; draw(); }));
  }

  // The lowest and the highest attitude in a topic's panel, over all runs that have the topic.
  function scale(topic) {
    const scales = runs.filter((run) => run.topics[topic]).map((run) => run.scale);
    return [d3.min(scales, (it) => it[0]), d3.max(scales, (it) => it[1])];
  }
  // What the ends of the axis mean; without numbers where runs have different scales.
  function ends(topic) {
    const { low, high } = topics.get(topic), [bottom, top] = scale(topic);
    const alike = runs.every((run) => !run.topics[topic] || (run.scale[0] === bottom && run.scale[1] === top));
    return alike ? `${short(bottom)} = ${low}, ${short(top)} = ${high}` : `low = ${low}, high = ${high}`;
  }

  // What is drawn in a topic's panel: one entry for each run and role.
  function series(topic) {
    const found = [];
    const others = choice.both ? [...outcomes.keys()].filter((name) => name !== choice.outcome) : [];
    for (const outcome of [choice.outcome, ...others]) {
      for (const i of choice.runs) {
        const curves = runs[i].curves[outcome]?.[topic] ?? {};
        for (const role of drawn) {
          if (!choice.roles.has(role) || !curves[role]) continue;
          const dashes = listens(role) ? LISTENS : DASHES;
          found.push({ run: i, role, outcome, points: curves[role], dash: dashes[i % dashes.length], beside: outcome !== choice.outcome });
        }
      }
    }
    return found;
  }
  const briefly = (outcome) => outcomes.get(outcome).split(" (")[0];
  function named(line) {
    return roles.get(line.role).label + (several ? `, ${runs[line.run].label}` : "") + (choice.both ? `, ${briefly(line.outcome)}` : "");
  }

  function panel(topic) {
    const info = topics.get(topic);
    const chart = make("div", { className: "chart", tabIndex: 0 });
    chart.setAttribute("role", "slider");
    chart.setAttribute("aria-label", `Attitude curves, ${info.label}: iteration`);
    const readout = make("div", { className: "readout", hidden: true });
    chart.append(readout);
    const data = make("details", {}, make("summary", {}, "Numbers"));
    const figure = make("section", { className: "panel" }, make("h3", {}, capital(info.label)), chart, data);
    figure.setAttribute("aria-label", info.label);
    const state = { topic, info, chart, readout, data, figure, at: null };
    chart.addEventListener("pointermove", (event) => point(state, state.nearest(event)));
    chart.addEventListener("pointerdown", (event) => point(state, state.nearest(event)));
    chart.addEventListener("pointerleave", () => point(state, null));
    chart.addEventListener("blur", () => point(state, null));
    chart.addEventListener("focus", () => { if (state.at === null) point(state, state.iterations[0] ?? null); });
    chart.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, Home: -1e9, End: 1e9 }[event.key];
      if (step === undefined || state.iterations.length === 0) return;
      event.preventDefault();
      const place = Math.max(0, Math.min(state.iterations.length - 1, state.iterations.indexOf(state.at) + step));
      point(state, state.iterations[place]);
    });
    return state;
  }

  function plot(state) {
    const { topic, chart } = state, [bottom, top] = scale(topic);
    const lines = series(topic);
    state.lines = lines;
    state.iterations = [...new Set(lines.flatMap((line) => line.points.map((it) => it[0])))].sort(d3.ascending);
    const width = Math.max(260, chart.clientWidth || 480), height = Math.round(Math.min(400, 170 + width * 0.22));
    const narrow = width < 470, inner = { left: 34, right: width - 12, top: 14, bottom: height - (narrow ? 54 : 38) };
    const last = Math.max(1, state.iterations.at(-1) ?? 1);
    const x = d3.scaleLinear([0, last], [inner.left + 8, inner.right - 8]);
    const y = d3.scaleLinear([bottom, top], [inner.bottom, inner.top]), ticks = y.ticks(5);
    const svg = d3.create("svg").attr("viewBox", `0 0 ${width} ${height}`).attr("height", height).attr("aria-hidden", "true");
    svg.append("g").attr("class", "grid").selectAll("line").data(ticks).join("line")
      .attr("x1", inner.left).attr("x2", inner.right).attr("y1", y).attr("y2", y);
    svg.append("g").attr("class", "axis").attr("transform", `translate(${inner.left},0)`)
      .call(d3.axisLeft(y).tickValues(ticks).tickFormat(short).tickSize(0).tickPadding(8)).select(".domain").remove();
    svg.append("g").attr("class", "axis").attr("transform", `translate(0,${inner.bottom})`)
      .call(d3.axisBottom(x).tickValues(state.iterations).tickFormat(d3.format("d")).tickSizeOuter(0));
    svg.append("text").attr("x", inner.right).attr("y", height - (narrow ? 20 : 4)).attr("text-anchor", "end").text("iteration (replies made)");
    svg.append("text").attr("x", 0).attr("y", height - 4).text(ends(topic));
    const path = d3.line((it) => x(it[0]), (it) => y(it[1]));
    if (choice.single) singles(svg, state, path);
    for (const line of lines) {
      const group = svg.append("g");
      of(group.node(), line.role);
      const middle = d3.line((it) => x(it[0]), (it) => y(it[2]));
      const spread = line.points.filter((it) => it[3] !== null);
      if (!line.beside) group.append("path").attr("class", "band").attr("d",
        d3.area((it) => x(it[0]), (it) => y(Math.max(bottom, it[2] - it[3])), (it) => y(Math.min(top, it[2] + it[3])))(spread));
      const before = line.points.length === 1 && last > 1;
      const shown = before ? [[0, 0, line.points[0][2]], [last, 0, line.points[0][2]]] : line.points;
      const kind = (listens(line.role) ? " listens" : "") + (line.beside ? " beside" : "");
      group.append("path").attr("class", `curve${kind}`).attr("d", middle(shown)).attr("stroke-dasharray", before ? "6 4" : line.dash);
      group.selectAll(".point").data(line.points).join("path").attr("class", `point${kind}`).attr("d", symbol(line.role, line.beside ? 18 : 46))
        .attr("transform", (it) => `translate(${x(it[0])},${y(it[2])})`);
    }
    const cursor = svg.append("line").attr("class", "cursor").attr("y1", inner.top).attr("y2", inner.bottom).attr("visibility", "hidden");
    state.x = x;
    state.cursor = cursor;
    state.nearest = (event) => {
      const at = d3.pointer(event, svg.node())[0] * width / (svg.node().clientWidth || width);
      return d3.least(state.iterations, (it) => Math.abs(x(it) - at)) ?? null;
    };
    chart.querySelector("svg")?.remove();
    chart.prepend(svg.node());
    chart.setAttribute("aria-valuemin", 0);
    chart.setAttribute("aria-valuemax", last);
    point(state, null);
    numbers(state);
  }

  function singles(svg, state, path) {
    for (const i of choice.runs) {
      for (const [key, values] of runs[i].lines[choice.outcome]?.[state.topic] ?? []) {
        for (const role of drawn) {
          if (!choice.roles.has(role) || (values[role]?.length ?? 0) < 2) continue;
          const line = svg.append("path").attr("class", "single").attr("d", path(values[role]));
          of(line.node(), role);
          line.append("title").text(`${roles.get(role).label}, debate ${key.split("/")[2]}: open its transcript`);
          line.on("click", () => { location.hash = link(runs[i], key, null); });
        }
      }
    }
  }

  // Shows the numbers of one iteration, to the eye and to a screen reader.
  function point(state, at) {
    state.at = at;
    state.readout.hidden = at === null;
    state.cursor.attr("visibility", at === null ? "hidden" : "visible");
    const rows = at === null ? [] : state.lines.map((line) => [line, line.points.find((it) => it[0] === at)]).filter((row) => row[1]);
    state.chart.setAttribute("aria-valuenow", at ?? 0);
    state.chart.setAttribute("aria-valuetext", at === null ? "no iteration chosen" : `iteration ${at}: ` + rows.map(
      ([line, it]) => `${named(line)} ${number(it[2], 2)}, standard error ${number(it[3], 2)}, ${it[1]} debates`).join("; "));
    if (at === null) return;
    const place = state.x(at);
    state.cursor.attr("x1", place).attr("x2", place);
    fill(state.readout, make("table", {}, make("caption", {}, `Iteration ${at}`), make("tbody", {}, ...rows.map(([line, it]) =>
      make("tr", {}, make("th", { scope: "row" }, of(make("span", { className: "tag" }, named(line)), line.role)),
        make("td", { className: "number" }, `${number(it[2], 2)} ± ${number(it[3], 2)}`),
        make("td", { className: "number" }, `n = ${it[1]}`))))));
    const wide = state.readout.offsetWidth, room = state.chart.clientWidth - wide;
    const left = place + 12 <= room ? place + 12 : place - 12 - wide;
    state.readout.style.left = `${left >= 0 ? left : Math.max(0, room)}px`;
  }

  // Every number of a panel, for both outcomes whichever is drawn.
  function numbers(state) {
    const cell = (value) => make("td", { className: "number" }, String(value));
    const rows = state.lines.filter((line) => !line.beside).flatMap((line) => {
      const all = [...outcomes.keys()].map((name) => new Map((runs[line.run].curves[name]?.[state.topic]?.[line.role] ?? []).map((it) => [it[0], it])));
      const who = roles.get(line.role).label + (several ? `, ${runs[line.run].label}` : "");
      return line.points.map(([at, n]) => make("tr", {}, make("th", { scope: "row" }, who), cell(at), cell(n), ...all.flatMap((points) => {
        const it = points.get(at);
        return [cell(it ? number(it[2], 2) : "–"), cell(it ? number(it[3], 2) : "–")];
      })));
    });
    const words = [...outcomes.keys()].flatMap((name) => [`mean ${briefly(name)}`, "standard error"]);
    const head = make("tr", {}, ...["role", "iteration", "n", ...words].map((word) => make("th", { scope: "col" }, word)));
    fill(state.data, make("summary", {}, "Numbers"), make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
  }

  const panels = [...topics.keys()].map(panel);
  function draw() {
    fill($("panels"), ...panels.filter((it) => choice.topics.has(it.topic)).map((it) => it.figure));
    for (const it of panels) if (choice.topics.has(it.topic)) plot(it);
  }

  /* ---- statistics ---- */
  // Filters rows; what has no row left is hidden, and what has one is unfolded while something is sought.
  function statistics() {
    const blocks = [...document.querySelectorAll("table.statistics tbody")];
    if (blocks.length === 0) return;
    for (const name of new Set(blocks.map((block) => block.dataset.statistic))) {
      $("statistic").append(make("option", { value: name }, name.replaceAll("_", " ")));
    }
    const families = [...document.querySelectorAll("details.family")].map((it) => [it, it.open]);
    const filter = () => {
      const name = $("statistic").value, words = $("statistics-find").value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const block of blocks) {
        const [head, ...rows] = block.rows, about = head.textContent.toLowerCase();
        for (const row of rows) {
          const text = `${about} ${row.textContent.toLowerCase()}`;
          row.hidden = (name && block.dataset.statistic !== name) || !words.every((word) => text.includes(word));
        }
        block.hidden = rows.every((row) => row.hidden);
      }
      for (const [family, open] of families) {
        family.hidden = [...family.querySelectorAll("tbody")].every((block) => block.hidden);
        family.open = name || words.length ? true : open;
      }
    };
    $("statistics-controls").addEventListener("input", filter);
    $("statistics-controls").addEventListener("submit", (event) => event.preventDefault());
  }

  /* ---- reader ---- */
  const now = { run: 0, topic: null, debate: null, iteration: null };
  for (const run of runs) run.debates.sort((a, b) => d3.ascending(a.key, b.key));
  function link(run, key, iteration) {
    return `#debate=${encodeURIComponent(run.id)}/${key.split("/").map(encodeURIComponent).join("/")}${iteration === null ? "" : `/${iteration}`}`;
  }
  function label(run, debate) {
    return `${Number(debate.key.split("/")[2])}: ${debate.agents.filter((it) => it[4]).map((it) => visible(it[2])).join(", ")}`;
  }
  function about(run, topic) { return run.debates.filter((it) => it.key.startsWith(`${topic}/`)); }

  function options() {
    const run = runs[now.run];
    fill($("reader-run"), ...runs.map((it, i) => make("option", { value: String(i), selected: i === now.run }, it.label)));
    const there = [...new Set(run.debates.map((it) => it.key.split("/")[0]))];
    fill($("reader-topic"), ...there.map((key) => make("option", { value: key, selected: key === now.topic }, run.topics[key]?.label ?? key)));
    const debates = about(run, now.topic);
    fill($("reader-debate"), ...debates.map((it) => make("option", { value: it.key, selected: it === now.debate }, label(run, it))));
    const place = debates.indexOf(now.debate);
    $("previous").disabled = place <= 0;
    $("next").disabled = place < 0 || place >= debates.length - 1;
    const kept = d3.sum(runs, (it) => it.debates.length), total = d3.sum(runs, (it) => it.total);
    $("sampled").textContent = kept === total ? "" :
      `This page has the transcripts of ${kept.toLocaleString("en")} of ${total.toLocaleString("en")} debates, drawn at random; ` +
      "curves, counts and statistics cover all debates, and every transcript is in the run's replies.csv.";
  }

  function open(run, debate, iteration, jump) {
    Object.assign(now, { run, debate, iteration, topic: debate?.key.split("/")[0] ?? null });
    options();
    if (!debate) { fill($("debate"), make("p", { className: "note" }, "There is no transcript on this page.")); return; }
    show(runs[run], debate);
    if (!jump) return;
    const reply = iteration === null ? null : document.getElementById(`iteration-${iteration}`);
    for (const old of document.querySelectorAll(".here")) old.classList.remove("here");
    reply?.classList.add("here");
    (reply ?? $("reader")).scrollIntoView({ block: reply ? "center" : "start" });
    $("debate").focus({ preventScroll: true });
  }

  function text(words) {
    const needle = $("search").value.trim();
    const holder = make("p", { className: "text", dir: "auto" });
    holder.append(...marked(visible(words), needle));
    return holder;
  }
  function marked(words, needle) {
    if (!needle) return [words];
    const parts = [], low = words.toLowerCase(), sought = needle.toLowerCase();
    let from = 0;
    for (let at = low.indexOf(sought); at >= 0 && low.length === words.length; at = low.indexOf(sought, from)) {
      parts.push(words.slice(from, at), make("mark", {}, words.slice(at, at + sought.length)));
      from = at + sought.length;
    }
    return [...parts, words.slice(from)];
  }

  function show(run, debate) {
    const [topic, , repetition] = debate.key.split("/");
    const surveys = d3.group(debate.surveys, (it) => it[0]);
    const points = [...surveys.keys()].sort(d3.ascending);
    const personas = make("div", { className: "personas" }, ...debate.agents.map((agent) => persona(run, debate, agent)));
    const body = points.length ? [] : [personas];
    let past = null;
    for (const at of points) {
      const replies = debate.replies.filter((it) => it[0] <= at && (past === null || it[0] > past));
      const said = make("div", { className: "replies" }, past === null ? personas : null, ...replies.map((it) => reply(run, debate, it)));
      body.push(make("div", { className: "span" }, said, survey(run, debate, topic, surveys.get(at), past === null ? null : surveys.get(past), at)));
      past = at;
    }
    const rest = debate.replies.filter((it) => past === null || it[0] > past);
    if (rest.length) body.push(make("div", { className: "replies" }, ...rest.map((it) => reply(run, debate, it))));
    fill($("debate"), make("h3", {}, `${capital(run.topics[topic]?.label ?? topic)}, debate ${Number(repetition)}`),
      make("p", { className: "note" }, several ? `${run.label} · ` : "", make("code", {}, debate.key), ` · attitudes: ${measured(run)}`),
      reading(debate), ...body);
    $("debate").setAttribute("aria-label", `Debate ${Number(repetition)} on ${run.topics[topic]?.label ?? topic}`);
  }

  // What the numbers beside the replies are.
  function measured(run) {
    const [first, ...rest] = Object.values(run.outcomes);
    return first + (rest.length ? `; in brackets the ${rest[0]}` : "");
  }

  // Why nobody speaks: which debate these agents read, with a link where its transcript is on the page.
  function reading(debate) {
    if (debate.reads === null) return debate.replies.length ? null : make("p", { className: "note" }, "Nobody speaks here: the same agents are asked again.");
    const where = runs.find((it) => it.control === "none" && it.debates.some((other) => other.key === debate.reads));
    const key = make("code", {}, debate.reads);
    return make("p", { className: "note reads" }, "Nobody speaks here: these agents read debate ",
      where ? make("a", { href: link(where, debate.reads, null) }, key) : key, ", in which they take no part.");
  }

  function persona(run, debate, [role, id, name, story, , hears, model, surveyed]) {
    const asked = { first: " (surveyed before the debate only)", never: " (not surveyed)" }[surveyed] ?? null;
    const head = make("summary", {}, make("span", { className: "tag" }, visible(name)), ` · ${run.roles[role]?.label ?? role}`, asked);
    const facts = [id, heard(debate, hears), model && `runs on ${model}`].filter(Boolean).join(" · ");
    return of(make("details", {}, head, text(run.stories[story]), make("p", { className: "flag" }, facts)), role);
  }

  // Whom an agent hears, where that is not everybody in every debate.
  function heard(debate, hears) {
    if (hears === null) return null;
    if (hears === "all") return "hears everybody";
    return `hears ${hears.map((place) => visible(debate.agents[place][2])).join(", ") || "nobody"}`;
  }

  // '+2.1', '−0.5': a judge's rating of what is said, from −most to +most.
  function rating(value) { return value === null ? "no stance" : value > 0 ? `+${short(value)}` : value < 0 ? `−${short(-value)}` : "0"; }
  function stance(run, topic, mark) {
    if (mark === null) return null;
    const { low, high } = run.topics[topic], { judge, most } = run.talk;
    const title = `Stance as ${judge} rates it: −${most} = ${low}, +${most} = ${high}`;
    return make("span", { className: mark[1] ? "stance parted" : "stance", title }, mark[0] === null ? "no stance" : `stance ${rating(mark[0])}`);
  }

  function reply(run, debate, [iteration, agent, words, finish, whole, mark]) {
    const [role, , name] = debate.agents[agent];
    const anchor = make("a", { href: link(run, debate.key, iteration), title: "Link to this reply" }, `reply ${iteration}`);
    const cut = `cut at the token limit${whole === null ? "" : ", and shortened to its last whole sentence for the others"}`;
    const flag = { length: cut, empty: "still empty after every attempt" }[finish] ?? (whole === null ? null : "shortened for the others");
    return of(make("article", { className: "reply", id: `iteration-${iteration}` },
      make("header", {}, make("span", { className: "tag" }, visible(name)), make("span", { className: "tally" }, run.roles[role]?.label ?? role), stance(run, debate.key.split("/")[0], mark), anchor),
      text(words), mark?.[1] ? make("p", { className: "flag" }, "says one thing and answers another") : null, flag ? make("p", { className: "flag" }, flag) : null,
      whole === null ? null : make("details", { className: "whole" }, make("summary", {}, "The whole reply, as it was generated"), text(whole))), role);
  }

  // Every agent's attitude at one survey, and at the survey before; the shadow Default last, without a track.
  function survey(run, debate, topic, answers, before, at) {
    const place = primary(run) === "expected" ? 3 : 2, beside = 5 - place;
    const rows = [], listening = [];
    for (const answer of answers) {
      const [role, , name] = debate.agents[answer[1]], value = answer[place];
      const was = before?.find((it) => it[1] === answer[1])?.[place] ?? null;
      const words = valued(run, answer, value, was, answer[beside]);
      if (listens(role)) listening.push(of(make("p", { className: "listening" }, make("span", {}, capital(run.roles[role].label)), words), role));
      else rows.push(of(make("li", {}, make("span", { className: "name tag" }, visible(name)), track(value, was, run.scale), words), role));
    }
    const title = at === 0 ? "Attitudes before the debate" : `Attitudes ${when(debate, at)}`;
    const { low, high } = run.topics[topic], [bottom, top] = run.scale;
    return make("section", { className: "survey", ariaLabel: title }, make("h4", {}, title), make("ul", {}, ...rows),
      make("p", { className: "ends" }, make("span", {}, `${short(bottom)} ${low}`), make("span", {}, `${short(top)} ${high}`)),
      ...listening, run.items.length > 1 ? items(run, debate, answers) : null);
  }
  function when(debate, at) {
    if (debate.reads !== null) return `after reply ${at} of the debate that is read`;
    return debate.replies.length ? `after reply ${at}` : `asked again, as after reply ${at}`;
  }
  // '5.28 +0.31 (5)': the attitude, its change, and the other outcome in brackets.
  function valued(run, answer, value, was, other) {
    const moved = value === null || was === null ? null : Number((value - was).toFixed(2));
    const change = moved === null ? "" : moved === 0 ? " =" : moved > 0 ? ` +${short(moved)}` : ` −${short(-moved)}`;
    return make("span", { className: "value" },
      value === null ? make("em", { title: refused(run, answer[4]) }, "invalid") : make("b", {}, short(value)), change,
      other === null ? null : make("small", {}, ` (${short(other)})`));
  }
  function track(score, was, scale) {
    const x = d3.scaleLinear(scale, [6, 104]);
    const svg = d3.create("svg").attr("viewBox", "0 0 110 16").attr("aria-hidden", "true");
    svg.append("line").attr("class", "track").attr("x1", x(scale[0])).attr("x2", x(scale[1])).attr("y1", 8).attr("y2", 8);
    if (score !== null && was !== null) svg.append("line").attr("class", "move").attr("x1", x(was)).attr("x2", x(score)).attr("y1", 8).attr("y2", 8);
    if (was !== null) svg.append("circle").attr("class", "was").attr("cx", x(was)).attr("cy", 8).attr("r", 4);
    if (score !== null) svg.append("circle").attr("class", "now").attr("cx", x(score)).attr("cy", 8).attr("r", 5.5);
    return svg.node();
  }

  // The invalid answers behind a missing attitude.
  function refused(run, given) {
    const wrong = run.items.map((item, i) => [item, given[i]]).filter(([, answer]) => answer !== null && answer[0] === null);
    return wrong.map(([item, answer]) => (run.items.length > 1 ? `${item}: ` : "") + visible(answer[1])).join("\n");
  }
  // What each agent answered to each item: its value on the scale, and the answer where that is not the value.
  function items(run, debate, answers) {
    const given = (item, answer) => {
      const name = `${item.replaceAll("_", " ")} `;
      if (answer === null) return [name, "–"];
      const [value, raw] = answer;
      if (value === null) return [name, make("em", {}, "invalid"), " ", make("q", { dir: "auto" }, visible(raw))];
      return [name, make("b", {}, short(value)), raw === short(value) ? "" : ` (${visible(raw)})`];
    };
    const rows = answers.map(([, agent, , , all]) => {
      const [role, , name] = debate.agents[agent];
      const words = run.items.flatMap((item, i) => [i ? " · " : "", ...given(item, all[i])]);
      return of(make("p", {}, make("span", { className: "tag" }, visible(name)), ": ", ...words), role);
    });
    return make("details", { className: "items" }, make("summary", {}, `Answers to the ${run.items.length} items`), ...rows);
  }

  /* ---- search ---- */
  const MOST = 100;
  let index = null;
  function indexed() {
    index ??= runs.flatMap((run, i) => run.debates.flatMap((debate) => [
      ...debate.agents.filter((it) => it[1] !== "default").map((it) => ({ run: i, debate, at: null, who: it, text: `${it[2]}: ${run.stories[it[3]]}` })),
      ...debate.replies.map((it) => ({ run: i, debate, at: it[0], who: debate.agents[it[1]], text: it[2] })),
    ]).map((entry) => ({ ...entry, low: entry.text.toLowerCase() })));
    return index;
  }
  function counted(n, one, many) { return `${n.toLocaleString("en")} ${n === 1 ? one : many}`; }
  function search() {
    const needle = $("search").value.trim(), sought = needle.toLowerCase();
    if (now.debate) show(runs[now.run], now.debate);
    if (!sought) { fill($("results")); $("found").textContent = ""; return; }
    const hits = indexed().filter((it) => it.low.includes(sought));
    const replies = hits.filter((it) => it.at !== null), first = [...replies, ...hits.filter((it) => it.at === null)].slice(0, MOST);
    $("found").textContent = `${counted(replies.length, "reply", "replies")} and ${counted(hits.length - replies.length, "persona", "personas")} ` +
      `with “${needle}”` + (hits.length > MOST ? `; these are the first ${MOST}` : "");
    fill($("results"), ...first.map((it) => {
      const at = it.low.indexOf(sought), run = runs[it.run], [topic, , repetition] = it.debate.key.split("/");
      const from = Math.max(0, at - 60), snippet = it.text.slice(from, at + sought.length + 90);
      const place = [several ? run.label : null, run.topics[topic]?.label ?? topic, `debate ${Number(repetition)}`,
        it.at === null ? "persona" : `reply ${it.at}`].filter(Boolean).join(" · ");
      return make("li", {}, make("a", { href: link(run, it.debate.key, it.at) },
        of(make("span", { className: "tag" }, visible(it.who[2])), it.who[0]), " ", make("small", {}, place), make("br"),
        from > 0 ? "…" : "", make("bdi", {}, ...marked(visible(snippet), needle))));
    }));
  }

  function refusals() {
    if (!$("refusals")) return;
    for (const run of runs) {
      for (const [key, iteration, role, name, item, raw] of run.invalid) {
        const when = iteration === 0 ? "before the debate" : `after reply ${iteration}`;
        const asked = run.items.length > 1 ? `, ${item.replaceAll("_", " ")}` : "";
        $("refusals").append(make("li", {}, of(make("span", { className: "tag" }, `${visible(name)} (${run.roles[role]?.label ?? role})`), role),
          ` · ${key.replaceAll("_", " ")}, ${when}${asked}: `, make("q", { dir: "auto" }, visible(raw))));
      }
    }
  }

  // Where talk and survey part ways, with a link where the transcript is on the page.
  function talks() {
    if (!$("parted")) return;
    for (const run of runs) {
      for (const [key, iteration, role, name, value, before, after, words] of run.talk.parted) {
        const topic = key.split("/")[0], there = run.debates.some((it) => it.key === key);
        const place = [several ? run.label : null, run.topics[topic]?.label ?? topic, `debate ${Number(key.split("/")[2])}`, `reply ${iteration}`].filter(Boolean).join(" · ");
        const answers = [before, after].map((it) => (it === null ? "–" : short(it))).join(" and ");
        $("parted").append(make("li", {}, of(make("span", { className: "tag" }, visible(name)), role), ` (${run.roles[role]?.label ?? role}) says ${rating(value)} and answers ${answers} · `,
          there ? make("a", { href: link(run, key, iteration) }, place) : place, make("br"), make("q", { dir: "auto" }, visible(words))));
      }
    }
  }

  // #debate=<run>/<topic>/<composition>/<repetition>[/<iteration>]
  function follow() {
    const found = /^#debate=([^/]+)\/([^/]+\/[^/]+\/[^/]+)(?:\/(\d+))?$/.exec(location.hash);
    if (!found) return false;
    const [id, key] = [found[1], found[2]].map((part) => part.split("/").map(decodeURIComponent).join("/"));
    for (const [i, run] of runs.entries()) {
      const debate = run.id === id ? run.debates.find((it) => it.key === key) : undefined;
      if (debate) { open(i, debate, found[3] === undefined ? null : Number(found[3]), true); return true; }
    }
    $("found").textContent = `The transcript of ${key} is not on this page.`;
    return false;
  }

  function reader() {
    for (const element of document.querySelectorAll(".several")) element.hidden = !several;
    $("reader-controls").addEventListener("submit", (event) => event.preventDefault());
    $("reader-run").addEventListener("change", (event) => { const i = Number(event.target.value); open(i, runs[i].debates[0], null, false); });
    $("reader-topic").addEventListener("change", (event) => open(now.run, about(runs[now.run], event.target.value)[0], null, false));
    $("reader-debate").addEventListener("change", (event) => open(now.run, runs[now.run].debates.find((it) => it.key === event.target.value), null, false));
    const beside = (step) => { const all = about(runs[now.run], now.topic); open(now.run, all[all.indexOf(now.debate) + step], null, false); };
    $("previous").addEventListener("click", () => beside(-1));
    $("next").addEventListener("click", () => beside(1));
    $("search").addEventListener("input", search);
    window.addEventListener("hashchange", follow);
    open(0, runs[0].debates[0], null, false);
    follow();
  }

  controls();
  draw();
  let width = $("panels").clientWidth;
  new ResizeObserver(() => { if ($("panels").clientWidth !== width) { width = $("panels").clientWidth; draw(); } }).observe($("panels"));
  statistics();
  refusals();
  talks();
  reader();
  document.documentElement.dataset.ready = "true";
})();
