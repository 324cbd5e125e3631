// The button that switches between the light theme, the dark one and the system's.
"use strict";
(() => {
  const THEMES = ["system", "light", "dark"];
  const button = document.getElementById("theme");
  function theme(name) {
    if (name === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    button.textContent = `Theme: ${name}`;
    try { localStorage.setItem("hustings-theme", name); } catch { /* some browsers store nothing for local files */ }
  }
  let shown = "system";
  try { shown = localStorage.getItem("hustings-theme") ?? "system"; } catch { /* as above */ }
  theme(THEMES.includes(shown) ? shown : "system");
  button.addEventListener("click", () => {
    const now = document.documentElement.dataset.theme ?? "system";
    theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
  });
})();
