"use strict";
// Everything here only eases reading: without it the page shows all there is.
(() => {
  const root = document.documentElement;

  const themes = ["auto", "light", "dark"];
  const button = document.getElementById("theme");
  const remembered = () => {
    try { return localStorage.getItem("cgauge-theme"); } catch { return null; }
  };
  const show = (theme) => {
    root.dataset.theme = theme;
    button.textContent = "Theme: " + theme;
    try { localStorage.setItem("cgauge-theme", theme); } catch { /* not kept, then */ }
  };
  show(themes.includes(remembered()) ? remembered() : "auto");
  button.addEventListener("click", () => {
    show(themes[(themes.indexOf(root.dataset.theme) + 1) % themes.length]);
  });
  button.hidden = false;

  for (const box of document.querySelectorAll("label.search")) {
    const section = box.closest("section");
    const input = box.querySelector("input");
    const status = section.querySelector("[role=status]");
    const rows = [...section.querySelectorAll("tbody tr:not(.head)")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const bodies = [...section.querySelectorAll("tbody")];
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      rows.forEach((row, nth) => {
        row.hidden = !words.every((word) => texts[nth].includes(word));
      });
      for (const body of bodies) {
        body.hidden = [...body.rows].every((row) => row.hidden || row.classList.contains("head"));
      }
      const shown = rows.filter((row) => row.getClientRects().length > 0).length;
      status.textContent = shown + " of " + rows.length + " shown";
    };
    section.addEventListener("input", filter);
    section.addEventListener("change", filter);
    box.hidden = false;
    filter();
  }

  // A link to what is folded away opens it.
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let it = target; it; it = it.parentElement) {
      if (it.tagName === "DETAILS") it.open = true;
    }
  };
  addEventListener("hashchange", open);
  open();

  // On paper nothing is folded away.
  addEventListener("beforeprint", () => {
    for (const it of document.querySelectorAll("details")) it.open = true;
  });
})();
