// The form on which people rate what was said. Text reaches the document by textContent, never as markup.
"use strict";
(() => {
  const { id, items } = JSON.parse(document.getElementById("data").textContent);
  const $ = (name) => document.getElementById(name);
  const RATINGS = ["-3", "-2", "-1", "0", "+1", "+2", "+3", "none"];
  const PLACE = `hustings-annotation-${id}`;
  let state = { rater: "", at: 0, ratings: {}, notes: {} };
  try { state = { ...state, ...JSON.parse(localStorage.getItem(PLACE) ?? "{}") }; } catch { /* begins anew */ }

  function keep() {
    try { localStorage.setItem(PLACE, JSON.stringify(state)); }
    catch { $("status").textContent = "This browser stores nothing for local files: save ratings.csv before you close the page."; }
  }

  const boxes = RATINGS.map((rating) => {
    const box = document.createElement("input"), label = document.createElement("label");
    Object.assign(box, { type: "radio", name: "rating", value: rating });
    box.addEventListener("change", () => rate(rating));
    label.append(box, rating.replace("-", "−"));
    $("ratings").append(label);
    return box;
  });

  function show() {
    const item = items[state.at], done = items.filter((it) => state.ratings[it.id]).length;
    $("number").textContent = `Reply ${state.at + 1} of ${items.length}`;
    $("question").textContent = `${item.topic}: ${item.question}`;
    $("text").textContent = item.text;
    $("low").textContent = `−3: ${item.low}`;
    $("high").textContent = `+3: ${item.high}`;
    for (const box of boxes) box.checked = state.ratings[item.id] === box.value;
    $("note").value = state.notes[item.id] ?? "";
    $("back").disabled = state.at === 0;
    $("next").disabled = state.at === items.length - 1;
    $("status").textContent = `${done} of ${items.length} rated.`;
    keep();
  }
  function go(place) { state.at = Math.max(0, Math.min(items.length - 1, place)); show(); }
  function rate(rating) { state.ratings[items[state.at].id] = rating; show(); }
  function unrated() {
    const order = [...items.keys()].map((step) => (state.at + 1 + step) % items.length);
    go(order.find((place) => !state.ratings[items[place].id]) ?? state.at);
  }

  function quoted(value) { return `"${value.replaceAll('"', '""')}"`; }
  function csv() {
    const rows = items.map((it) => [it.id, it.topic, it.text, state.ratings[it.id] ?? "", state.notes[it.id] ?? "", state.rater]);
    return [["id", "topic", "text", "rating", "note", "rater"], ...rows].map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  }
  function save() {
    if (!$("rater").reportValidity()) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", csv()], { type: "text/csv" }));
    link.download = `ratings_${state.rater.replace(/[^\p{L}\p{N}]+/gu, "_")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  $("form").addEventListener("submit", (event) => event.preventDefault());
  $("rater").value = state.rater;
  $("rater").addEventListener("input", (event) => { state.rater = event.target.value.trim(); keep(); });
  $("note").addEventListener("input", (event) => { state.notes[items[state.at].id] = event.target.value; keep(); });
  $("back").addEventListener("click", () => go(state.at - 1));
  $("next").addEventListener("click", () => go(state.at + 1));
  $("open").addEventListener("click", unrated);
  $("export").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches?.("#rater, #note");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^[0-7]$/.test(event.key)) rate(event.key === "0" ? "none" : RATINGS[Number(event.key) - 1]);
    else if (event.key === "ArrowRight") go(state.at + 1);
    else if (event.key === "ArrowLeft") go(state.at - 1);
    else return;
    event.preventDefault();
  });
  go(state.at);
  document.documentElement.dataset.ready = "true";
})();
