// Asks every few seconds whether there are more runs; loads the page anew when there are, and keeps place, order, choices.
function follow(now) {
  const kept = "lorabound-live", every = 3000;
  const line = document.createElement("p");
  line.setAttribute("role", "status");
  line.style.cssText = "position:fixed;right:.8rem;bottom:.8rem;margin:0;padding:.3rem .8rem;max-width:90vw;border-radius:6px;" +
    "font-size:.85rem;color:var(--ink);background:var(--soft);border:1px solid var(--dim)";
  line.className = "live";
  line.textContent = now.said + " This page follows.";
  document.body.append(line);
  const controls = () => [...document.querySelectorAll("input, select, textarea")];
  const tables = () => [...document.querySelectorAll("table.sortable")];
  const sorted = table => { const heads = [...table.tHead.rows[0].cells]; const at = heads.findIndex(head => head.ariaSort); return [at, at < 0 ? "" : heads[at].ariaSort]; };
  function keep() {
    sessionStorage.setItem(kept, JSON.stringify({
      at: [scrollX, scrollY],
      controls: controls().map(one => [one.value, one.checked]),
      pressed: [...document.querySelectorAll("button[aria-pressed]")].map(one => one.ariaPressed),
      open: [...document.querySelectorAll("details")].map(one => one.open),
      sorted: tables().map(sorted)}));
  }
  function restore() {
    const found = sessionStorage.getItem(kept);
    sessionStorage.removeItem(kept);
    if (!found) return;
    const was = JSON.parse(found);
    document.querySelectorAll("details").forEach((one, i) => { if (i in was.open) one.open = was.open[i]; });
    controls().forEach((one, i) => {
      if (!(i in was.controls) || (one.value === was.controls[i][0] && one.checked === was.controls[i][1])) return;
      [one.value, one.checked] = was.controls[i];
      for (const name of ["input", "change"]) one.dispatchEvent(new Event(name, {bubbles: true}));
    });
    document.querySelectorAll("button[aria-pressed]").forEach((one, i) => { if (was.pressed[i] === "true" && one.ariaPressed !== "true") one.click(); });
    tables().forEach((table, i) => {
      const [at, way] = was.sorted[i] ?? [-1, ""];
      const head = table.tHead.rows[0].cells[at];
      for (let clicks = 0; head && head.ariaSort !== way && clicks < 2; clicks++) head.querySelector("button").click();
    });
    let moved = false;
    for (const name of ["wheel", "touchmove", "keydown", "pointerdown"]) addEventListener(name, () => { moved = true; }, {once: true, passive: true});
    for (const wait of [0, 200, 600, 1500]) setTimeout(() => { if (!moved) scrollTo(...was.at); }, wait);  // charts are drawn in between
  }
  async function ask() {
    if (document.hidden) return;
    let there;
    try {
      const answer = await fetch("state", {cache: "no-store"});
      there = await answer.json();
    } catch {
      line.textContent = "The server has ended; this page stays as it is.";
      return;
    }
    const busy = document.activeElement && document.activeElement.matches("input, select, textarea");
    if (there.version !== now.version && !busy) { keep(); location.reload(); return; }
    line.textContent = there.said + (there.version === now.version ? " This page follows." : " There is more: it is shown when you leave the field.");
  }
  history.scrollRestoration = "manual";
  restore();
  setInterval(ask, every);
  document.addEventListener("visibilitychange", ask);
}
